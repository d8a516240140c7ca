"""Build a student and give it its first weights.

The embeddings of a narrower student are the teacher's, projected on their first principal directions (truncated SVD);
its layers may be the teacher's, written in that same basis. At equal width the projection is the identity, and the
student starts as a copy of uniformly spaced teacher layers.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from spaces.architecture import architecture_of
from spaces.layer_mapping import MAPPINGS
from spaces.transfer import METHODS, parse_method
from trainables.encoder import build_model, layers, part, set_architecture, wiring, word_embeddings
from trainables.teacher import Teacher


def build_student(config: dict, teacher: Teacher, seed: int) -> PreTrainedModel:
    """A student of the teacher's family and vocabulary, with a masked-LM head where its method trains one.

    In evaluation mode: distillation runs without dropout, for a student of few tokens underfits before it overfits.
    """
    lm_head = any(METHODS[name].student_lm_head for name, _ in parse_method(config["method"]))
    model_config = copy.deepcopy(teacher.model.config)
    set_architecture(model_config, architecture_of(config))
    torch.manual_seed(seed)
    student = build_model(model_config, lm_head=lm_head).eval()
    INITIALISATIONS[config["initialisation"]](student, teacher.model)
    return student


def random_start(student: PreTrainedModel, teacher: PreTrainedModel) -> None:
    """transformers' own initialisation, as it is."""


@torch.no_grad()
def projected_start(student: PreTrainedModel, teacher: PreTrainedModel) -> Tensor:
    """Word, position and type embeddings in the basis of the teacher's first principal directions.

    Returns the basis, (teacher width, student width) with orthonormal columns.
    """
    ours: Any = student.base_model.embeddings
    theirs: Any = teacher.base_model.embeddings
    width = word_embeddings(student).shape[1]
    basis = principal_directions(word_embeddings(teacher), width)
    targets = dict(ours.named_modules())
    for name, module in theirs.named_modules():
        if isinstance(module, nn.Embedding):
            targets[name].weight.copy_(module.weight @ basis)
        elif isinstance(module, nn.LayerNorm) and width == len(basis):
            targets[name].load_state_dict(module.state_dict())
    return basis


@torch.no_grad()
def projected_layers_start(student: PreTrainedModel, teacher: PreTrainedModel) -> None:
    """Projected embeddings, and teacher layers spaced uniformly, their matrices written in the projected basis."""
    basis = projected_start(student, teacher)
    sources, targets = layers(teacher), layers(student)
    for student_layer, teacher_layer in MAPPINGS["uniform"](len(targets), len(sources)):
        copy_layer(targets[student_layer - 1], sources[teacher_layer - 1], student, teacher, basis)
    copy_head(student, teacher, basis)


INITIALISATIONS = {
    "random": random_start,
    "projected": projected_start,
    "projected_layers": projected_layers_start,
    "teacher_layers": projected_layers_start,  # the same at equal width, where the basis is the identity
}


def principal_directions(rows_VD: Tensor, width: int) -> Tensor:
    """The first right singular vectors (D, width) of a matrix, by its Gram matrix; the identity at full width."""
    full = rows_VD.shape[1]
    if width > full:
        raise ValueError(f"cannot project embeddings of width {full} to a larger width, got {width}")
    if width == full:
        return torch.eye(full, device=rows_VD.device)
    rows = rows_VD.double()
    directions = torch.linalg.eigh(rows.T @ rows).eigenvectors.flip(1)[:, :width]
    largest = directions.abs().argmax(0, keepdim=True)
    return (directions * directions.gather(0, largest).sign()).float()


def copy_layer(
    target: nn.Module, source: nn.Module, student: PreTrainedModel, teacher: PreTrainedModel, basis: Tensor
) -> None:
    """Residual stream in the projected basis; of the heads and of the feed-forward units a part is kept."""
    names = wiring(student.config)
    heads = kept_head_rows(teacher, student)
    units = strongest_units(part(source, names.ffn_in), part(source, names.ffn_out), part(target, names.ffn_in))
    for name in (names.query, names.key, names.value):
        read_stream(part(target, name), part(source, name), heads, basis)
    write_stream(part(target, names.attention_output), part(source, names.attention_output), heads, basis)
    read_stream(part(target, names.ffn_in), part(source, names.ffn_in), units, basis)
    write_stream(part(target, names.ffn_out), part(source, names.ffn_out), units, basis)
    if basis.shape[0] == basis.shape[1]:
        for name in (names.attention_norm, names.ffn_norm):
            part(target, name).load_state_dict(part(source, name).state_dict())


def read_stream(target: nn.Linear, source: nn.Linear, rows: Tensor, basis: Tensor) -> None:
    """A linear map from the residual stream to inner units, of which `rows` are kept."""
    target.weight.copy_(source.weight[rows] @ basis)
    target.bias.copy_(source.bias[rows])


def write_stream(target: nn.Linear, source: nn.Linear, columns: Tensor, basis: Tensor) -> None:
    """A linear map from inner units, of which `columns` are kept, to the residual stream."""
    target.weight.copy_(basis.T @ source.weight[:, columns])
    target.bias.copy_(basis.T @ source.bias)


def kept_head_rows(teacher: PreTrainedModel, student: PreTrainedModel) -> Tensor:
    """Which rows of Q, K, V the student keeps: heads spaced evenly, and dimensions spaced evenly in each head."""
    _, width_key, heads_key, _ = wiring(student.config).config_keys
    wide, many = getattr(teacher.config, width_key), getattr(teacher.config, heads_key)
    narrow, few = getattr(student.config, width_key), getattr(student.config, heads_key)
    if narrow == wide:
        return torch.arange(wide)
    table = torch.arange(wide).reshape(many, wide // many)
    if few > many or narrow // few > wide // many:
        return evenly(wide, narrow)
    return table[evenly(many, few)][:, evenly(wide // many, narrow // few)].flatten()


def strongest_units(first: nn.Linear, second: nn.Linear, target: nn.Linear) -> Tensor:
    """The feed-forward units whose incoming and outgoing weights are largest, in their old order."""
    kept = min(target.out_features, first.out_features)
    strength = first.weight.norm(dim=1) * second.weight.norm(dim=0)
    chosen = strength.topk(kept).indices.sort().values
    # A student with more units than the teacher repeats some: harmless, they part ways while training.
    return chosen[torch.arange(target.out_features) % kept]


def evenly(available: int, wanted: int) -> Tensor:
    """`wanted` indices spread over range(available)."""
    return (torch.arange(wanted) * available) // wanted


def copy_head(student: PreTrainedModel, teacher: PreTrainedModel, basis: Tensor) -> None:
    """The transform of the language-modelling head in the projected basis, and its bias over the vocabulary."""
    ours, theirs = student.get_output_embeddings(), teacher.get_output_embeddings()
    if ours is None or theirs is None:
        return
    ours.bias.copy_(theirs.bias)
    before: dict[str, Any] = {n: m for n, m in teacher.named_modules() if not n.startswith(teacher.base_model_prefix)}
    for name, module in student.named_modules():
        if name.startswith(student.base_model_prefix) or module is ours:
            continue
        if isinstance(module, nn.Linear):
            module.weight.copy_(basis.T @ before[name].weight @ basis)
            module.bias.copy_(basis.T @ before[name].bias)
        elif isinstance(module, nn.LayerNorm) and basis.shape[0] == basis.shape[1]:
            module.load_state_dict(before[name].state_dict())
