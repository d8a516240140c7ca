"""Tokens per second of a whole training step against what one would pick instead: same models, batch, threads, loss.

    python tests/bench/distil_step.py                            # two to three minutes on one core
    pip install textbrewer torchdistill torchvision accelerate   # the others; what is missing is skipped, and said

hs   hidden states, last layer to last layer through a learned map: textbrewer's GeneralDistiller.train, torchdistill's
     DistillationBox
mha  relations of one layer: both models run whole, the plain formula, as MiniLMv2's published recipe describes it
od   words at the masked positions: transformers' Trainer with a distillation loss over logits, as is usual

The models are BERTs with random weights, which take the same time as trained ones, without dropout; everyone gets AdamW
and gradient clipping. Everyone runs as it comes: the others in float32, stillhouse with the precision that a spec
defaults to (bf16 for the teacher where the hardware multiplies it; --teacher-precision fp32 takes that away).
torchdistill needs a torchvision built for the installed torch.
"""

import argparse
import json
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from relation_loss import plain_relation_loss
from timing import interleaved, milliseconds, print_table, setting, timed
from torch import Tensor, nn
from transformers import BertConfig

from spaces.students.architecture import StudentArchitecture, TeacherFacts, parse_shape
from spaces.students.transfer import METHODS, Pairing
from trainables.models.encoder import build_model, layers, parts, set_architecture
from trainables.models.families.bert import BertFacts
from trainables.models.student import build_student
from trainables.models.teacher import Teacher
from trainables.text.corpus import Corpus, open_corpus
from trainables.training.distillation import teacher_states, use_bf16
from trainables.training.loop import distil
from trainables.training.readings import read_batch
from trainables.training.settings import TrainingRun, TrainingSpec
from trainables.training.target_shards import build_shard, write_plan
from trainables.training.targets import TargetPlan, Targets, needs_of

VOCABULARY, SPECIAL, MASK, RATE, CLIP, TEMPERATURE = 30_522, (0, 100, 101, 102, 103), 103, 1e-4, 1.0, 2.0
RELATION_HEADS, KINDS = 12, ("query", "key", "value")
Loop = Callable[[], float]
"""Trains a few steps and returns the seconds it took."""


@dataclass(frozen=True)
class Setup:
    """What all contenders get."""

    teacher: Teacher
    student: StudentArchitecture
    corpus: Corpus
    folder: Path
    """Where the corpus is."""
    batch: int
    steps: int
    training: TrainingSpec
    device: str

    def ids_BT(self, step: int) -> Tensor:
        """The words of one batch."""
        start = step * self.batch % len(self.corpus.train)
        return torch.from_numpy(self.corpus.train[start : start + self.batch].astype(np.int64)).to(self.device)

    def masked(self, step: int) -> tuple[Tensor, Tensor]:
        """(inputs, labels), labels -100 where nothing is masked."""
        blocks = np.arange(step * self.batch, (step + 1) * self.batch) % len(self.corpus.train)
        reading = read_batch(self.corpus, "train", blocks, np.zeros_like(blocks), 0.15)
        assert reading.positions_BT is not None
        return reading.inputs_BT, reading.words_BT.masked_fill(~reading.positions_BT, -100)

    def config(self, method: str) -> dict[str, Any]:
        """The configuration of a trial."""
        layers = self.teacher.facts.architecture.num_layers
        extras = {
            "hs": {"mapping": "last"},
            "mha": {"relation_heads": RELATION_HEADS, "teacher_layer": layers},
            "od": {"temperature": TEMPERATURE},
        }
        common = {"initialisation": "random", "learning_rate": RATE, "batch_size": self.batch, "method": method}
        return {**common, **asdict(self.student), **extras[method]}

    def model(self, method: str) -> Any:
        """A fresh student."""
        return build_student(self.config(method), self.teacher, 0).to(self.device)  # type: ignore[arg-type]


def random_bert(shape: StudentArchitecture, length: int) -> Any:
    """A BERT with a language-modelling head."""
    options = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # the Trainer switches dropout on
    config = BertConfig(vocab_size=VOCABULARY, max_position_embeddings=length, **options)
    set_architecture(config, shape)
    torch.manual_seed(0)
    return build_model(config, lm_head=True).eval()


def make_setup(options: argparse.Namespace) -> Setup:
    """Teacher and text."""
    shape = parse_shape(options.teacher)
    model = random_bert(shape, options.length).requires_grad_(False).to(options.device)
    facts = TeacherFacts("random", BertFacts("bert"), shape, VOCABULARY, options.length, 2, True, "random")
    words = np.random.default_rng(0).integers(1000, VOCABULARY, (2 * options.batch, options.length)).astype(np.uint16)
    folder = Path(options.scratch) / "corpus"
    folder.mkdir()
    np.save(folder / "train.npy", words)
    np.save(folder / "held_out.npy", words[:1])
    meta = {"vocab_size": VOCABULARY, "mask_token_id": MASK, "special_ids": SPECIAL}
    (folder / "meta.json").write_text(json.dumps(meta))
    corpus = open_corpus(folder)
    training = TrainingSpec(teacher_precision=options.teacher_precision)
    student = parse_shape(options.student)
    teacher = Teacher(model, None, facts)  # type: ignore[arg-type]
    return Setup(teacher, student, corpus, folder, options.batch, options.steps, training, options.device)


def ours(method: str, setup: Setup, targets: Targets | None = None) -> Loop:
    """The training loop of a trial, without what is before and after it; the teacher is live without targets."""
    student, config = setup.model(method), setup.config(method)
    tokens = setup.steps * setup.batch * setup.corpus.train.shape[1]
    return lambda: distil(
        student, setup.teacher, setup.corpus, TrainingRun(config, tokens, 0, setup.training), lambda report: None,
        targets=targets,
    ).train_s  # fmt: skip


def ours_cached(method: str, setup: Setup) -> Loop:
    """The same, reading what the teacher says from a target cache that is written here and not counted."""
    pairing = Pairing(setup.config(method), setup.student, setup.teacher.facts.architecture)
    precision, device = setup.training.teacher_precision, setup.teacher.model.device
    states = teacher_states(pairing)
    plan = TargetPlan(
        teacher="random", teacher_digest=setup.teacher.facts.digest, corpus=str(setup.folder),
        needs=needs_of([(states, METHODS[method].masked_inputs)]), blocks=tuple(range(2 * setup.batch)),
        held_out=1, views=setup.training.mask_views, mask_fraction=setup.training.mask_fraction,
        width=pairing.teacher.hidden_size, sequence_length=setup.corpus.train.shape[1],
        bf16=use_bf16(precision, device),
    )  # fmt: skip
    for part, number in plan.shards():
        build_shard(plan, part, number, setup.teacher)
    write_plan(plan)
    return ours(method, setup, Targets(plan.folder))


def textbrewer_hs(setup: Setup) -> Loop:
    """The library's own loop; it stores the student once at its end."""
    from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig

    student, last = setup.model("hs"), setup.teacher.facts.architecture
    match = {
        "layer_T": last.num_layers, "layer_S": setup.student.num_layers, "feature": "hidden", "loss": "hidden_mse",
        "weight": 1, "proj": ["linear", setup.student.hidden_size, last.hidden_size],
    }  # fmt: skip
    folder = tempfile.TemporaryDirectory()
    batches = [{"input_ids": setup.ids_BT(step)} for step in range(setup.steps)]

    def loop() -> None:
        distiller = GeneralDistiller(
            TrainingConfig(device=setup.device, output_dir=folder.name, ckpt_steps=10**9),
            DistillationConfig(intermediate_matches=[match]),
            setup.teacher.model.base_model, student,
            *(2 * [lambda batch, outputs: {"hidden": outputs.hidden_states}]),
        )  # fmt: skip
        optimizer = torch.optim.AdamW(student.parameters(), lr=RATE)
        distiller.train(
            optimizer, batches, num_steps=setup.steps, max_grad_norm=CLIP, output_hidden_states=True
        )  # fmt: skip

    return timed(loop, setup.device)


class Mapped(nn.Module):
    """A student under a learned map, for libraries that match modules by name."""

    def __init__(self, encoder: Any, narrow: int, wide: int):
        super().__init__()
        self.encoder, self.map = encoder, nn.Linear(narrow, wide, bias=False)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """The mapped last hidden state."""
        return self.map(self.encoder(ids_BT).last_hidden_state)


def torchdistill_hs(setup: Setup) -> Loop:
    """The steps of the library's example scripts: forward_process, post_forward_process."""
    from torchdistill.core.distillation import DistillationBox

    last, forward = setup.teacher.facts.architecture, {"forward_proc": "forward_batch_only"}
    path = f"encoder.layer.{last.num_layers - 1}.output"
    wrapper = {
        "key": "SimpleLossWrapper",
        "kwargs": {
            "input": {"is_from_teacher": False, "module_path": "map", "io": "output"},
            "target": {"is_from_teacher": True, "module_path": path, "io": "output"},
        },
    }
    term = {"criterion": {"key": "MSELoss", "kwargs": {}}, "criterion_wrapper": wrapper, "weight": 1.0}
    box = DistillationBox(
        setup.teacher.model.base_model, Mapped(setup.model("hs"), setup.student.hidden_size, last.hidden_size), {},
        {
            "num_epochs": 1,
            "teacher": {**forward, "forward_hook": {"output": [path]}, "requires_grad": False},
            "student": {**forward, "forward_hook": {"output": ["map"]}},
            "optimizer": {"key": "AdamW", "kwargs": {"lr": RATE}, "max_grad_norm": CLIP},
            "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"hs": term}}},
        },
        torch.device(setup.device), None, False, 1.0,
    )  # fmt: skip

    def loop() -> None:
        box.pre_epoch_process(epoch=0)
        for step in range(setup.steps):
            box.post_forward_process(loss=box.forward_process(setup.ids_BT(step), None, None))

    return timed(loop, setup.device)


def plain_mha(setup: Setup) -> Loop:
    """Hooks on queries, keys and values of whole models, and the plain formula."""
    student, teacher = setup.model("mha"), setup.teacher.model.base_model
    optimizer, seen = torch.optim.AdamW(student.parameters(), lr=RATE), {}
    for side, model in (("student", student), ("teacher", teacher)):
        for name, read in zip(KINDS, parts(model, len(layers(model))).to_heads, strict=True):
            read.register_forward_hook(partial(lambda key, module, args, out: seen.update({key: out}), (side, name)))

    def loop() -> None:
        for step in range(setup.steps):
            ids_BT = setup.ids_BT(step)
            with torch.no_grad():
                teacher(ids_BT)
            student(ids_BT)
            both = ([seen[side, name] for name in KINDS] for side in ("student", "teacher"))
            plain_relation_loss(*both, RELATION_HEADS).backward()
            nn.utils.clip_grad_norm_(student.parameters(), CLIP)
            optimizer.step()
            optimizer.zero_grad()

    return timed(loop, setup.device)


def trainer_od(setup: Setup) -> Loop:
    """A Trainer whose loss selects the masked positions from the logits of both models."""
    from transformers import PrinterCallback, Trainer, TrainingArguments

    teacher = setup.teacher.model

    class Distiller(Trainer):
        def compute_loss(self, model: Any, inputs: Any, *args: object, **options: object) -> Tensor:
            with torch.no_grad():
                theirs = teacher(input_ids=inputs["input_ids"]).logits
            chosen = inputs["labels"] != -100
            ours = model(input_ids=inputs["input_ids"]).logits[chosen] / TEMPERATURE
            target = F.softmax(theirs[chosen] / TEMPERATURE, -1)
            return TEMPERATURE**2 * F.kl_div(F.log_softmax(ours, -1), target, reduction="batchmean")

    folder = tempfile.TemporaryDirectory()
    arguments = TrainingArguments(
        folder.name, max_steps=setup.steps, per_device_train_batch_size=setup.batch, learning_rate=RATE,
        use_cpu=setup.device == "cpu", max_grad_norm=CLIP, report_to=[], save_strategy="no", disable_tqdm=True,
        logging_strategy="no",
    )  # fmt: skip
    rows = [
        {"input_ids": ids, "labels": labels}
        for step in range(setup.steps)
        for ids, labels in zip(*setup.masked(step), strict=True)
    ]
    student = setup.model("od")

    def loop() -> None:
        trainer = Distiller(student, arguments, train_dataset=rows)
        trainer.remove_callback(PrinterCallback)
        trainer.train()

    return timed(loop, setup.device)


OTHERS: dict[str, dict[str, Callable[[Setup], Loop]]] = {
    "hs": {"textbrewer": textbrewer_hs, "torchdistill": torchdistill_hs},
    "mha": {"plain loop": plain_mha},
    "od": {"transformers Trainer": trainer_od},
}
CACHED = "stillhouse, cached"


def contenders(method: str) -> dict[str, Callable[[Setup], Loop]]:
    """Ours both ways and the others."""
    return {CACHED: partial(ours_cached, method), "stillhouse, live": partial(ours, method), **OTHERS[method]}


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="12x768")
    parser.add_argument("--student", default="3x192")
    parser.add_argument("--methods", nargs="+", choices=OTHERS, default=list(OTHERS))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--steps", type=int, default=2, help="steps of each in a round")
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
    for method in options.methods:
        loops = {}
        for name, build in contenders(method).items():
            try:
                loops[name] = build(setup)
            except (ImportError, RuntimeError) as error:
                rows.append([method, name, f"skipped: {error}", "", ""])
        seconds = interleaved(loops, options.rounds)
        for name, taken_s in seconds.items():
            step_s = taken_s / options.steps
            tokens_per_s = options.batch * options.length / step_s
            rows.append([
                method, name, milliseconds(step_s), f"{tokens_per_s:,.0f}", f"{taken_s / seconds[CACHED]:.2f}",
            ])  # fmt: skip
    print(
        f"{options.teacher} teaches {options.student}, steps of {options.batch} x {options.length} tokens, medians of"
    )
    print(f"{options.rounds} interleaved rounds; {setting('transformers')}")
    print_table(["method", "loop", "ms per step", "tokens/s", "time over cached"], rows)


if __name__ == "__main__":
    main()
