"""A teacher's parts, written in a narrower basis of its residual stream.

The basis are the first principal directions of the teacher's hidden states over a sample of the corpus (which keep
about 90 % of their energy at half the width, where those of the embeddings alone keep 45 %), of the layers that a start
holds. Every table, map and norm that reads or writes the stream is written in it.
Shapes: D teacher width, d student width.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trainables.models.encoder import architecture, family_of, outputs_of, scoring_head
from trainables.models.family import LayerParts, Norm
from trainables.models.kept_units import Kept, evenly
from trainables.models.stream_sample import teacher_sample
from trainables.models.teacher import Teacher
from trainables.text.corpus import Corpus


def projection_for(student: PreTrainedModel, teacher: Teacher, corpus: Corpus | None, held: tuple[int, ...]) -> Tensor:
    """The basis Dd for a student's width, of the layers held; at full width the identity, which needs no sample."""
    width, full = architecture(student.config).hidden_size, teacher.facts.architecture.hidden_size
    if width == full:
        return torch.eye(full)
    if corpus is None:
        raise ValueError("a projected start needs a corpus to sample the teacher's hidden states from")
    return stream_directions(teacher, corpus, held)[:, :width]


def is_identity(basis_Dd: Tensor) -> bool:
    """Whether the student is as wide as the teacher."""
    return basis_Dd.shape[0] == basis_Dd.shape[1]


@lru_cache(maxsize=8)
@torch.no_grad()
def stream_directions(teacher: Teacher, corpus: Corpus, held: tuple[int, ...]) -> Tensor:
    """Orthonormal directions DD of the hidden states H_l of some of the teacher's layers together, strongest first."""
    every = teacher_sample(teacher, corpus)
    states = tuple(every[layer] for layer in held)
    if family_of(teacher.model.config).final_norm:  # the stream grows from layer to layer, and is read normalised
        states = tuple(state / state.square().mean().sqrt() for state in states)
    return principal_directions(sum(state.T @ state / len(state) for state in states))  # type: ignore[arg-type]


def principal_directions(gram_DD: Tensor) -> Tensor:
    """Eigenvectors DD of a Gram matrix as columns, strongest first, each with its largest entry positive."""
    directions = torch.linalg.eigh(gram_DD.double()).eigenvectors.flip(1)
    largest = directions.abs().argmax(0, keepdim=True)
    return (directions * directions.gather(0, largest).sign()).float()


def project_embeddings(student: PreTrainedModel, teacher: PreTrainedModel, basis: Tensor) -> None:
    """Every embedding table and the norm over their sum; factorised ones stay, and the map from them is projected."""
    embeddings = family_of(student.config).embeddings
    ours, theirs = embeddings(student.base_model), embeddings(teacher.base_model)
    of_tables = basis
    if ours.into_stream is not None and theirs.into_stream is not None:
        of_tables = torch.eye(ours.into_stream.in_features)
        write_stream(ours.into_stream, theirs.into_stream, slice(None), basis)
    for target, source in zip(ours.tables, theirs.tables, strict=True):
        target.weight.copy_(source.weight.cpu() @ of_tables * (theirs.scale / ours.scale))
    if ours.norm is not None:
        project_norm(ours.norm, theirs.norm, of_tables)


def take_embeddings(student: PreTrainedModel, teacher: PreTrainedModel, basis: Tensor) -> None:
    """The embeddings of a teacher of another family, as far as the student has a place for them.

    Positions and types where both have them. What the teacher adds to words and the student does not goes into the
    words, as its mean (positions) or its first row. So does what cannot be done after the sum: a norm that the student
    lacks, and a map into the stream.
    """
    ours, theirs = (family_of(model.config).embeddings(model.base_model) for model in (student, teacher))
    starts = [family_of(model.config).facts(model.config).position_offset for model in (student, teacher)]
    in_words = theirs.into_stream is not None or (theirs.norm is not None and ours.norm is None)
    rows = theirs.words.weight.cpu() * theirs.scale
    for target, source, (first, its_first) in (
        (ours.positions, theirs.positions, starts), (ours.types, theirs.types, (0, 0)),
        (ours.tasks, theirs.tasks, (0, 0)),
    ):  # fmt: skip
        if source is None:
            continue
        added = source.weight.cpu()[its_first:]
        if target is None or in_words:
            rows = rows + (added.mean(0) if source is theirs.positions else added[0])
        else:
            count = min(len(added), len(target.weight) - first)
            target.weight[first : first + count] = added[:count] @ basis / ours.scale
    if in_words:
        rows = rows if theirs.norm is None else theirs.norm(rows.to(teacher.device)).cpu()
        rows = rows if theirs.into_stream is None else theirs.into_stream(rows.to(teacher.device)).cpu()
    elif ours.norm is not None and theirs.norm is not None:
        project_norm(ours.norm, theirs.norm, basis)
    ours.words.weight.copy_(rows @ basis / ours.scale)


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
    scale = (wide / narrow) ** 0.5
    target.weight.copy_(scale * (basis * gain[:, None] * basis).sum(0) + (scale - 1) * shift_of(source))
    if bias_of(target) is not None and bias_of(source) is not None:
        target.bias.copy_(basis.T @ source.bias.cpu())


def bias_of(norm: Norm) -> Tensor | None:
    """Norms that only scale have none."""
    return getattr(norm, "bias", None)


def shift_of(norm: Norm) -> float:
    """What some norms add to their weight."""
    return getattr(norm, "shift", 0.0)


def copy_layer(target: LayerParts, source: LayerParts, heads: Kept, units: Kept, basis: Tensor) -> None:
    """Residual stream in the projected basis; of the heads and of the feed-forward units a part is kept."""
    for ours, theirs in zip(target.to_heads, source.to_heads, strict=True):
        read_stream(ours, theirs, heads.rows_of(theirs, source.from_heads), basis)
    write_stream(target.from_heads, source.from_heads, heads.rows, basis)
    for ours, theirs in zip(target.to_units, source.to_units, strict=True):
        read_stream(ours, theirs, units.rows_of(theirs, source.from_units), basis)
    write_stream(target.from_units, source.from_units, units.rows, basis)
    for norm, theirs_norm in zip(target.norms, source.norms, strict=True):
        project_norm(norm, theirs_norm, basis)
    for norm, theirs_norm in zip(target.head_norms, source.head_norms, strict=True):
        within = heads.shared[: len(norm.weight)] % len(theirs_norm.weight)
        norm.weight.copy_(theirs_norm.weight[within])


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


def copy_scoring_head(student: PreTrainedModel, teacher: PreTrainedModel, basis: Tensor) -> None:
    """The head of a cross-encoder or classifier: its map reads the projected state, and of its units those that move
    scores most."""
    if not outputs_of(student):
        return
    ours, theirs = scoring_head(student), scoring_head(teacher)
    weight_DD, out_D = theirs.dense.weight.cpu() @ basis, theirs.out.weight.cpu().norm(dim=0)
    strength_D = out_D if theirs.norm is None else out_D * theirs.norm.weight.cpu().abs()
    most = (strength_D * weight_DD.norm(dim=1)).argsort(descending=True, stable=True)[: len(ours.dense.weight)]
    kept = most.sort().values
    ours.dense.weight.copy_(weight_DD[kept])
    ours.out.weight.copy_(theirs.out.weight.cpu()[:, kept])
    for target, source, rows in ((ours.dense, theirs.dense, kept), (ours.out, theirs.out, slice(None))):
        if target.bias is not None:
            target.bias.copy_(source.bias.cpu()[rows])
    if ours.norm is not None and theirs.norm is not None:
        ours.norm.weight.copy_(theirs.norm.weight.cpu()[kept])
        if bias_of(ours.norm) is not None:
            ours.norm.bias.copy_(theirs.norm.bias.cpu()[kept])
