"""A whole training step against what one would pick instead: same models, batch, threads, loss.

    python tests/bench/distil_step.py                            # five minutes of one core
    pip install textbrewer torchdistill torchvision accelerate sentence-transformers datasets    # the others

hs     hidden states, last layer to last layer through a learned map: textbrewer's GeneralDistiller.train,
       torchdistill's DistillationBox
mha    relations of one layer: both models run whole, the plain formula, as MiniLMv2's published recipe describes it
od     words at the masked positions: transformers' Trainer with a distillation loss over logits, as is usual
embed  embeddings of texts, through a learned map: sentence-transformers' MSELoss under its trainer

What is missing is skipped, and said. The models are BERTs with random weights, which take the same time as trained
ones, without dropout; everyone gets AdamW and gradient clipping. The others run as they come (float32, and the
attention that transformers chooses), in bf16 by their own option or by torch.autocast around their models, and so with
"eager" attention; the best counts. stillhouse runs with the precision that a spec defaults to (bf16 where the hardware
multiplies it; --teacher-precision fp32 takes that away from the teacher). With one thread on a CPU the seconds are
those of the processor, so that other work on the machine counts little. torchdistill needs a torchvision built for the
installed torch.
"""

import argparse
import logging
import os
import tempfile
from functools import partial

import torch
from distil_peers import PEERS
from distil_setup import for_others, make_setup, ours, seconds_per_step
from timing import interleaved, milliseconds, print_table, setting

CACHED = "stillhouse, cached"
FORMS = {"as it comes": (False, "sdpa"), "bf16": (True, "sdpa"), "bf16, eager attention": (True, "eager")}
"""Of the others: whether in bf16, and the attention function of both models."""


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="12x768")
    parser.add_argument("--student", default="3x192")
    parser.add_argument("--methods", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--steps", type=int, default=2, help="counted steps of each in a round")
    parser.add_argument("--rounds", type=int, default=2, help="counted rounds, after one that is not")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--teacher-precision", choices=["auto", "fp32", "bf16"], default="auto")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["STILLHOUSE_CACHE"] = options.scratch = scratch
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """Measure all contenders."""
    setup, rows = make_setup(options), []
    others = {form: for_others(setup, *chosen) for form, chosen in FORMS.items()}
    for method in options.methods:
        config, loops = setup.config(method), {}
        own = {CACHED: partial(ours, config=config, dtype="float16"), "stillhouse, live": partial(ours, config=config)}
        wanted = [(name, next(iter(FORMS)), build, setup) for name, build in own.items()]
        wanted += [(name, form, build, others[form]) for name, build in PEERS[method].items() for form in FORMS]
        missing = {}
        for name, form, build, given in wanted:
            try:
                loops[name, form] = seconds_per_step(build(given), given)
            except (ImportError, RuntimeError) as error:
                missing[name] = f"skipped: {error}"
        seconds = interleaved(loops, options.rounds)
        for name in dict.fromkeys(name for name, *_ in wanted):
            times = [seconds.get((name, form)) for form in FORMS]
            best_s = min((each for each in times if each), default=None)
            rows.append([
                method, name, *(milliseconds(each) if each else missing.get(name, "") for each in times),
                f"{options.batch * options.length / best_s:,.0f}" if best_s else "",
                f"{best_s / seconds[CACHED, next(iter(FORMS))]:.2f}" if best_s else "",
            ])  # fmt: skip
    print(
        f"{options.teacher} teaches {options.student}, steps of {options.batch} x {options.length} tokens, medians of"
    )
    print(f"{options.rounds} interleaved rounds; {setting('transformers', 'sentence-transformers')}")
    print_table(["method", "loop", *(f"{form}, ms" for form in FORMS), "best tokens/s", "best over cached"], rows)


if __name__ == "__main__":
    main()
