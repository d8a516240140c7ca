"""Which layers of a teacher can best be missed: one after the other, each time the one whose loss changes least.

Greedy removal as in Peer et al. 2022 (arXiv:2105.14839), but by what the encoder says of a sample of the corpus
instead of by a task: its embeddings where the corpus holds single texts, else the states of its last layer.
Shapes: B texts, T tokens, D width, N embeddings or tokens.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from spaces.telling import Say, announced, quiet
from trainables.cache import cache_folder, digest
from trainables.copies import cached_value
from trainables.models.embedding import embedder_of, finish, pool
from trainables.models.encoder import family_of, hidden_states, layers
from trainables.models.stream_sample import of_tokens, sample
from trainables.models.teacher import Teacher
from trainables.text.corpus import Corpus

Run = Callable[[], tuple[Tensor, ...]]
Beside = tuple[Any, ...] | None
SAMPLE_TOKENS = 1024
"""Enough to tell layers apart: what they change differs by far more than two samples do."""
VERSION = 1
"""Of what is kept in the cache."""


def layers_left(teacher: Teacher, corpus: Corpus, number: int) -> tuple[int, ...]:
    """The `number` layers of the teacher that are left when the others are removed, bottom up, counted from 1."""
    depth = teacher.facts.architecture.num_layers
    removed = removal_order(teacher, corpus)[: depth - number]
    return tuple(layer for layer in range(1, depth + 1) if layer not in removed)


def removal_order(teacher: Teacher, corpus: Corpus, say: Say = quiet) -> tuple[int, ...]:
    """The teacher's layers in the order in which they are removed, all but the one that stays to the end.

    Found once for a teacher and a corpus, and kept in the cache.
    """
    key = digest("removal", VERSION, teacher.facts.digest, corpus.digest, *embedder_of(teacher.model).identity())
    found = cached_value(cache_folder() / "removal" / key, lambda: {"order": find_order(teacher, corpus, say)})
    return tuple(found["order"])


@torch.no_grad()
def find_order(teacher: Teacher, corpus: Corpus, say: Say) -> list[int]:
    """`removal_order`, by one pass through the layers above each candidate."""
    model, depth = teacher.model, teacher.facts.architecture.num_layers
    if family_of(model.config).one_layer:
        return list(range(depth, 1, -1))  # all of them are the same
    ids_BT, mask_BT = sample(model, corpus, max(1, round(SAMPLE_TOKENS / corpus.tokens_per_row)))
    run = partial(hidden_states, model, ids_BT, mask_BT)
    beside, states = run_whole(model, run)
    said = partial(said_by, model, mask_BT, bool(corpus.lengths))
    wanted_ND = said(states)
    removed: dict[int, None] = {}
    for _ in announced(range(depth - 1), "layers of the teacher removed: {}", say):
        lost: dict[int, float] = {}
        for layer in (layer for layer in range(1, depth + 1) if layer not in removed):
            known = {below: states[below] for below in range(1, layer)}
            with answering(model, {**removed, **known, layer: None}, beside):
                lost[layer] = float(1 - F.cosine_similarity(said(run()), wanted_ND, dim=-1).mean())
        removed[min(lost, key=lambda layer: lost[layer])] = None
        with answering(model, removed, beside):
            states = run()
    return list(removed)


def said_by(model: PreTrainedModel, mask_BT: Tensor | None, texts: bool, states: Sequence[Tensor]) -> Tensor:
    """What states (H_0, ..., H_n), each BTD, come to: an embedding for each text, or the last state of each token."""
    if not texts:
        return of_tokens(states[-1], mask_BT)
    embedder = embedder_of(model)
    return finish(embedder, pool(embedder.pooling, embedder.skipped, states[-1], mask_BT))


def run_whole(model: PreTrainedModel, run: Run) -> tuple[Beside, tuple[Tensor, ...]]:
    """What layers return beside their state, None where that is all, and the states."""
    seen: list[Any] = []
    handle = layers(model)[0].register_forward_hook(lambda layer, args, out: seen.append(out))
    try:
        states = run()
    finally:
        handle.remove()
    return (None if isinstance(seen[0], Tensor) else tuple(seen[0][1:])), states


@contextmanager
def answering(model: PreTrainedModel, answers: Mapping[int, Tensor | None], beside: Beside) -> Iterator[None]:
    """Layers that are not run inside: each returns its answer, or what it was given where that is None."""

    def forward(answer: Tensor | None, *args: Any, **options: Any) -> Any:
        given = args[0] if args else options["hidden_states"]
        state = given if answer is None else answer
        return state if beside is None else (state, *beside)

    every = layers(model)
    try:
        for layer, answer in answers.items():
            every[layer - 1].forward = partial(forward, answer)
        yield
    finally:
        for layer in answers:
            del every[layer - 1].forward
