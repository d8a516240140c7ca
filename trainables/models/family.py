"""What stillhouse has to know of a family of encoders: sizes for the search, and where a model keeps its parts.

A family is one file in trainables/models/families, or a package of somebody else's. Nothing outside it knows an
attribute of its models: the rest reads and writes them through the functions named here.

Layers are counted from 1; H_0 is what the first layer reads and H_l the output of layer l, each BTD (batch, tokens,
width). After the last layer the norm that a pre-norm family puts there is part of H_l, as in transformers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from spaces.students.architecture import FamilyFacts, StudentArchitecture

Config = Any
"""A transformers config; its attributes are the family's own."""
Model = Any
"""A transformers model of the family, bare or under its masked-LM head, or a part of one."""
Norm = Any
"""A module with a `weight`, the gain, and perhaps a `bias`; or a ShiftedNorm."""


@dataclass(frozen=True)
class ShiftedNorm:
    """A norm whose gain is 1 + its weight."""

    norm: Any
    shift: float = 1.0

    @property
    def weight(self) -> Tensor:
        """The gain less 1."""
        return self.norm.weight

    def __call__(self, hidden: Tensor) -> Tensor:
        """As the norm does it."""
        return self.norm(hidden)


@dataclass(frozen=True)
class EmbeddingParts:
    """What makes H_0: the sum of rows of tables, normalised."""

    words: nn.Embedding
    norm: Norm | None
    positions: nn.Embedding | None = None
    types: nn.Embedding | None = None
    tasks: nn.Embedding | None = None
    into_stream: nn.Linear | None = None
    """Where the tables are not as wide as the stream: the map that the normalised sum takes into it."""
    scale: float = 1.0
    """What the rows are multiplied by; it may depend on the width."""

    @property
    def tables(self) -> tuple[nn.Embedding, ...]:
        """Those that there are."""
        every = (self.words, self.positions, self.types, self.tasks)
        return tuple(table for table in every if table is not None)


@dataclass(frozen=True)
class SharedParts:
    """What all layers of an encoder read beside the stream."""

    tables: tuple[nn.Embedding, ...] = ()
    """Rows as wide as the stream, which the maps of the layers read as they read it."""
    norms: tuple[Norm, ...] = ()
    """Over rows of these tables."""
    of_heads: tuple[nn.Embedding, ...] = ()
    """Tables with a column for each attention head."""


@dataclass(frozen=True)
class LayerParts:
    """The parts of a layer that read or write the residual stream.

    A map may hold several blocks of rows of equal height below one another, as fused queries, keys and values do. Where
    several heads of queries share one of keys and values, those are maps of their own, of fewer rows.
    """

    to_heads: tuple[nn.Linear, ...]
    """The stream to queries, keys and values."""
    from_heads: nn.Linear
    to_units: tuple[nn.Linear, ...]
    """The stream to the feed-forward units, and to their gates where there are any."""
    from_units: nn.Linear
    norms: tuple[Norm, ...]
    """All norms over the stream."""
    closing_norm: Norm | None
    """The one of them whose output is the layer's output; None where norms stand before the sublayers, and where one
    layer stands for all."""
    head_norms: tuple[Norm, ...] = ()
    """Norms over the units of each head by itself, before any rotation."""


@dataclass(frozen=True)
class ScoringHead:
    """What a sequence classifier makes of a pooled state: out(norm(activation(dense(state))))."""

    dense: nn.Linear
    """The state to as many units."""
    activation: Callable[[Tensor], Tensor]
    out: nn.Linear
    """The units to the score, or to the scores of several classes."""
    norm: Norm | None = None
    """Over the units."""

    def __call__(self, state_BD: Tensor) -> Tensor:
        """The scores B, or BC of several classes."""
        units_BD = self.activation(self.dense(state_BD))
        found_BC = self.out(units_BD if self.norm is None else self.norm(units_BD))
        return found_BC[:, 0] if self.out.out_features == 1 else found_BC


@dataclass(frozen=True)
class ReadFacts:
    """What a model has to read, whatever its family: the vocabulary and positions of a teacher."""

    vocab_size: int
    positions: int
    """That can be used."""
    types: int
    """Rows for token types; 0: the teacher has none."""
    token_ids: tuple[tuple[str, int | None], ...]
    """Of special tokens, by their keys in configs."""

    @property
    def pad_token_id(self) -> int | None:
        """That the teacher's config names."""
        return dict(self.token_ids).get("pad_token_id")


def of_one_kind(config: Config) -> tuple[str, ...]:
    """The kinds of layers of a family whose layers are all alike."""
    return ("layer",) * config.num_hidden_layers


def nothing_shared(encoder: Model) -> SharedParts:
    """For a family whose layers read the stream alone."""
    return SharedParts()


def first_token(config: Config) -> str:
    """For a family whose classifiers read the state of the first token."""
    return "cls"


def nothing_else(config: Config, before: StudentArchitecture) -> None:
    """For a family whose config says nothing about a shape but the four numbers."""


def positions_alone(read: ReadFacts) -> dict[str, int]:
    """For a family without token types whose positions start with the first."""
    return {"max_position_embeddings": read.positions}


@dataclass(frozen=True)
class Family:
    """One family of encoders; `model_type` of its configs is its name in the registry."""

    facts: Callable[[Config], FamilyFacts]
    """Counts and costs of students of a teacher with this config."""
    layers: str
    """Attribute path from the bare encoder to the list of its layers."""
    embeddings: Callable[[Model], EmbeddingParts]
    """Of the bare encoder."""
    embed: Callable[[Model, Tensor], Tensor]
    """The bare encoder and token ids BT to H_0, without running a layer."""
    parts: Callable[[Model], LayerParts]
    """Of a layer."""
    qkv: Callable[[Model, Tensor], tuple[Tensor, Tensor, Tensor]]
    """A layer and the H below it to queries, keys and values BTD, all heads side by side, before any rotation."""
    head_marker: str | None = None
    """A weight that only a checkpoint with a trained masked-LM head has; None: no model of the family has one."""
    head_words: Callable[[Model, Tensor], Tensor] | None = None
    """A masked-LM model and last hidden states to what its decoder, the head's last map, reads."""
    one_layer: bool = False
    """Whether that list holds one layer, which is run as often as the config has layers."""
    shared: Callable[[Model], SharedParts] = nothing_shared
    """Of the bare encoder."""
    final_norm: Callable[[Model], Norm] | None = None
    """The norm of the bare encoder after its last layer."""
    config_keys: tuple[str, str, str, str] = (
        "num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size",
    )  # fmt: skip
    """Layers, width, heads and feed-forward width in a config."""
    fit_config: Callable[[Config, StudentArchitecture], None] = nothing_else
    """Called after another shape was written into a config, with the shape it had: sets what else depends on it."""
    for_reading: Callable[[ReadFacts], Mapping[str, Any]] | None = None
    """What a config says so that a model of this family reads what a teacher of another reads: positions, types. Raises
    SpecError where none can. None: students are of this family where their teacher is."""
    layer_kinds: Callable[[Config], tuple[str, ...]] = of_one_kind
    """The kind of each layer, bottom up. A student's layer is a copy of a teacher layer of its kind."""
    has_types: bool = True
    """Whether there are embeddings of `type_vocab_size` token types."""
    has_pooler: bool = True
    """Whether AutoModel adds a pooler unless it is told not to."""
    scoring: Callable[[Model], ScoringHead] | None = None
    """Of a sequence classifier; None: the heads of those of the family are not distilled."""
    scored_state: Callable[[Config], str] = first_token
    """The pooling that its state comes from (trainables/models/embedding.py)."""
