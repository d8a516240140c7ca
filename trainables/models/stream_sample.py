"""What flows through a model over a sample of the corpus: hidden states, and what its linear maps read and give.

Shapes: N tokens of the sample, D width.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trainables.models.encoder import family_of, hidden_states
from trainables.models.teacher import Teacher
from trainables.text.corpus import Corpus

SAMPLE_BLOCKS = 48
Passed = Mapping[nn.Module, tuple[Tensor, Tensor]]
"""What linear maps read and gave, (N, in) and (N, out)."""


def sampled_states(model: PreTrainedModel, corpus: Corpus, num_layers: int | None = None) -> list[Tensor]:
    """H_0 to H_n over a fixed sample of blocks spread over the corpus, each (N, width), on the CPU."""
    ids_BT, mask_BT = sample(model, corpus)
    return [of_tokens(state, mask_BT) for state in hidden_states(model, ids_BT, mask_BT, num_layers)]


def sample(model: PreTrainedModel, corpus: Corpus, rows: int = SAMPLE_BLOCKS) -> tuple[Tensor, Tensor | None]:
    """The sample's rows and their mask on the device of a model."""
    chosen = torch.linspace(0, len(corpus.train) - 1, min(rows, len(corpus.train))).long()
    ids, mask = corpus.read("train", chosen.numpy())
    return torch.from_numpy(ids).to(model.device), None if mask is None else torch.from_numpy(mask).to(model.device)


def of_tokens(state_BTD: Tensor, mask_BT: Tensor | None) -> Tensor:
    """The rows (N, D) of valid tokens, on the CPU."""
    chosen = state_BTD.flatten(0, 1) if mask_BT is None else state_BTD[mask_BT.bool()]
    return chosen.float().cpu()


@torch.no_grad()
def passing(model: PreTrainedModel, corpus: Corpus, layer: int, maps: Iterable[nn.Linear]) -> Passed:
    """What each of some maps of a layer reads and gives over the sample when it is first run."""
    ids_BT, mask_BT = sample(model, corpus)
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def note(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        seen.setdefault(module, (args[0], out))

    handles = [each.register_forward_hook(note) for each in maps]
    try:
        hidden_states(model, ids_BT, mask_BT, layer)
    finally:
        for handle in handles:
            handle.remove()
    return {module: (of_tokens(read, mask_BT), of_tokens(given, mask_BT)) for module, (read, given) in seen.items()}


@lru_cache(maxsize=1)
@torch.no_grad()
def teacher_sample(teacher: Teacher, corpus: Corpus) -> tuple[Tensor, ...]:
    """The teacher's part of `sampled_states`; kept, for the next trial of a lane asks for it again."""
    return tuple(sampled_states(teacher.model, corpus))


@lru_cache(maxsize=1)
def stream_squares(teacher: Teacher, corpus: Corpus) -> Mapping[int, float]:
    """The mean square of H_l for each layer of a family whose stream grows from layer to layer; others: nothing.

    H of the last layer is after the final norm. The sample is that of `teacher_sample`: the same for all trials.
    """
    if family_of(teacher.model.config).final_norm is None:
        return {}
    return {layer: float(state.square().mean()) for layer, state in enumerate(teacher_sample(teacher, corpus))}
