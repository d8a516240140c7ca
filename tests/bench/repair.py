"""Does training for int8 pay? Students of the embedded teacher as int8 files, by what they do in their last tokens.

Each starts from the teacher and learns its relations (`mha`), for the same tokens in all:
  none                float to the end; the file is rounded as it comes
  quantisation-aware  in the last quarter every map reads its weights as the file will have them; gradients pass
                      straight through the rounding (Jacob et al., arXiv:1712.05877)
  outliers            three quarters in float; then weights are rounded, and the 0.5 % of each map that are furthest
                      from its mean train on in float, all else frozen (PreQuant, Gong et al., ACL Findings 2023)
A file has no room for single weights in float: outliers are rounded when it is written, on the scale of their channel.
`quality` is the mean share over two docs tasks (dev) of the file, `torch` that of its weights by the same probes; the
losses are on held-out blocks, with weights in float and as the file has them; `cosine` is the file's to torch.
One line of JSON for each run; run it again to go on.

    python tests/bench/repair.py --out repair.jsonl      # about ten minutes on an idle core
"""

import argparse
import copy
import json
import tempfile
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
TASKS = (
    replace(TASK, name="package", source="docs:package"),
    replace(TASK, name="missing", source="docs:missing", kind="token_classification", max_train=2000),
)
LEARNS = {"method": "mha", "relation_heads": 12, "teacher_layer": 6, "initialisation": "projected_layers"}
EXACT = TrainingSpec(precision="fp32", teacher_precision="fp32")
LAST, OUTLIERS = 0.25, 0.005
WAYS = ("none", "quantisation-aware", "outliers")


def rounded(weight_OI: Tensor) -> Tensor:
    """As the file has them: 256 values from the smallest to the largest of each row, 0 among them."""
    low_O1, high_O1 = weight_OI.amin(1, keepdim=True).clamp(max=0), weight_OI.amax(1, keepdim=True).clamp(min=0)
    scale_O1 = ((high_O1 - low_O1) / 255).clamp(min=1e-12)
    zero_O1 = (-low_O1 / scale_O1).round()
    return ((weight_OI / scale_O1 + zero_O1).round().clamp(0, 255) - zero_O1) * scale_O1


class Straight(nn.Module):
    """Weights as the file will have them, once it is on; the gradient is that of the weights."""

    on = False

    def forward(self, weight_OI: Tensor) -> Tensor:
        """The same or rounded."""
        return weight_OI + (rounded(weight_OI) - weight_OI).detach() if self.on else weight_OI


def maps_of(student) -> list[nn.Linear]:
    """What the quantiser rounds, tables aside."""
    return [each for each in student.modules() if isinstance(each, nn.Linear)]


def train(way: str, student, teacher, corpus, config, tokens: int, seed: int) -> None:
    """Train a student in place, one of WAYS."""
    if way == "outliers":
        first = tokens - round(LAST * tokens)
        distil(student, teacher, corpus, TrainingRun(config, first, seed, EXACT), lambda said: None)
        student.requires_grad_(False)
        for each in maps_of(student):
            far_OI = (each.weight - each.weight.mean()).abs()
            is_far_OI = far_OI >= far_OI.flatten().topk(max(1, round(OUTLIERS * far_OI.numel()))).values[-1]
            each.weight.data = torch.where(is_far_OI, each.weight.data, rounded(each.weight.data))
            each.weight.requires_grad_(True).register_hook(lambda gradient, kept=is_far_OI: gradient * kept)
        still = replace(EXACT, weight_decay=0.0)  # which would move what is frozen
        run = TrainingRun(config, tokens - first, seed, still, generation=1)
        distil(student, teacher, corpus, run, lambda said: None)
        return
    straight = Straight()
    for each in maps_of(student):
        parametrize.register_parametrization(each, "weight", straight)

    def report(said) -> None:
        straight.on = way == "quantisation-aware" and said.train_tokens >= (1 - LAST) * tokens

    distil(student, teacher, corpus, TrainingRun(config, tokens, seed, EXACT), report)
    straight.on = False
    for each in maps_of(student):
        parametrize.remove_parametrizations(each, "weight", leave_parametrized=False)


def losses(student, teacher, corpus, config) -> tuple[float, float]:
    """On held-out blocks: (weights in float, weights of maps as the file has them)."""
    found = []
    for as_file in (False, True):
        own = copy.deepcopy(student)
        for each in maps_of(own) if as_file else ():
            each.weight.data = rounded(each.weight.data)
        module = Distillation(own, teacher, corpus, config, EXACT)
        found.append(held_out_loss(module, teacher, corpus, EXACT, torch.device("cpu"), None))
    return found[0], found[1]


def main() -> None:
    """Every shape, seed and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=30_000)
    parser.add_argument("--shapes", nargs="+", default=["2x96h6", "3x192"])
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    teacher = load_teacher("package:trainables/embedded_teacher")
    corpus = open_corpus(Path(prepare_corpus(CorpusSpec("docs", 64, max_tokens=2_000_000), teacher.tokenizer)))
    tasks = {task.name: load_task(str(prepare_task(task, teacher.tokenizer, cache_folder()))) for task in TASKS}

    def scores(model, fitted_on=None):
        found = {n: score_task(model, task, EvaluationSpec(), ["dev"], 0, fitted_on) for n, task in tasks.items()}
        return {name: each["dev"].score for name, each in found.items()}

    best, floor = scores(teacher.model), scores(untrained(teacher, teacher.facts.architecture, 0))

    def quality(found):
        return mean_share({name: recovered(score, best[name], floor[name]) for name, score in found.items()}, {})

    known = options.out.read_text().splitlines() if options.out.exists() else []
    done = {json.dumps(json.loads(line)["asked"]) for line in known}
    for seed in range(1, options.seeds + 1):
        for shape in options.shapes:
            config = {**vars(parse_shape(shape, teacher.facts.architecture.head_size)), **LEARNS}
            config |= {"learning_rate": 1e-3, "batch_size": 16}
            for way in WAYS:
                asked = {"shape": shape, "seed": seed, "way": way, "tokens": options.tokens}
                if json.dumps(asked) in done:
                    continue
                student = build_student(config, teacher, seed, corpus)
                train(way, student, teacher, corpus, config, options.tokens, seed)
                student.requires_grad_(True).eval()
                in_float, as_file = losses(student, teacher, corpus, config)
                file = as_deployed(student, DeploySpec("onnx", "int8"), corpus)
                with tempfile.TemporaryDirectory() as scratch:
                    path = write_file(student, Path(scratch) / "model.onnx", DeploySpec("onnx", "int8"), corpus)
                    cosine = compare(student, path, parity_rows(corpus), teacher.tokenizer.pad_token_id).cosine
                line = json.dumps({
                    "asked": asked, "quality": quality(scores(file)), "torch": quality(scores(student, file)),
                    "loss": in_float, "loss_rounded": as_file, "cosine": cosine,
                })  # fmt: skip
                with options.out.open("a") as out:
                    print(line, file=out, flush=True)
                print(line, flush=True)


if __name__ == "__main__":
    main()
