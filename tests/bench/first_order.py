"""Heads and feed-forward units kept by first-order importance on a distillation loss, beside those that starts keep.

A gate stands on each head and unit of the teacher's layers that a start holds, at the deviation from its mean over a
sample: mean + gate (x - mean), for a bias makes up for the mean. The score of one is the mean over tokens of
|d loss / d gate| (Michel et al. 2019, arXiv:1905.10650) or of its square (Molchanov et al. 2019, arXiv:1906.10771).
At gate 1 the layers that are held say what the teacher's say, so the loss needs something to differ by:
`masked` 15 % of the tokens are masked for the cut and not for the teacher; `narrow` each layer's state is projected to
the student's width; `last` the cut's last layer against the teacher's last. The first two are `hs` of the layers held.
One line of JSON for each student; run it again to go on.

    python tests/bench/first_order.py --out first_order.jsonl --examples 0
    python tests/bench/first_order.py --out first_order.jsonl --tokens 50000 130000 --by now masked/square --seeds 2

Shapes: B blocks, T tokens, D teacher width, I units or heads of a layer.
"""

import argparse
import copy
import json
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import product
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from starts import EXACT, TASKS
from torch import nn

from spaces.records.shares import mean_share
from spaces.students.architecture import parse_shape
from trainables.cache import cache_folder
from trainables.models import kept_units
from trainables.models import student as starts
from trainables.models.encoder import family_of, hidden_states, layers, parts
from trainables.models.kept_units import Kept
from trainables.models.projection import stream_directions
from trainables.models.stream_sample import sample
from trainables.models.student import build_student, held_by, untrained
from trainables.models.teacher import load_teacher
from trainables.tasks.scoring import load_task, prepare_task, recovered, score_task
from trainables.tasks.spec import EvaluationSpec
from trainables.text.corpus import open_corpus, prepare_corpus
from trainables.text.sources import CorpusSpec
from trainables.training.loop import distil
from trainables.training.settings import TrainingRun

NOW = "now"
BY = (NOW, "masked/square", "masked/size", "narrow/square", "last/square", "last/size")
POWERS = {"square": 2, "size": 1}


def cut_to(model, held):
    """A copy of the layers held."""
    cut, family = copy.deepcopy(model).requires_grad_(False), family_of(model.config)
    path, _, name = family.layers.rpartition(".")
    setattr(cut.base_model.get_submodule(path), name, nn.ModuleList([layers(cut)[layer - 1] for layer in held]))
    cut.config.num_hidden_layers = len(held)
    return cut


def gate(module, number, shape_BT):
    """Gates BTI on what a map reads: `number` heads, or as many as it reads units."""
    gates_BTI = torch.ones(*shape_BT, number, requires_grad=True)

    def hook(module, args):
        read = args[0]
        mean = read.detach().flatten(0, 1).mean(0)
        return (mean + (read - mean) * gates_BTI.repeat_interleave(read.shape[-1] // number, -1),)

    module.register_forward_pre_hook(hook)
    return gates_BTI


def gated_loss(teacher, corpus, held, width, differs):
    """The loss, a sum over tokens in units of a state's variance, and its gates by (place of a layer, heads or not)."""
    ids_BT, mask_BT = sample(teacher.model, corpus)
    wanted, cut = hidden_states(teacher.model, ids_BT, mask_BT), cut_to(teacher.model, held)
    gates, basis = {}, stream_directions(teacher, corpus, (0, *held))[:, :width]
    for place in range(1, len(held) + 1):
        of = parts(cut, place)
        gates[place, True] = gate(of.from_heads, teacher.facts.architecture.num_heads, ids_BT.shape)
        gates[place, False] = gate(of.from_units, of.from_units.in_features, ids_BT.shape)
        if differs == "narrow":
            layers(cut)[place - 1].register_forward_hook(
                lambda layer, args, out: out @ basis @ basis.T if isinstance(out, torch.Tensor)
                else (out[0] @ basis @ basis.T, *out[1:])
            )  # fmt: skip
    if differs == "masked":
        hidden = torch.rand(ids_BT.shape, generator=torch.Generator().manual_seed(0)) < 0.15
        ids_BT = ids_BT.masked_fill(hidden, corpus.mask_token_id)
    states = hidden_states(cut, ids_BT, mask_BT)
    wanted_of_held = [wanted[layer] for layer in held]
    pairs = [(states[-1], wanted[-1])] if differs == "last" else list(zip(states[1:], wanted_of_held, strict=True))
    if differs == "narrow":
        pairs = [(ours, theirs @ basis @ basis.T) for ours, theirs in pairs]
    return sum((a - b).square().mean(-1).sum() / b.detach().var() for a, b in pairs), gates


def importance(teacher, corpus, held, width, by):
    """A score for each head (True) and unit (False) of each place."""
    differs, power = by.split("/")
    loss, gates = gated_loss(teacher, corpus, held, width, differs)
    found = torch.autograd.grad(loss, list(gates.values()))
    return {key: g.abs().pow(POWERS[power]).mean((0, 1)) for key, g in zip(gates, found, strict=True)}


@contextmanager
def keeping(score):
    """Starts built inside keep what scores highest in each layer."""
    places, place, known = iter(range(1, 1000)), [0], starts.kept_heads

    def heads(*given):
        place[0] = next(places)
        return known(*given)

    def best(is_heads, wanted):
        return score[place[0], is_heads].topk(wanted).indices.sort().values

    def units(read_NI, writing_dI, wanted):
        rows = best(False, wanted)
        return Kept(rows, rows)

    with (
        patch.object(starts, "kept_heads", heads),
        patch.object(kept_units, "needed_heads", lambda read, writing, size, wanted: best(True, wanted)),
        patch.object(starts, "needed_units", units),
    ):
        yield


@torch.no_grad()
def unexplained(student, teacher, corpus, held):
    """Mean share of the variance of the layers held that the best linear map from the student's states leaves."""
    ids_BT = torch.from_numpy(np.asarray(corpus.held_out[:64]).astype(np.int64))
    ours, theirs = hidden_states(student, ids_BT), hidden_states(teacher.model, ids_BT)
    shares = []
    for place, layer in enumerate(held, 1):
        x, y = (state.flatten(0, 1) - state.flatten(0, 1).mean(0) for state in (ours[place], theirs[layer]))
        shares.append(float((y - x @ torch.linalg.lstsq(x, y).solution).square().sum() / y.square().sum()))
    return sum(shares) / len(shares)


def main() -> None:
    """Every way to keep, untrained or after some tokens."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokens", type=int, nargs="+", default=[0])
    parser.add_argument("--shapes", nargs="+", default=["3x96h6", "3x144h9"])
    parser.add_argument("--starts", nargs="+", default=["first_layers", "projected_layers"])
    parser.add_argument("--by", nargs="+", default=BY)
    parser.add_argument("--examples", type=int, default=1000, help="of each dev split; 0: no scores")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    teacher = load_teacher("package:trainables/embedded_teacher")
    corpus = open_corpus(Path(prepare_corpus(CorpusSpec("docs", 64, max_tokens=2_000_000), teacher.tokenizer)))
    asked_of = [replace(task, max_dev=options.examples) for task in TASKS if options.examples]
    tasks = {task.name: load_task(str(prepare_task(task, teacher.tokenizer, cache_folder()))) for task in asked_of}

    def scores(model, seed):
        model.eval()
        return {n: score_task(model, task, EvaluationSpec(), ["dev"], seed)["dev"].score for n, task in tasks.items()}

    lines = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    done = {json.dumps(line["asked"]): line for line in lines}

    def told(asked, found):
        if (key := json.dumps(asked)) not in done:
            done[key] = {"asked": asked, **found()}
            with options.out.open("a") as out:
                print(json.dumps(done[key]), file=out, flush=True)
            print(json.dumps(done[key]), flush=True)
        return done[key]

    best = told("teacher", lambda: scores(teacher.model, 0))
    floor = told("floor", lambda: scores(untrained(teacher, teacher.facts.architecture, 0), 0))
    asked = product(options.tokens, range(1, options.seeds + 1), options.shapes, options.starts, options.by)
    for tokens, seed, shape, start, by in asked:
        architecture = parse_shape(shape, teacher.facts.architecture.head_size)
        held = held_by(start, architecture, teacher, corpus)
        config = {
            **vars(architecture), "initialisation": start, "learning_rate": 1e-3, "batch_size": 16, "method": "hs",
            "mapping": "held",
        }  # fmt: skip

        def found(tokens=tokens, seed=seed, held=held, by=by, config=config):
            scored = None if by == NOW else importance(teacher, corpus, held, config["hidden_size"], by)
            with keeping(scored) if scored else nullcontext():
                student = build_student(config, teacher, seed, corpus)
            if tokens:
                distil(student, teacher, corpus, TrainingRun(config, tokens, seed, EXACT), lambda report: None)
            left = {"unexplained": unexplained(student, teacher, corpus, held)}
            if not tasks:
                return left
            shares = {n: recovered(s, best[n], floor[n]) for n, s in scores(student, seed).items()}
            return {**left, "quality": mean_share(shares, {}), **shares}

        told({"shape": shape, "start": start, "by": by, "tokens": tokens, "seed": seed}, found)


if __name__ == "__main__":
    main()
