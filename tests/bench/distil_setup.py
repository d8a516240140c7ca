"""What the benchmarks of a training step share: models, text and targets, and the loop of a trial with its clock."""

import argparse
import copy
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import BertConfig

from spaces.students.architecture import StudentArchitecture, TeacherFacts, parse_shape
from spaces.students.transfer import METHODS, Pairing
from trainables.machine import use_bf16
from trainables.models.encoder import build_model, set_architecture
from trainables.models.families.bert import BertFacts
from trainables.models.student import build_student
from trainables.models.teacher import Teacher
from trainables.text.corpus import Corpus, open_corpus
from trainables.training.distillation import teacher_states
from trainables.training.loop import distil
from trainables.training.readings import read_batch
from trainables.training.settings import TrainingRun, TrainingSpec
from trainables.training.target_shards import build_shard, write_plan
from trainables.training.targets import TargetPlan, Targets, needs_of

VOCABULARY, SPECIAL, MASK, RATE, CLIP, TEMPERATURE = 30_522, (0, 100, 101, 102, 103), 103, 1e-4, 1.0, 2.0
RELATION_HEADS = 12
Loop = Callable[[], object]
"""Trains `Setup.steps` steps with an optimizer of torch."""


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
    """One more than are counted."""
    training: TrainingSpec
    device: str
    bf16: bool = False
    """Whether another library is asked for it; stillhouse goes by `training`."""

    def autocast(self) -> torch.autocast:
        """Around what another library leaves to its user."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.bf16)

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
            "embed": {
                "embed_distance": "squared", "embed_projection": "dropped", "student_pooling": "teacher",
                "embedding_size": self.teacher.facts.architecture.hidden_size,
            },
        }  # fmt: skip
        common = {"initialisation": "random", "learning_rate": RATE, "batch_size": self.batch, "method": method}
        return {**common, **asdict(self.student), **extras[method]}

    def model(self, method: str) -> Any:
        """A fresh student with the attention of the teacher."""
        student = build_student(self.config(method), self.teacher, 0).to(self.device)  # type: ignore[arg-type]
        student.set_attn_implementation(self.teacher.model.config._attn_implementation)
        return student


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
    words = np.random.default_rng(0).integers(1000, VOCABULARY, (options.batch, options.length)).astype(np.uint16)
    folder = Path(options.scratch) / "corpus"
    folder.mkdir()
    np.save(folder / "train.npy", words)
    np.save(folder / "held_out.npy", words[:1])
    meta = {"vocab_size": VOCABULARY, "mask_token_id": MASK, "special_ids": SPECIAL, "facts": {}}
    (folder / "meta.json").write_text(json.dumps(meta))
    corpus = open_corpus(folder)
    training = TrainingSpec(teacher_precision=options.teacher_precision, mask_views=1)
    student = parse_shape(options.student)
    teacher = Teacher(model, None, facts)  # type: ignore[arg-type]
    return Setup(teacher, student, corpus, folder, options.batch, options.steps + 1, training, options.device)


def for_others(setup: Setup, bf16: bool, attention: str) -> Setup:
    """With a teacher of their own that has an attention function of transformers."""
    model = copy.deepcopy(setup.teacher.model)
    model.set_attn_implementation(attention)
    return replace(setup, teacher=replace(setup.teacher, model=model), bf16=bf16)


def seconds_per_step(loop: Loop, setup: Setup) -> Callable[[], float]:
    """A function that runs a loop and returns the seconds of a step, after the first, which is not counted.

    Of one thread on a CPU these are processor seconds of the whole process: another thread that reads ahead works too.
    """
    alone = setup.device == "cpu" and torch.get_num_threads() == 1

    def seconds() -> float:
        ends_s: list[float] = []

        def stepped(*args: object) -> None:
            if setup.device == "cuda":
                torch.cuda.synchronize()
            ends_s.append(time.process_time() if alone else time.perf_counter())

        hook = register_optimizer_step_post_hook(stepped)
        loop()
        hook.remove()
        return (ends_s[-1] - ends_s[0]) / (len(ends_s) - 1)

    return seconds


def ours(setup: Setup, config: dict[str, Any], dtype: str | None = None) -> Loop:
    """The training loop of a trial; the teacher is live, or read from targets of a dtype, which are written here."""
    student = build_student(config, setup.teacher, 0).to(setup.device)  # type: ignore[arg-type]
    targets = written_targets(setup, config, dtype) if dtype else None
    run = TrainingRun(config, setup.steps * setup.batch * setup.corpus.train.shape[1], 0, setup.training)
    return lambda: distil(student, setup.teacher, setup.corpus, run, lambda report: None, targets=targets)


def written_targets(setup: Setup, config: dict[str, Any], dtype: str) -> Targets:
    """A target cache with all that a trial asks of the teacher."""
    pairing = Pairing(config, setup.student, setup.teacher.facts.architecture)
    precision, device = setup.training.teacher_precision, torch.device(setup.device)
    states, masked = teacher_states(pairing), METHODS[config["method"]].masked_inputs
    plan = TargetPlan(
        teacher="random", teacher_digest=setup.teacher.facts.digest, corpus=str(setup.folder),
        needs=needs_of([(states, masked)]), blocks=tuple(range(setup.batch)),
        held_out=1, views=setup.training.mask_views, mask_fraction=setup.training.mask_fraction,
        width=pairing.teacher.hidden_size, sequence_length=setup.corpus.train.shape[1],
        bf16=use_bf16(precision, device, pairing.teacher.hidden_size), dtype=dtype,
    )  # fmt: skip
    for part, number in plan.shards():
        build_shard(plan, part, number, setup.teacher)
    write_plan(plan)
    return Targets(plan.folder)
