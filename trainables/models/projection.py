"""A teacher's parts, written in a narrower basis of its residual stream.

The basis are the first principal directions of the teacher's hidden states over a sample of the corpus (which keep
about 90 % of their energy at half the width, where those of the embeddings alone keep 45 %). Every table, map and norm
that reads or writes the stream is written in it; the gains and biases of the norms whose output is a layer's are then
set, bottom up, to what brings the student's states closest to the projected ones.
Shapes: B blocks, T tokens, D teacher width, d student width, N tokens of the sample.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trainables.models.encoder import architecture, family_of, finished, hidden_states, layers, parts
from trainables.models.family import LayerParts, Norm
from trainables.models.teacher import Teacher
from trainables.text.corpus import Corpus

SAMPLE_BLOCKS = 48
GAIN_LIMITS = (0.05, 3.0)


@dataclass(frozen=True)
class KeptHeads:
    """Which rows of a teacher's maps to its heads a student keeps."""

    rows: Tensor
    """Of queries, and the columns of the map from the heads."""
    shared: Tensor
    """Of keys and values; the same, unless several heads of queries share one of those."""


def projection_for(student: PreTrainedModel, teacher: Teacher, corpus: Corpus | None) -> Tensor:
    """The basis Dd for a student's width; at full width the identity, for which no sample is needed."""
    width, full = architecture(student.config).hidden_size, teacher.facts.architecture.hidden_size
    if width == full:
        return torch.eye(full)
    if corpus is None:
        raise ValueError("a projected start needs a corpus to sample the teacher's hidden states from")
    return stream_directions(teacher, corpus)[:, :width]


def is_identity(basis_Dd: Tensor) -> bool:
    """Whether the student is as wide as the teacher."""
    return basis_Dd.shape[0] == basis_Dd.shape[1]


@lru_cache(maxsize=1)
@torch.no_grad()
def stream_directions(teacher: Teacher, corpus: Corpus) -> Tensor:
    """Orthonormal directions DD of the teacher's hidden states, all layers together, strongest first."""
    states = teacher_sample(teacher, corpus)
    if family_of(teacher.model.config).final_norm:  # the stream grows from layer to layer, and is read normalised
        states = tuple(state / state.square().mean().sqrt() for state in states)
    return principal_directions(sum(state.T @ state / len(state) for state in states))  # type: ignore[arg-type]


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


def principal_directions(gram_DD: Tensor) -> Tensor:
    """Eigenvectors DD of a Gram matrix as columns, strongest first, each with its largest entry positive."""
    directions = torch.linalg.eigh(gram_DD.double()).eigenvectors.flip(1)
    largest = directions.abs().argmax(0, keepdim=True)
    return (directions * directions.gather(0, largest).sign()).float()


def sampled_states(model: PreTrainedModel, corpus: Corpus, num_layers: int | None = None) -> list[Tensor]:
    """H_0 to H_n over a fixed sample of blocks spread over the corpus, each (N, width), on the CPU."""
    chosen = torch.linspace(0, len(corpus.train) - 1, min(SAMPLE_BLOCKS, len(corpus.train))).long()
    ids, mask = corpus.read("train", chosen.numpy())
    ids_BT = torch.from_numpy(ids).to(model.device)
    if mask is None:
        return [state.flatten(0, 1).float().cpu() for state in hidden_states(model, ids_BT, None, num_layers)]
    mask_BT = torch.from_numpy(mask).to(model.device)
    return [state[mask_BT.bool()].float().cpu() for state in hidden_states(model, ids_BT, mask_BT, num_layers)]


def project_embeddings(student: PreTrainedModel, teacher: PreTrainedModel, basis: Tensor) -> None:
    """Every embedding table and the norm over their sum; factorised ones stay, and the map from them is projected."""
    embeddings = family_of(student.config).embeddings
    ours, theirs = embeddings(student.base_model), embeddings(teacher.base_model)
    of_tables = basis
    if ours.into_stream is not None and theirs.into_stream is not None:
        of_tables = torch.eye(ours.into_stream.in_features)
        write_stream(ours.into_stream, theirs.into_stream, slice(None), basis)
    for target, source in zip(ours.tables, theirs.tables, strict=True):
        target.weight.copy_(source.weight.cpu() @ of_tables)
    if ours.norm is not None:
        project_norm(ours.norm, theirs.norm, of_tables)


def project_shared(student: PreTrainedModel, teacher: PreTrainedModel, basis: Tensor) -> None:
    """What all layers read beside the stream."""
    shared = family_of(student.config).shared
    ours, theirs = shared(student.base_model), shared(teacher.base_model)
    for table, source in zip(ours.tables, theirs.tables, strict=True):
        table.weight.copy_(source.weight.cpu() @ basis)
    for norm, source_norm in zip(ours.norms, theirs.norms, strict=True):
        project_norm(norm, source_norm, basis)
    for table, source in zip(ours.of_heads, theirs.of_heads, strict=True):
        table.weight.copy_(source.weight.cpu()[:, evenly(source.embedding_dim, table.embedding_dim)])


def project_norm(target: Norm, source: Norm, basis: Tensor) -> None:
    """A norm in the projected basis: the diagonal of the rotated gain, and the rotated bias.

    It scales to unit variance per unit, so with fewer units the same state comes out sqrt(D / d) too small.
    """
    gain = source.weight.cpu()
    wide, narrow = basis.shape
    target.weight.copy_((wide / narrow) ** 0.5 * (basis * gain[:, None] * basis).sum(0))
    if bias_of(target) is not None:
        target.bias.copy_(basis.T @ source.bias.cpu())


def calibrate(
    student: PreTrainedModel, teacher: Teacher, corpus: Corpus | None, basis: Tensor, pairs: tuple[tuple[int, int], ...]
) -> None:
    """From the bottom up, fit gain and bias of each layer's closing norm to its teacher layer's projected states.

    Least squares for each unit by itself: the part of the projection error that a norm can undo. A layer that no norm
    closes stays as it is.
    """
    assert corpus is not None
    wanted = teacher_sample(teacher, corpus)
    for student_layer, teacher_layer in pairs:
        norm = closing_norm(student, student_layer)
        if norm is None:
            continue
        ours_Nd = sampled_states(student, corpus, student_layer)[student_layer]
        state_ND = wanted[teacher_layer]
        if student_layer == len(layers(student)):
            state_ND = finished(teacher.model, teacher_layer, state_ND.to(teacher.model.device)).cpu()
        target_Nd = state_ND @ basis
        mean_d, target_mean_d = ours_Nd.mean(0), target_Nd.mean(0)
        if bias_of(norm) is None:  # only a gain is left to fit
            mean_d, target_mean_d = torch.zeros_like(mean_d), torch.zeros_like(mean_d)
        centred_Nd = ours_Nd - mean_d
        gain_d = (centred_Nd * (target_Nd - target_mean_d)).mean(0) / centred_Nd.square().mean(0).clamp_min(1e-12)
        gain_d = gain_d.clamp(*GAIN_LIMITS)
        if bias_of(norm) is not None:
            norm.bias.copy_(gain_d * (norm.bias - mean_d) + target_mean_d)
        norm.weight.mul_(gain_d)


def bias_of(norm: Norm) -> Tensor | None:
    """Norms that only scale have none."""
    return getattr(norm, "bias", None)


def closing_norm(model: PreTrainedModel, layer: int) -> Norm | None:
    """The norm whose output is H_layer, if there is one."""
    family = family_of(model.config)
    if layer == 0:
        own = family.embeddings(model.base_model)
        return own.norm if own.into_stream is None else None
    if layer == len(layers(model)) and family.final_norm:
        return family.final_norm(model.base_model)
    return parts(model, layer).closing_norm


def copy_layer(target: LayerParts, source: LayerParts, heads: KeptHeads, basis: Tensor) -> None:
    """Residual stream in the projected basis; of the heads and of the feed-forward units a part is kept."""
    units = strongest_units(source.to_units, source.from_units, target.from_units.in_features)
    for ours, theirs in zip(target.to_heads, source.to_heads, strict=True):
        shared = theirs.out_features < source.from_heads.in_features
        rows = heads.shared if shared else in_every_block(heads.rows, theirs, source.from_heads)
        read_stream(ours, theirs, rows, basis)
    write_stream(target.from_heads, source.from_heads, heads.rows, basis)
    for ours, theirs in zip(target.to_units, source.to_units, strict=True):
        read_stream(ours, theirs, in_every_block(units, theirs, source.from_units), basis)
    write_stream(target.from_units, source.from_units, units, basis)
    for norm, theirs_norm in zip(target.norms, source.norms, strict=True):
        project_norm(norm, theirs_norm, basis)


def in_every_block(kept: Tensor, reading: nn.Linear, writing: nn.Linear) -> Tensor:
    """Rows of a map to heads or units, of which `kept` are kept; fused maps hold several blocks of them."""
    return torch.cat([kept + start for start in range(0, reading.out_features, writing.in_features)])


def read_stream(target: nn.Linear, source: nn.Linear, rows: Tensor, basis: Tensor) -> None:
    """A linear map from the residual stream to inner units, of which `rows` are kept."""
    target.weight.copy_(source.weight[rows] @ basis)
    if target.bias is not None:
        target.bias.copy_(source.bias[rows])


def write_stream(target: nn.Linear, source: nn.Linear, columns: Tensor | slice, basis: Tensor) -> None:
    """A linear map from inner units, of which `columns` are kept, to the residual stream."""
    target.weight.copy_(basis.T @ source.weight.cpu()[:, columns])
    if target.bias is not None:
        target.bias.copy_(basis.T @ source.bias.cpu())


def kept_heads(student: PreTrainedModel, teacher: PreTrainedModel) -> KeptHeads:
    """Which rows of Q, K, V the student keeps: whole heads of the teacher, spaced evenly, wherever they fit.

    A student whose heads are narrower keeps of each of its heads dimensions that are spaced evenly. Heads of queries
    stay with the head of keys and values that they share.
    """
    theirs, ours = architecture(teacher.config), architecture(student.config)
    maps, size = parts(teacher, 1).to_heads, theirs.head_size
    groups = maps[0].out_features // maps[-1].out_features
    shared = evenly_kept(theirs.num_heads // groups, size, ours.num_heads // groups, ours.head_size)
    of_head = shared.reshape(-1, ours.head_size)
    queries = [(of_head // size * groups + number) * size + of_head % size for number in range(groups)]
    return KeptHeads(torch.stack(queries, dim=1).flatten(), shared)


def evenly_kept(many: int, size: int, few: int, kept_size: int) -> Tensor:
    """Rows of `few` heads of `kept_size`, chosen from those of `many` heads of `size`."""
    wide, narrow = many * size, few * kept_size
    if narrow == wide:
        return torch.arange(wide)
    table = torch.arange(wide).reshape(many, size)
    if kept_size >= size and narrow % size == 0:
        return table[evenly(many, narrow // size)].flatten()
    if few > many or kept_size > size:
        return evenly(wide, narrow)
    return table[evenly(many, few)][:, evenly(size, kept_size)].flatten()


def strongest_units(reading: Sequence[nn.Linear], writing: nn.Linear, wanted: int) -> Tensor:
    """The feed-forward units whose incoming and outgoing weights are largest, in their old order."""
    available = writing.in_features
    strength = writing.weight.norm(dim=0)
    for each in reading:
        for block in each.weight.split(available):
            strength = block.norm(dim=1) * strength
    kept = min(wanted, available)
    chosen = strength.topk(kept).indices.sort().values
    # A student with more units than the teacher repeats some: harmless, they part ways while training.
    return chosen[torch.arange(wanted) % kept]


def evenly(available: int, wanted: int) -> Tensor:
    """`wanted` indices spread over range(available)."""
    return (torch.arange(wanted) * available) // wanted


def copy_head(student: PreTrainedModel, teacher: PreTrainedModel, basis: Tensor) -> None:
    """The transform of the language-modelling head in the projected basis, and its bias over the vocabulary.

    A side of a map that the student has as wide as the teacher is not the stream and stays as it is. A decoder of its
    own (`tie_word_embeddings` false) is projected as the word embeddings are.
    """
    ours, theirs = student.get_output_embeddings(), teacher.get_output_embeddings()
    if ours is None or theirs is None:
        return
    if ours.bias is not None:
        ours.bias.copy_(theirs.bias)

    def side(narrow: int, wide: int) -> Tensor:
        return torch.eye(narrow) if narrow == wide else basis

    if ours.weight is not student.get_input_embeddings().weight:
        ours.weight.copy_(theirs.weight.cpu() @ side(ours.in_features, theirs.in_features))
    head = {n: m for n, m in teacher.named_modules() if not n.startswith(teacher.base_model_prefix)}
    for name, module in student.named_modules():
        if name.startswith(student.base_model_prefix) or module is ours:
            continue
        if isinstance(module, nn.Linear):
            source: Any = head[name]
            out_of = side(module.out_features, source.out_features)
            module.weight.copy_(out_of.T @ source.weight.cpu() @ side(module.in_features, source.in_features))
            if module.bias is not None:
                module.bias.copy_(out_of.T @ source.bias.cpu())
        elif isinstance(module, nn.LayerNorm):
            norm: Any = head[name]
            project_norm(module, norm, side(len(module.weight), len(norm.weight)))
