"""The signals that a loss may look at: how each is read from a model, what is kept to restore it, and how.

A model is run for states: hidden states of some layers, at some positions. A signal is restored from states by a small
map of the model (Q, K and V are one linear map away), so states are what the target cache keeps. A loss sees signals
and never a model, so that the teacher may be live or read from the cache.

SIGNALS holds those that come with stillhouse. Any other module may make a `Signal`, and a method that asks for it gets
it read, cached and restored: nothing here has to know of it.

Shapes: B batch, T tokens, D width, N masked positions of a batch, P masked positions of a block at most, R kept rows of
a block.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from trainables.models.embedding import embedder_of, finish, pool
from trainables.models.encoder import Head, hidden_states, lm_head, qkv, scoring_head


@dataclass(frozen=True)
class Positions:
    """At which positions of a block a hidden state is kept.

    take: (H_l as BTD, mask BT or None, masked positions BT or None) -> the state, as signals are restored from it.
    rows: (T, P) -> R.
    pack: (the state, masked positions, R) -> BRD, rows that are not taken filled with zeros.
    unpack: the way back, (BRD, masked positions) -> the state.
    """

    name: str
    take: Callable[[Tensor, Tensor | None, Tensor | None], Tensor]
    rows: Callable[[int, int], int]
    pack: Callable[[Tensor, Tensor | None, int], Tensor]
    unpack: Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class State:
    """A hidden state that a model is run for: of which layer (0: the embeddings), at which positions."""

    layer: int
    positions: Positions

    @property
    def key(self) -> str:
        """Its name in a target cache."""
        return f"{self.positions.name}.{self.layer}"


@dataclass(frozen=True)
class Signal:
    """A kind of signal, which a loss asks for by layer.

    states: layer -> the states that it is restored from.
    restore: (model, layer, *states) -> the signal.
    """

    name: str
    meaning: str
    states: Callable[[int], tuple[State, ...]]
    restore: Callable[..., Any]


LayerSignal = tuple[Signal, int]
"""A signal of a layer; layers are counted from 1, as everywhere."""
Signals = Mapping[LayerSignal, Any]
States = Mapping[State, Tensor]


def whole(hidden_BTD: Tensor, mask_BT: Tensor | None, positions_BT: Tensor | None) -> Tensor:
    """Every position."""
    return hidden_BTD


def rows_of_tokens(tokens: int, masked: int) -> int:
    """One for each token."""
    return tokens


def pack_whole(state_BTD: Tensor, positions_BT: Tensor | None, rows: int) -> Tensor:
    """They are kept as they are."""
    return state_BTD


def unpack_whole(packed_BTD: Tensor, positions_BT: Tensor | None) -> Tensor:
    """They were kept as they are."""
    return packed_BTD


def at_masked(hidden_BTD: Tensor, mask_BT: Tensor | None, positions_BT: Tensor | None) -> Tensor:
    """The masked positions, ND. Raises ValueError for inputs that are not masked."""
    if positions_BT is None:
        raise ValueError("a signal at the masked positions needs a method with masked_inputs")
    return hidden_BTD[positions_BT]


def rows_of_masked(tokens: int, masked: int) -> int:
    """One for each masked position."""
    return masked


def pack_masked(state_ND: Tensor, positions_BT: Tensor | None, rows: int) -> Tensor:
    """Block by block; blocks with fewer masked words are filled up with zeros."""
    assert positions_BT is not None
    packed_BPD = state_ND.new_zeros(len(positions_BT), rows, state_ND.shape[1])
    packed_BPD[filled(positions_BT, rows)] = state_ND
    return packed_BPD


def unpack_masked(packed_BPD: Tensor, positions_BT: Tensor | None) -> Tensor:
    """One after the other."""
    assert positions_BT is not None
    return packed_BPD[filled(positions_BT, packed_BPD.shape[1])]


def filled(positions_BT: Tensor, rows: int) -> Tensor:
    """Which of the places BP of each block are taken: all, but for blocks with fewer masked words than that."""
    return torch.arange(rows) < positions_BT.sum(1, keepdim=True).cpu()


TOKENS = Positions("tokens", whole, rows_of_tokens, pack_whole, unpack_whole)
MASKED = Positions("masked", at_masked, rows_of_masked, pack_masked, unpack_masked)


def tokens_of(layer: int) -> tuple[State, ...]:
    """H_l."""
    return (State(layer, TOKENS),)


def tokens_below(layer: int) -> tuple[State, ...]:
    """H_{l-1}."""
    return (State(layer - 1, TOKENS),)


def masked_of(layer: int) -> tuple[State, ...]:
    """H_l at the masked positions."""
    return (State(layer, MASKED),)


def restore_hidden(model: PreTrainedModel, layer: int, state_BTD: Tensor) -> Tensor:
    """It is the state."""
    return state_BTD


def restore_logits(model: PreTrainedModel, layer: int, state_ND: Tensor) -> Head:
    """The head, short of its logits, which are large."""
    return lm_head(model, state_ND)


def restore_embedding(model: PreTrainedModel, layer: int, state_BMD: Tensor) -> Tensor:
    """Through the maps that the model embeds with."""
    return finish(embedder_of(model), state_BMD, normalised=False)


def restore_score(model: PreTrainedModel, layer: int, state_B1D: Tensor) -> Tensor:
    """By the head, in float32: bfloat16 has three digits, and scores of a query differ by less."""
    with torch.autocast(state_B1D.device.type, enabled=False):
        return scoring_head(model)(state_B1D[:, 0].float())


HIDDEN = Signal("hidden", "the output of a layer, BTD", tokens_of, restore_hidden)
QKV = Signal("qkv", "queries, keys and values of a layer, BTD each, all heads side by side", tokens_below, qkv)
LOGITS = Signal("logits", "the masked-LM head over the last layer at the masked positions", masked_of, restore_logits)


@cache
def pooled(pooling: tuple[str, ...], skipped: int) -> Signal:
    """One vector of each text, pooled from a layer as the teacher pools, and through the model's own Dense, BE.

    pooling, skipped: as in trainables/models/embedding.py. A last Normalize is left out: losses see to lengths. States
    are BMD, M poolings: one row for each, so that a text costs M x D values in the cache, whatever its length.
    """

    def take(hidden_BTD: Tensor, mask_BT: Tensor | None, positions_BT: Tensor | None) -> Tensor:
        return pool(pooling, skipped, hidden_BTD, mask_BT)

    name = "-".join(["pooled", *pooling, *([str(skipped)] if skipped else [])])
    positions = Positions(name, take, lambda tokens, masked: len(pooling), pack_whole, unpack_whole)
    meaning = "one vector of each text, BE"
    return Signal("pooled", meaning, lambda layer: (State(layer, positions),), restore_embedding)


@cache
def scored(pooling: tuple[str, ...]) -> Signal:
    """The score of each pair of texts, B, before any activation; the state that it is made of is kept."""
    meaning = "the score of each pair of texts, B"
    return Signal("score", meaning, pooled(pooling, 0).states, restore_score)


@cache
def class_scored(pooling: tuple[str, ...]) -> Signal:
    """The score of each class of a text, BC, before any activation; the state that it is made of is kept."""
    meaning = "the score of each class of a text, BC"
    return Signal("class_scores", meaning, pooled(pooling, 0).states, restore_score)


OF_TEXTS = (pooled(("mean",), 0), scored(("cls",)), class_scored(("cls",)))
SIGNALS = {signal.name: signal for signal in (HIDDEN, QKV, LOGITS, *OF_TEXTS)}


def states_of(wanted: Iterable[LayerSignal]) -> tuple[State, ...]:
    """The states that these signals are restored from, each once."""
    return tuple(dict.fromkeys(state for signal, layer in wanted for state in signal.states(layer)))


def read_states(
    model: PreTrainedModel,
    wanted: Iterable[State],
    input_ids_BT: Tensor,
    mask_BT: Tensor | None = None,
    positions_BT: Tensor | None = None,
    mix: Callable[[Tensor], Tensor] | None = None,
) -> States:
    """Run a model as deep as the wanted states need and no deeper; mix: as in `hidden_states`."""
    wanted = tuple(wanted)
    deepest = max((state.layer for state in wanted), default=0)
    hidden = hidden_states(model, input_ids_BT, mask_BT, deepest, mix)
    return {state: state.positions.take(hidden[state.layer], mask_BT, positions_BT) for state in wanted}


def restore_signals(model: PreTrainedModel, wanted: Iterable[LayerSignal], states: States) -> Signals:
    """The signals that are wanted and no others, from states that hold what they need."""
    return {
        (signal, layer): signal.restore(model, layer, *(states[state] for state in signal.states(layer)))
        for signal, layer in wanted
    }


def read_signals(
    model: PreTrainedModel,
    wanted: Iterable[LayerSignal],
    input_ids_BT: Tensor,
    mask_BT: Tensor | None = None,
    positions_BT: Tensor | None = None,
    mix: Callable[[Tensor], Tensor] | None = None,
) -> Signals:
    """Run a model for these signals. Used for teacher and student alike."""
    wanted = tuple(wanted)
    states = read_states(model, states_of(wanted), input_ids_BT, mask_BT, positions_BT, mix)
    return restore_signals(model, wanted, states)
