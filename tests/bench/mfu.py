"""Model FLOP utilisation: what the training loop achieves over what a plain matrix product of the same dtype reaches.

Achieved are the FLOPs of the student's forward and backward pass by formula (`flops_per_token` x 3; lookups, LayerNorm,
softmax, activations, loss and optimiser count for nothing) over the whole time of a training step: reading a batch,
forward, hidden-state loss through a projection, backward, clipping, AdamW. The teacher's states are there before the
clock starts, as with cached targets. The matrix product is 2048 x 2048 x 2048, on a GPU
8192 each way, timed in the same rounds.

    python tests/bench/mfu.py                                    # about two minutes on one core
    python tests/bench/mfu.py --device cuda --precision bf16 --batch 512
    python tests/bench/mfu.py --shapes 6x384 --profile           # where the time goes, operation by operation
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
from timing import interleaved, milliseconds, print_table, setting, timed
from torch import Tensor, nn
from transformers import BertConfig

from spaces.students.architecture import StudentArchitecture, parse_shape
from trainables.losses.hs import hidden_state_loss
from trainables.models.encoder import build_model, hidden_states, set_architecture
from trainables.models.families.bert import BertFacts
from trainables.training.loop import build_optimizer
from trainables.training.settings import TrainingSpec

VOCABULARY, TEACHER_WIDTH = 30_522, 384
SQUARE = {"cpu": 2048, "cuda": 8192}


def training_step(
    shape: StudentArchitecture, batch: int, length: int, bf16: bool, device: str, *, compiled: bool = False
) -> Callable[[], Tensor]:
    """One step of training a BERT of this shape, without dropout, on random tokens."""
    config = BertConfig(vocab_size=VOCABULARY)
    set_architecture(config, shape)
    torch.manual_seed(0)
    module = nn.ModuleDict({"student": build_model(config, lm_head=False).eval()})
    module["map"] = nn.Linear(shape.hidden_size, TEACHER_WIDTH, bias=False)
    module.to(device)
    student = torch.compile(module["student"]) if compiled else module["student"]
    optimizer = build_optimizer(module, 1e-4, TrainingSpec())
    blocks = np.random.default_rng(0).integers(0, VOCABULARY, (batch, length)).astype(np.uint16)
    teacher_BTD = torch.randn(batch, length, TEACHER_WIDTH, device=device)

    def step() -> Tensor:
        ids_BT = torch.from_numpy(blocks.astype(np.int64)).to(device)
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            last_BTD = student(input_ids=ids_BT).last_hidden_state if compiled else hidden_states(student, ids_BT)[-1]
        loss = hidden_state_loss([(last_BTD, module["map"].weight.T, teacher_BTD)], None)
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), TrainingSpec().gradient_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def main() -> None:
    """Print the table, or the profiles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["3x192", "6x384", "12x384", "6x768"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5, help="counted steps of each, interleaved with matrix products")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--profile", action="store_true", help="print a profile of each student instead")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    bf16, square = options.precision == "bf16", SQUARE[options.device]
    left, right = (
        torch.randn(square, square, device=options.device, dtype=torch.bfloat16 if bf16 else torch.float32)
        for _ in range(2)
    )
    tokens, rows = options.batch * options.length, []
    for name in options.shapes:
        shape = parse_shape(name)
        step = training_step(shape, options.batch, options.length, bf16, options.device)
        if options.profile:
            profile(name, step)
            continue
        contenders = {"step": step, "product": lambda: left @ right}
        clocks = {key: timed(run, options.device) for key, run in contenders.items()}
        seconds = interleaved(clocks, options.rounds)
        achieved = 3 * BertFacts("bert").flops_per_token(shape, options.length) * tokens / seconds["step"]
        reached = 2 * square**3 / seconds["product"]
        rows.append([
            name, milliseconds(seconds["step"]), f"{tokens / seconds['step']:,.0f}", f"{achieved / 1e9:.0f}",
            f"{reached / 1e9:.0f}", f"{achieved / reached:.0%}",
        ])  # fmt: skip
    if rows:
        kind = "bf16 (autocast)" if bf16 else "fp32"
        print(f"Training steps of {options.batch} x {options.length} tokens in {kind}, medians of {options.rounds}")
        print(f"interleaved rounds; {setting('transformers')}")
        print_table(["student", "ms per step", "tokens/s", "GFLOP/s", "GFLOP/s of a product", "utilisation"], rows)


def profile(name: str, step: Callable[[], object]) -> None:
    """Operations by their own time over three steps."""
    step()
    with torch.profiler.profile() as seen:
        for _ in range(3):
            step()
    print(f"\n{name}: {setting()}\n{seen.key_averages().table(sort_by='self_cpu_time_total', row_limit=20)}")


if __name__ == "__main__":
    main()
