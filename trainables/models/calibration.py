"""The rest that separates a smaller student from its teacher, fitted in closed form on a sample of the corpus.

From the bottom up, each linear map of a layer is set to what comes closest to the teacher's map on what the student
itself feeds it (least squares around its weights), and then gain and bias of the norm that closes the layer. So a layer
makes up for what was cut from it and from those below. He, Zhang and Sun 2017 (arXiv:1707.06168) prune convolutions so.
Shapes: N tokens of the sample, D teacher width, d student width.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trainables.models.encoder import family_of, finished, layers, parts
from trainables.models.family import LayerParts, Norm
from trainables.models.kept_units import Kept
from trainables.models.projection import bias_of, shift_of
from trainables.models.stream_sample import Passed, passing, sampled_states, teacher_sample
from trainables.models.teacher import Teacher
from trainables.text.corpus import Corpus

GAIN_LIMITS = (0.05, 3.0)
RIDGE = 0.01
"""How much the old weights count, in mean squares of what a map reads."""


def fit_layer(
    student: PreTrainedModel, layer: int, theirs: LayerParts, corpus: Corpus, basis: Tensor, passed: Passed,
    heads: Kept, units: Kept,
) -> None:  # fmt: skip
    """Fit the maps of a student's layer, in the order in which they run, to those of the teacher's layer `theirs`.

    passed: what those read and give over the sample.
    """
    family, ours = family_of(student.config), parts(student, layer)
    if family.one_layer:
        return  # its maps would be fitted to one of the depths at which they run
    for reading, writing, known, known_writing, kept in (
        (ours.to_heads, ours.from_heads, theirs.to_heads, theirs.from_heads, heads),
        (ours.to_units, ours.from_units, theirs.to_units, theirs.from_units, units),
    ):
        if reading is ours.to_units or not family.shared(student.base_model).tables:  # which these maps read as well
            seen_Nd, _ = passing(student, corpus, layer, reading[:1])[reading[0]]
            for target, source in zip(reading, known, strict=True):
                fit_map(target, seen_Nd, passed[source][1][:, kept.rows_of(source, known_writing)])
        seen_NI, _ = passing(student, corpus, layer, [writing])[writing]
        fit_map(writing, seen_NI, passed[known_writing][1] @ basis)


def fit_map(target: nn.Linear, seen_NI: Tensor, wanted_NO: Tensor) -> None:
    """Weights and bias that come closest to what is wanted of a map; with few tokens the weights stay near the old."""
    centre_I, centre_O = seen_NI.mean(0), wanted_NO.mean(0)
    if target.bias is None:
        centre_I, centre_O = torch.zeros_like(centre_I), torch.zeros_like(centre_O)
    inner_NI, old_IO = (seen_NI - centre_I).double(), target.weight.T.double()
    gram_II = inner_NI.T @ inner_NI
    gram_II += RIDGE * gram_II.diag().mean().clamp_min(1e-12) * torch.eye(len(gram_II))
    missing_NO = (wanted_NO - centre_O).double() - inner_NI @ old_IO
    weight_IO = (old_IO + torch.linalg.solve(gram_II, inner_NI.T @ missing_NO)).float()
    target.weight.copy_(weight_IO.T)
    if target.bias is not None:
        target.bias.copy_(centre_O - centre_I @ weight_IO)


def fit_norms(
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
        shift = shift_of(norm)
        norm.weight.copy_(gain_d * (norm.weight + shift) - shift)


def closing_norm(model: PreTrainedModel, layer: int) -> Norm | None:
    """The norm whose output is H_layer, if there is one."""
    family = family_of(model.config)
    if layer == 0:
        own = family.embeddings(model.base_model)
        return own.norm if own.into_stream is None else None
    if layer == len(layers(model)) and family.final_norm:
        return family.final_norm(model.base_model)
    return parts(model, layer).closing_norm
