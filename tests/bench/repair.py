"""Does training for the file pay? Students as int8 and int4 files, by what they do in their last tokens.

Each starts from the teacher and learns for the same tokens in all:
  none                float to the end; the file is rounded as it comes
  quantisation-aware  in the last quarter every map reads its weights, and under int8 its inputs, as the file will have
                      them; gradients pass straight through the rounding (Jacob et al., arXiv:1712.05877)
  outliers            three quarters in float; then weights are rounded, and the 0.5 % of each map that are furthest
                      from its mean train on in float, all else frozen (PreQuant, Gong et al., ACL Findings 2023)
A file has no room for single weights in float: outliers are rounded when it is written, on the scale of their channel.
Without --sts the tasks are two of docs, with it the pairs of a folder. `quality` is the mean share over the tasks (dev)
of the file, `torch` that of its weights by the same probes; the losses are on held-out blocks, in float and as the file
computes; `cosine` is the file's to torch and `to_teacher`, of students of its width, to the teacher, of held-out texts.
One line of JSON for each run; run it again to go on.

    python tests/bench/repair.py --out repair.jsonl      # about ten minutes on an idle core
    python tests/bench/repair.py --out repair.jsonl --precision int4-weights
    python tests/bench/repair.py --out minilm.jsonl --teacher MODEL --corpus CORPORA/wiki_en --sts TASKS/stsb \
        --shapes 3x384 --method embed --rate 3e-4 --tokens 40000
"""

import argparse
import itertools
import json
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from spaces.records.deploy import DeploySpec
from spaces.records.shares import mean_share
from spaces.students.architecture import parse_shape
from trainables.cache import cache_folder
from trainables.export.artefact import as_deployed, compare, parity_rows, write_file
from trainables.export.quantising import BLOCK
from trainables.models.student import build_student, untrained
from trainables.models.teacher import load_teacher
from trainables.tasks.scoring import load_task, prepare_task, recovered, score_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec
from trainables.text.corpus import open_corpus, prepare_corpus
from trainables.text.sources import CorpusSpec
from trainables.training.distillation import Distillation
from trainables.training.loop import distil, held_out_loss
from trainables.training.settings import TrainingRun, TrainingSpec

TASK = TaskSpec("", "", "classification", max_train=800, max_dev=1000, max_test=500, max_length=64)
DOCS_TASKS = (
    replace(TASK, name="package", source="docs:package"),
    replace(TASK, name="missing", source="docs:missing", kind="token_classification", max_train=2000),
)
METHODS: dict[str, dict] = {
    "mha": {"relation_heads": 12, "teacher_layer": 6},
    "hs": {"mapping": "held"},
    "embed": {
        "embed_distance": "cosine",
        "embed_projection": "dropped",
        "embedding_size": 384,
        "student_pooling": "teacher",
    },
}
"""What each learns by, with its own axes."""
EXACT = TrainingSpec(precision="fp32", teacher_precision="fp32")
LAST, OUTLIERS = 0.25, 0.005
LARGEST = 64
"""Of 7 bits."""
WAYS = ("none", "quantisation-aware", "outliers")


def on_steps(value: Tensor, levels: int, dims: tuple[int, ...]) -> Tensor:
    """The nearest of so many values from the smallest to the largest over dims, 0 among them."""
    low, high = value.amin(dims, keepdim=True).clamp(max=0), value.amax(dims, keepdim=True).clamp(min=0)
    scale = ((high - low) / (levels - 1)).clamp(min=1e-12)
    zero = (-low / scale).round()
    return ((value / scale + zero).round().clamp(0, levels - 1) - zero) * scale


def rounded(weight_OI: Tensor, precision: str) -> Tensor:
    """As the file has them: in int8 whole numbers of 7 bits for each row, in int4 16 values for BLOCK weights."""
    if precision == "int8":
        step_O1 = (weight_OI.abs().amax(1, keepdim=True) / LARGEST).clamp(min=1e-12)
        return (weight_OI / step_O1).round() * step_O1
    width = weight_OI.shape[1]
    blocks_OKI = nn.functional.pad(weight_OI, (0, -width % BLOCK)).unflatten(1, (-1, BLOCK))
    return on_steps(blocks_OKI, 16, (2,)).flatten(1)[:, :width]


class Straight(nn.Module):
    """Numbers as the file will have them, once it is on; the gradient is that of the numbers."""

    def __init__(self, precision: str):
        super().__init__()
        self.precision, self.on = precision, False

    def forward(self, weight_OI: Tensor) -> Tensor:
        """A weight, the same or rounded."""
        return weight_OI + (rounded(weight_OI, self.precision) - weight_OI).detach() if self.on else weight_OI

    def inputs(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What a map reads; in int8 on the range of its batch, for that of the file is of as many texts."""
        if not self.on or self.precision != "int8":
            return inputs
        value, *others = inputs
        return value + (on_steps(value, 256, tuple(range(value.ndim))) - value).detach(), *others


def maps_of(student) -> list[nn.Linear]:
    """What the quantiser rounds, tables aside."""
    return [each for each in student.base_model.modules() if isinstance(each, nn.Linear)]


@contextmanager
def as_in_file(student, precision: str):
    """The student computes as its file does, where what this yields is on."""
    straight = Straight(precision)
    hooks = [each.register_forward_pre_hook(straight.inputs) for each in maps_of(student)]
    for each in maps_of(student):
        parametrize.register_parametrization(each, "weight", straight)
    yield straight
    for each, hook in zip(maps_of(student), hooks, strict=True):
        parametrize.remove_parametrizations(each, "weight", leave_parametrized=False)
        hook.remove()


def train(way: str, student, teacher, corpus, config, options, seed: int) -> None:
    """Train a student in place, one of WAYS."""
    tokens, precision = options.tokens, options.precision
    if way == "outliers":
        first = tokens - round(LAST * tokens)
        distil(student, teacher, corpus, TrainingRun(config, first, seed, EXACT), lambda said: None)
        student.requires_grad_(False)
        for each in maps_of(student):
            far_OI = (each.weight - each.weight.mean()).abs()
            is_far_OI = far_OI >= far_OI.flatten().topk(max(1, round(OUTLIERS * far_OI.numel()))).values[-1]
            each.weight.data = torch.where(is_far_OI, each.weight.data, rounded(each.weight.data, precision))
            each.weight.requires_grad_(True).register_hook(lambda gradient, kept=is_far_OI: gradient * kept)
        still = replace(EXACT, weight_decay=0.0)  # which would move what is frozen
        run = TrainingRun(config, tokens - first, seed, still, generation=1)
        distil(student, teacher, corpus, run, lambda said: None)
        return
    with as_in_file(student, precision) as straight:

        def report(said) -> None:
            straight.on = way == "quantisation-aware" and said.train_tokens >= (1 - LAST) * tokens

        distil(student, teacher, corpus, TrainingRun(config, tokens, seed, EXACT), report)


def losses(student, teacher, corpus, config, precision: str) -> tuple[float, float]:
    """On held-out blocks: (in float, as the file computes)."""
    found = []
    module = Distillation(student, teacher, corpus, config, EXACT)
    with as_in_file(student, precision) as straight:
        for straight.on in (False, True):
            found.append(held_out_loss(module, teacher, corpus, EXACT, torch.device("cpu"), None))
    return found[0], found[1]


def main() -> None:
    """Every shape, seed and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=30_000)
    parser.add_argument("--shapes", nargs="+", default=["2x96h6", "3x192"])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--precision", choices=("int8", "int4-weights"), default="int8")
    parser.add_argument("--method", choices=METHODS, default="mha")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--teacher", default="package:trainables/embedded_teacher")
    parser.add_argument("--corpus", default="docs")
    parser.add_argument("--sts", help="folder of pairs")
    options = parser.parse_args()
    teacher = load_teacher(options.teacher)
    text = CorpusSpec(options.corpus, 64, texts="single" if options.sts else "packed", max_tokens=2_000_000)
    corpus = open_corpus(Path(prepare_corpus(text, teacher.tokenizer)))
    pairs = (replace(TASK, name="sts", source=options.sts, kind="sts", max_dev=1500),)
    folders = [str(prepare_task(t, teacher.tokenizer, cache_folder())) for t in (pairs if options.sts else DOCS_TASKS)]
    tasks = {task.name: task for task in map(load_task, folders)}
    settings = EvaluationSpec(protocol="zero_shot") if options.sts else EvaluationSpec()

    def scores(model, fitted_on=None):
        found = {n: score_task(model, task, settings, ["dev"], 0, fitted_on) for n, task in tasks.items()}
        return {name: each["dev"].score for name, each in found.items()}

    best, floor = scores(teacher.model), scores(untrained(teacher, teacher.facts.architecture, 0))

    def quality(found):
        return mean_share({name: recovered(score, best[name], floor[name]) for name, score in found.items()}, {})

    known = options.out.read_text().splitlines() if options.out.exists() else []
    done = {json.dumps(json.loads(line)["asked"]) for line in known}
    deploy, pad_id = DeploySpec("onnx", options.precision), teacher.tokenizer.pad_token_id
    for seed, shape, way in itertools.product(range(1, options.seeds + 1), options.shapes, options.ways):
        asked = {"shape": shape, "seed": seed, "way": way, "tokens": options.tokens, "precision": options.precision,
                 "method": options.method, "rate": options.rate}  # fmt: skip
        if json.dumps(asked) in done:
            continue
        config = {**vars(parse_shape(shape, teacher.facts.architecture.head_size)), **METHODS[options.method]}
        config |= {"method": options.method, "initialisation": "projected_layers"}
        config |= {"learning_rate": options.rate, "batch_size": 16}
        student = build_student(config, teacher, seed, corpus)
        train(way, student, teacher, corpus, config, options, seed)
        student.requires_grad_(True).eval()
        in_float, as_file = losses(student, teacher, corpus, config, options.precision)
        file = as_deployed(student, deploy, corpus)
        with tempfile.TemporaryDirectory() as scratch:
            path = write_file(student, Path(scratch) / "model.onnx", deploy, corpus)
            beside = [student] + [teacher.model] * (student.config.hidden_size == teacher.model.config.hidden_size)
            found = [compare(model, path, parity_rows(corpus), pad_id).cosine for model in beside]
        line = json.dumps({
            "asked": asked, "quality": quality(scores(file)), "torch": quality(scores(student, file)),
            "loss": in_float, "loss_rounded": as_file, "cosine": found[0],
            "to_teacher": found[-1] if found[1:] else None,
        })  # fmt: skip
        with options.out.open("a") as out:
            print(line, file=out, flush=True)
        print(line, flush=True)


if __name__ == "__main__":
    main()
