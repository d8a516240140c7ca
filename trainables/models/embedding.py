"""How the token states of a model become one vector of a text: its Embedder, and the embeddings themselves.

The steps are those of sentence-transformers: pooling over the valid tokens, then any of Dense and Normalize. A model
carries its embedder (`embedder_of`), so that whoever has the model can embed; the students of a teacher carry its own.

Shapes: B batch, T tokens, M poolings, D hidden size, N texts, E width of an embedding.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from spaces.students.architecture import EmbeddingFacts
from trainables.models.embedding_spec import POOLING_NAMES
from trainables.models.encoder import usable_positions
from trainables.models.file_encoder import FileEncoder
from trainables.text.batching import length_batches, padded
from trainables.text.ragged import Ragged, ragged

BATCH_TOKENS = 2048
TOKENIZER_BATCH = 1000


def at(states_BTD: Tensor, places_B: Tensor) -> Tensor:
    """The state at one position of each text."""
    rows_B = torch.arange(places_B.shape[0], device=places_B.device)  # not len, which fixes it in an exported graph
    return states_BTD[rows_B, places_B]


def first_token(states_BTD: Tensor, pooled_BT: Tensor, valid_BT: Tensor) -> Tensor:
    return at(states_BTD, pooled_BT.int().argmax(1))


def last_token(states_BTD: Tensor, pooled_BT: Tensor, valid_BT: Tensor) -> Tensor:
    last_B = pooled_BT.shape[1] - 1 - pooled_BT.flip(1).int().argmax(1)
    return at(states_BTD, last_B) * pooled_BT.any(1, keepdim=True)


def maximum(states_BTD: Tensor, pooled_BT: Tensor, valid_BT: Tensor) -> Tensor:
    return states_BTD.masked_fill(~pooled_BT.bool()[..., None], -torch.inf).amax(1)


def mean(states_BTD: Tensor, pooled_BT: Tensor, valid_BT: Tensor) -> Tensor:
    return weighted(states_BTD, pooled_BT)


def mean_by_root(states_BTD: Tensor, pooled_BT: Tensor, valid_BT: Tensor) -> Tensor:
    return weighted(states_BTD, pooled_BT) * pooled_BT.sum(1, keepdim=True).sqrt()


def mean_by_place(states_BTD: Tensor, pooled_BT: Tensor, valid_BT: Tensor) -> Tensor:
    return weighted(states_BTD, pooled_BT * valid_BT.cumsum(1))


def weighted(states_BTD: Tensor, weights_BT: Tensor) -> Tensor:
    """The mean under weights."""
    weights_BT1 = weights_BT.to(states_BTD.dtype)[..., None]
    return (states_BTD * weights_BT1).sum(1) / weights_BT1.sum(1).clamp(min=1e-9)


POOLINGS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = dict(
    zip(POOLING_NAMES, (first_token, maximum, mean, mean_by_root, mean_by_place, last_token), strict=True)
)
"""(states BTD, the tokens that are pooled BT, the valid tokens BT) -> BD.

The two masks differ where a prompt is left out.
"""
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "torch.nn.modules.linear.Identity": lambda x: x,
    "torch.nn.modules.activation.Tanh": torch.tanh,
    "torch.nn.modules.activation.ReLU": F.relu,
    "torch.nn.modules.activation.GELU": F.gelu,
    "torch.nn.modules.activation.SiLU": F.silu,
    "torch.nn.modules.activation.Sigmoid": torch.sigmoid,
}
"""The activations of Dense by the names that its config has."""


@dataclass(frozen=True, eq=False)
class Dense:
    """A linear map of embeddings and its activation; weight E x (width before), bias E or none."""

    weight: Tensor
    bias: Tensor | None = None
    activation: str = "torch.nn.modules.linear.Identity"

    def __call__(self, x_BE: Tensor) -> Tensor:
        """The next embedding."""
        bias = None if self.bias is None else self.bias.to(x_BE)
        return ACTIVATIONS[self.activation](F.linear(x_BE, self.weight.to(x_BE), bias))


@dataclass(frozen=True)
class Normalize:
    """Embeddings of length 1."""

    def __call__(self, x_BE: Tensor) -> Tensor:
        """The next embedding."""
        return F.normalize(x_BE, dim=-1)


@dataclass(frozen=True, eq=False)
class Embedder:
    """How the states of a model's last layer become an embedding of a text.

    pooling: names of POOLINGS, side by side in this order.
    include_prompt: whether the tokens of the prompt are pooled as well.
    prompts: texts that may stand before a text, by their names; prompt_name: the one that does.
    skipped: tokens at the start of each text that are not pooled, where the prompt is left out.
    max_length: longest text in tokens, special tokens included; longer texts are cut.
    dims: how many values of the embedding are kept; None: all.
    """

    max_length: int
    pooling: tuple[str, ...] = ("mean",)
    include_prompt: bool = True
    steps: tuple[Dense | Normalize, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)
    prompt_name: str | None = None
    skipped: int = 0
    dims: int | None = None
    similarity: str = "cosine"
    """What the library compares embeddings by."""
    pairs: bool = False
    """Whether it is of a cross-encoder: two texts are read in one sequence, and a head scores the pooled state."""
    marks_second: bool = False
    """Whether the second of two texts has token types of its own."""

    @property
    def prompt(self) -> str:
        """The text that stands before each text."""
        return "" if self.prompt_name is None else self.prompts[self.prompt_name]

    @property
    def dense(self) -> tuple[Dense, ...]:
        """The learned steps."""
        return tuple(step for step in self.steps if isinstance(step, Dense))

    @property
    def normalised(self) -> bool:
        """Whether embeddings have length 1."""
        return bool(self.steps) and isinstance(self.steps[-1], Normalize)

    def identity(self) -> tuple[object, ...]:
        """What tells two embedders of the same model apart."""
        steps = [(step.activation, step.weight.numpy().tobytes(), step.bias is not None and step.bias.numpy().tobytes())
                 if isinstance(step, Dense) else "Normalize" for step in self.steps]  # fmt: skip
        known = self.pooling, self.include_prompt, self.prompt, steps, self.dims, self.max_length
        return (*known, "pairs") if self.pairs else known

    def facts(self, hidden_size: int) -> EmbeddingFacts:
        """What students of the teacher are made for."""
        width = len(self.dense[-1].weight) if self.dense else hidden_size * len(self.pooling)
        return EmbeddingFacts(self.pooling, min(width, self.dims or width), self.skipped)

    def for_width(self, same: bool) -> "Embedder":
        """That of a student: as wide as the teacher, all of it; else without the maps, which do not fit it."""
        if same:
            return self
        return replace(self, steps=(Normalize(),) if self.normalised else (), dims=None)

    def same_space(self, other: "Embedder") -> bool:
        """Whether both hand the pooled states through the same maps, and keep as many values."""
        return self.steps is other.steps and self.dims == other.dims

    def onto(self, weight: Tensor) -> "Embedder":
        """With a linear map E x (pooled width) after the pooling, in place of all maps that it has."""
        last = (Normalize(),) if self.normalised else ()
        return replace(self, steps=(Dense(weight.detach().cpu().float().contiguous()), *last), dims=None)


def embedder_of(model: PreTrainedModel | FileEncoder) -> Embedder:
    """What `set_embedder` gave to the model, else the mean of its last states."""
    known = getattr(model, "embedder", None)
    return cast(Embedder, known) if known else Embedder(usable_positions(model.config))


def set_embedder(model: PreTrainedModel, embedder: Embedder) -> None:
    """Say how the model's states become embeddings."""
    model.embedder = embedder  # type: ignore[assignment]


def embedding_line(embedder: Embedder) -> str:
    """One line for a person: the steps, the longest text, and the prompts that are there but not used."""
    if embedder.pairs:
        return f"scores pairs of texts, together up to {embedder.max_length} tokens, by the state {embedder.pooling[0]}"
    steps = [" and ".join(embedder.pooling)]
    steps += [f"Dense to {len(step.weight)}" if isinstance(step, Dense) else "Normalize" for step in embedder.steps]
    line = f"embeddings: {', '.join(steps)}; texts of up to {embedder.max_length} tokens"
    if embedder.prompt:
        return f"{line}, each after {embedder.prompt!r}"
    known = ", ".join(f"{name} {text!r}" for name, text in embedder.prompts.items())
    return f"{line}; no prompt, although the teacher has some ([embedding] prompt): {known}" if known else line


def pool(pooling: Sequence[str], skipped: int, states_BTD: Tensor, mask_BT: Tensor | None) -> Tensor:
    """The poolings side by side, BMD, in float32 at least. mask_BT: None when every token is valid."""
    states_BTD = states_BTD.to(torch.promote_types(states_BTD.dtype, torch.float32))
    valid_BT = states_BTD.new_ones(states_BTD.shape[:2], dtype=torch.int64) if mask_BT is None else mask_BT.long()
    pooled_BT = valid_BT * (valid_BT.cumsum(1) > skipped) if skipped else valid_BT
    return torch.stack([POOLINGS[name](states_BTD, pooled_BT, valid_BT) for name in pooling], dim=1)


def finish(embedder: Embedder, pooled_BMD: Tensor, *, normalised: bool = True) -> Tensor:
    """The embedding BE of pooled states; if not `normalised`, without the last Normalize."""
    found_BE = pooled_BMD.flatten(1)
    for step in embedder.steps if normalised or not embedder.normalised else embedder.steps[:-1]:
        found_BE = step(found_BE)
    return found_BE[:, : embedder.dims]


def embeddings(model: PreTrainedModel | FileEncoder, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Embeddings BE of one batch."""
    if isinstance(model, FileEncoder):
        return model.embeddings(ids_BT, mask_BT)
    embedder = embedder_of(model)
    states_BTD = model.base_model(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
    return finish(embedder, pool(embedder.pooling, embedder.skipped, states_BTD, mask_BT))


@torch.inference_mode()
def embed_tokens(model: PreTrainedModel | FileEncoder, texts: Ragged, pad_id: int) -> np.ndarray:
    """Embeddings of texts as token ids (special tokens and the prompt included), NE float32, in their order."""
    module, device = cast(nn.Module, model), model.device
    was_training = module.training
    module.eval()
    found_NE: np.ndarray | None = None
    try:
        for rows in length_batches(texts.lengths(), BATCH_TOKENS):
            ids_BT, mask_BT = (x.to(device) for x in padded([texts[row] for row in rows], pad_id))
            found_BE = embeddings(model, ids_BT, mask_BT)
            if found_NE is None:
                found_NE = np.empty((len(texts), found_BE.shape[1]), dtype=np.float32)
            found_NE[rows] = found_BE.float().cpu().numpy()
    finally:
        module.train(was_training)
    return np.empty((0, 0), dtype=np.float32) if found_NE is None else found_NE


def embed(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> np.ndarray:
    """Embeddings of texts, NE float32, as `SentenceTransformer.encode` makes them of the same folder."""
    return embed_tokens(model, text_tokens(embedder_of(model), tokenizer, texts), tokenizer.pad_token_id or 0)


def text_tokens(embedder: Embedder, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Ragged:
    """Token ids of texts as they are embedded: after the prompt, with special tokens, cut to the longest length."""
    ids: list[list[int]] = []
    for start in range(0, len(texts), TOKENIZER_BATCH):
        batch = [embedder.prompt + text for text in texts[start : start + TOKENIZER_BATCH]]
        ids += tokenizer(batch, truncation=True, max_length=embedder.max_length)["input_ids"]
    return ragged(ids, np.int32)


def prompt_tokens(tokenizer: PreTrainedTokenizerBase, prompt: str) -> int:
    """The tokens that a prompt takes at the start of a text, the first special token among them."""
    ids = tokenizer(prompt)["input_ids"]
    return len(ids) - (ids[-1] in tokenizer.all_special_ids)
