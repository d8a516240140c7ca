"""Build a student and give it its first weights.

Its layers are new, or copies of teacher layers, evenly spaced or first. A student that is narrower than its teacher
starts in a basis of the teacher's residual stream (trainables/models/projection.py); at equal width that is the
identity, and what is copied is copied as it is.
"""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedModel

from spaces.errors import SpecError, TrialFailed
from spaces.students.architecture import StudentArchitecture, architecture_of
from spaces.students.layer_mapping import MAPPINGS
from spaces.students.transfer import METHODS, UNTRAINED, parse_method
from trainables.models.embedding import embedder_of, set_embedder
from trainables.models.encoder import build_model, family_of, layers, parts, set_architecture
from trainables.models.loading import load_model
from trainables.models.projection import (
    calibrate,
    copy_head,
    copy_layer,
    is_identity,
    kept_heads,
    project_embeddings,
    project_norm,
    project_shared,
    projection_for,
)
from trainables.models.teacher import Teacher
from trainables.text.corpus import Corpus


def build_student(config: dict, teacher: Teacher, seed: int, corpus: Corpus | None = None) -> PreTrainedModel:
    """A student of the teacher's family and vocabulary, with a masked-LM head where its method trains one.

    corpus: what a projected start takes its sample from; a random start needs none.
    In evaluation mode: distillation runs without dropout, for a student underfits long before it overfits.
    """
    terms = () if config["method"] == UNTRAINED else parse_method(config["method"])
    lm_head = any(METHODS[name].student_lm_head for name, _ in terms)
    student = untrained(teacher, architecture_of(config), seed, lm_head=lm_head)
    INITIALISATIONS[config["initialisation"]](student, teacher, corpus)
    return student


def untrained(
    teacher: Teacher, architecture: StudentArchitecture, seed: int, *, lm_head: bool = False
) -> PreTrainedModel:
    """A model of the teacher's family and vocabulary that has learned nothing, in evaluation mode."""
    model_config = copy.deepcopy(teacher.model.config)
    set_architecture(model_config, architecture)
    torch.manual_seed(seed)
    student = build_model(model_config, lm_head=lm_head).eval()
    same = architecture.hidden_size == teacher.facts.architecture.hidden_size
    set_embedder(student, embedder_of(teacher.model).for_width(same))
    return student


def load_weights(student: PreTrainedModel, folder: str) -> None:
    """Go on from the weights of an exported student of the same shape; a head that one of them lacks is left out.

    Raises TrialFailed for weights of another shape or a folder that is not whole.
    """
    try:
        saved = load_model(Path(folder))
    except SpecError as error:
        raise TrialFailed(f"the weights in {folder} cannot be taken over: {error}") from error
    both_have_heads = all(model.get_output_embeddings() is not None for model in (saved, student))
    theirs, ours = ((model if both_have_heads else model.base_model).state_dict() for model in (saved, student))
    shapes = ({name: value.shape for name, value in each.items()} for each in (theirs, ours))
    wrong = sorted({name for name, _ in set.symmetric_difference(*(set(each.items()) for each in shapes))})
    if wrong:
        raise TrialFailed(f"the weights in {folder} do not fit the student: {wrong[0]}, and {len(wrong) - 1} more")
    with torch.no_grad():
        for name, value in ours.items():
            value.copy_(theirs[name])


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
    project_shared(student, teacher.model, basis)
    family = family_of(student.config)
    pairs = copied_layers(kept, family.layer_kinds(student.config), family.layer_kinds(teacher.model.config))
    heads = kept_heads(student, teacher.model)
    for student_layer, teacher_layer in pairs:
        source = copy.deepcopy(layers(teacher.model)[teacher_layer - 1]).cpu()
        copy_layer(parts(student, student_layer), family.parts(source), heads, basis)
    if family.final_norm:
        project_norm(family.final_norm(student.base_model), family.final_norm(teacher.model.base_model), basis)
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


TRUNCATIONS = {name: MAPPINGS[name] for name in ("uniform", "first")}
"""Which layers of a teacher a shallower one keeps."""


def copied_layers(kept: str, ours: Sequence[str], theirs: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Pairs (student layer, teacher layer), bottom up: those of TRUNCATIONS, or the nearest of the same kind.

    ours, theirs: the kind of each layer of student and teacher. No teacher layer is copied twice, and their order is
    kept, unless the student is deeper.
    """
    pairs: list[tuple[int, int]] = []
    above = len(theirs) + 1
    for layer, wanted in reversed(TRUNCATIONS[kept](len(ours), len(theirs))):
        alike = [number for number, kind in enumerate(theirs, 1) if kind == ours[layer - 1]]
        free = [number for number in alike if layer <= number < above] if len(ours) <= len(theirs) else alike
        above = min(free, key=lambda number: abs(number - wanted))
        pairs.insert(0, (layer, above))
    return tuple(pairs)


def truncated(teacher: Teacher, architecture: StudentArchitecture, kept: str, corpus: Corpus) -> PreTrainedModel:
    """The teacher cut to a shape and left as it is: its uniformly spaced or its first layers, projected if narrower.

    What a student of that shape is worth before any distillation (Sajjad et al. 2020, arXiv:2004.03844).
    """
    student = untrained(teacher, architecture, 0)
    projected_layers_start(student, teacher, corpus, kept)
    return student
