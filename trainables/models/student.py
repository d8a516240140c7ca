"""Build a student and give it its first weights.

A narrower student starts in the basis of the teacher's residual stream: the first principal directions of its hidden
states over a sample of the corpus (which keep about 90 % of their energy at half the width, where those of the
embeddings alone keep 45 %). Embeddings and, if wanted, teacher layers are written in that basis, and the gains and
biases of the LayerNorms are then set, layer by layer, to what brings the student's states closest to the projected
ones. At equal width the projection is the identity and the student a copy of teacher layers, evenly spaced or first.
Shapes: B blocks, T tokens, D teacher width, d student width, N tokens of the sample.
"""

import copy
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from spaces.errors import TrialFailed
from spaces.students.architecture import StudentArchitecture, architecture_of
from spaces.students.layer_mapping import MAPPINGS
from spaces.students.transfer import METHODS, parse_method
from trainables.models.encoder import build_model, hidden_states, layers, part, set_architecture, wiring
from trainables.models.teacher import Teacher
from trainables.text.corpus import Corpus

SAMPLE_BLOCKS = 48
GAIN_LIMITS = (0.05, 3.0)


def build_student(config: dict, teacher: Teacher, seed: int, corpus: Corpus | None = None) -> PreTrainedModel:
    """A student of the teacher's family and vocabulary, with a masked-LM head where its method trains one.

    corpus: what a projected start takes its sample from; a random start needs none.
    In evaluation mode: distillation runs without dropout, for a student underfits long before it overfits.
    """
    lm_head = any(METHODS[name].student_lm_head for name, _ in parse_method(config["method"]))
    model_config = copy.deepcopy(teacher.model.config)
    set_architecture(model_config, architecture_of(config))
    torch.manual_seed(seed)
    student = build_model(model_config, lm_head=lm_head).eval()
    INITIALISATIONS[config["initialisation"]](student, teacher, corpus)
    return student


def load_weights(student: PreTrainedModel, folder: str) -> None:
    """Go on from the weights of an exported student of the same shape; a head that it lacks stays as it is.

    Raises TrialFailed for weights of another shape.
    """
    known = student.state_dict()
    saved = load_file(Path(folder) / "model.safetensors")
    prefix = "" if set(saved) <= set(known) else f"{student.base_model_prefix}."
    named = {f"{prefix}{name}": tensor for name, tensor in saved.items()}
    wrong = [name for name, tensor in named.items() if name not in known or known[name].shape != tensor.shape]
    if wrong:
        raise TrialFailed(f"the weights in {folder} do not fit the student: {wrong[0]}, and {len(wrong) - 1} more")
    student.load_state_dict(named, strict=False)


def random_start(student: PreTrainedModel, teacher: Teacher, corpus: Corpus | None) -> None:
    """transformers' own initialisation, as it is."""


@torch.no_grad()
def projected_start(student: PreTrainedModel, teacher: Teacher, corpus: Corpus | None) -> None:
    """Word, position and type embeddings in the projected basis under random layers."""
    basis = projection_for(student, teacher, corpus)
    project_embeddings(student, teacher.model, basis)
    if not is_identity(basis):
        calibrate(student, teacher, corpus, basis, pairs=((0, 0),))


@torch.no_grad()
def projected_layers_start(
    student: PreTrainedModel, teacher: Teacher, corpus: Corpus | None, kept: str = "uniform"
) -> None:
    """Projected embeddings, and teacher layers, their matrices written in the projected basis: those of TRUNCATIONS."""
    basis = projection_for(student, teacher, corpus)
    project_embeddings(student, teacher.model, basis)
    sources, targets = layers(teacher.model), layers(student)
    pairs = TRUNCATIONS[kept](len(targets), len(sources))
    for student_layer, teacher_layer in pairs:
        source = copy.deepcopy(sources[teacher_layer - 1]).cpu()
        copy_layer(targets[student_layer - 1], source, student, teacher.model, basis)
    copy_head(student, teacher.model, basis)
    if not is_identity(basis):
        calibrate(student, teacher, corpus, basis, pairs=((0, 0), *pairs))


INITIALISATIONS: dict[str, Callable[[PreTrainedModel, Teacher, Corpus | None], None]] = {
    "random": random_start,
    "projected": projected_start,
    "projected_layers": projected_layers_start,
    "teacher_layers": projected_layers_start,  # the same at equal width, where the basis is the identity
    "first_layers": partial(projected_layers_start, kept="first"),
}


TRUNCATIONS = {"uniform": MAPPINGS["uniform"], "first": lambda kept, _: tuple((i, i) for i in range(1, kept + 1))}
"""Which layers of a teacher a shallower one keeps."""


def truncated(teacher: Teacher, architecture: StudentArchitecture, kept: str, corpus: Corpus) -> PreTrainedModel:
    """The teacher cut to a shape and left as it is: its uniformly spaced or its first layers, projected if narrower.

    What a student of that shape is worth before any distillation (Sajjad et al. 2020, arXiv:2004.03844).
    """
    config = {"method": "hs", "initialisation": "random", **asdict(architecture)}
    student = build_student(config, teacher, 0)
    projected_layers_start(student, teacher, corpus, kept)
    return student


def projection_for(student: PreTrainedModel, teacher: Teacher, corpus: Corpus | None) -> Tensor:
    """The basis Dd for a student's width; at full width the identity, for which no sample is needed."""
    width, full = student.get_input_embeddings().embedding_dim, teacher.facts.architecture.hidden_size
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
    return principal_directions(sum(state.T @ state / len(state) for state in states))  # type: ignore[arg-type]


@lru_cache(maxsize=1)
@torch.no_grad()
def teacher_sample(teacher: Teacher, corpus: Corpus) -> tuple[Tensor, ...]:
    """The teacher's part of `sampled_states`; kept, for the next trial of a lane asks for it again."""
    return tuple(sampled_states(teacher.model, corpus))


def principal_directions(gram_DD: Tensor) -> Tensor:
    """Eigenvectors DD of a Gram matrix as columns, strongest first, each with its largest entry positive."""
    directions = torch.linalg.eigh(gram_DD.double()).eigenvectors.flip(1)
    largest = directions.abs().argmax(0, keepdim=True)
    return (directions * directions.gather(0, largest).sign()).float()


def sampled_states(model: PreTrainedModel, corpus: Corpus, num_layers: int | None = None) -> list[Tensor]:
    """H_0 to H_n over a fixed sample of blocks spread over the corpus, each (N, width), on the CPU."""
    chosen = torch.linspace(0, len(corpus.train) - 1, min(SAMPLE_BLOCKS, len(corpus.train))).long()
    ids_BT = torch.from_numpy(corpus.train[chosen.numpy()].astype("int64")).to(model.device)
    return [state.flatten(0, 1).float().cpu() for state in hidden_states(model, ids_BT, None, num_layers)]


def project_embeddings(student: PreTrainedModel, teacher: PreTrainedModel, basis: Tensor) -> None:
    """Every embedding table and the LayerNorm over their sum."""
    targets: dict[str, Any] = dict(part(student.base_model, "embeddings").named_modules())
    for name, module in part(teacher.base_model, "embeddings").named_modules():
        if isinstance(module, nn.Embedding):
            targets[name].weight.copy_(module.weight.cpu() @ basis)
        elif isinstance(module, nn.LayerNorm):
            project_norm(targets[name], module, basis)


def project_norm(target: Any, source: Any, basis: Tensor) -> None:
    """LayerNorm in the projected basis: the diagonal of the rotated gain, and the rotated bias.

    A LayerNorm scales to unit variance per unit, so with fewer units the same state comes out sqrt(D / d) too small.
    """
    gain, bias = source.weight.cpu(), source.bias.cpu()
    wide, narrow = basis.shape
    target.weight.copy_((wide / narrow) ** 0.5 * (basis * gain[:, None] * basis).sum(0))
    target.bias.copy_(basis.T @ bias)


def calibrate(
    student: PreTrainedModel, teacher: Teacher, corpus: Corpus | None, basis: Tensor, pairs: tuple[tuple[int, int], ...]
) -> None:
    """From the bottom up, fit gain and bias of each layer's last LayerNorm to its teacher layer's projected states.

    Least squares for each unit by itself: the part of the projection error that a LayerNorm can undo.
    """
    assert corpus is not None
    wanted = teacher_sample(teacher, corpus)
    norm = wiring(student.config).ffn_norm
    for student_layer, teacher_layer in pairs:
        ours_Nd = sampled_states(student, corpus, student_layer)[student_layer]
        target_Nd = wanted[teacher_layer] @ basis
        block = layers(student)[student_layer - 1] if student_layer else part(student.base_model, "embeddings")
        module: Any = part(block, norm if student_layer else "LayerNorm")
        mean_d, target_mean_d = ours_Nd.mean(0), target_Nd.mean(0)
        centred_Nd = ours_Nd - mean_d
        gain_d = (centred_Nd * (target_Nd - target_mean_d)).mean(0) / centred_Nd.square().mean(0).clamp_min(1e-12)
        gain_d = gain_d.clamp(*GAIN_LIMITS)
        module.bias.copy_(gain_d * (module.bias - mean_d) + target_mean_d)
        module.weight.mul_(gain_d)


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
    for name in (names.attention_norm, names.ffn_norm):
        project_norm(part(target, name), part(source, name), basis)


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
    head = {n: m for n, m in teacher.named_modules() if not n.startswith(teacher.base_model_prefix)}
    for name, module in student.named_modules():
        if name.startswith(student.base_model_prefix) or module is ours:
            continue
        if isinstance(module, nn.Linear):
            source: Any = head[name]
            module.weight.copy_(basis.T @ source.weight.cpu() @ basis)
            module.bias.copy_(basis.T @ source.bias.cpu())
        elif isinstance(module, nn.LayerNorm):
            project_norm(module, head[name], basis)
