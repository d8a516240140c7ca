"""Build a student and give it its first weights.

Its layers are new, or copies of teacher layers: evenly spaced ones, the first, or those that are missed most. A student
that is narrower than its teacher starts in a basis of the teacher's residual stream (trainables/models/projection.py);
at equal width that is the identity, and what is copied is copied as it is.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from spaces.errors import SpecError, TrialFailed
from spaces.space.starts import LAYERS_OF_STARTS
from spaces.students.architecture import StudentArchitecture, architecture_of
from spaces.students.layer_mapping import uniform
from spaces.students.stages import terms_of
from spaces.students.transfer import UNTRAINED
from trainables.models.calibration import fit_layer, fit_norms
from trainables.models.embedding import embedder_of, set_embedder
from trainables.models.encoder import architecture, build_model, family_of, layers, parts, set_architecture
from trainables.models.kept_units import all_kept, kept_heads, needed_units
from trainables.models.layer_removal import layers_left
from trainables.models.loading import load_model
from trainables.models.other_family import config_for, reads_of
from trainables.models.projection import (
    copy_head,
    copy_layer,
    copy_scoring_head,
    is_identity,
    project_embeddings,
    project_norm,
    project_shared,
    projection_for,
    take_embeddings,
)
from trainables.models.stream_sample import passing
from trainables.models.teacher import Teacher
from trainables.text.corpus import Corpus


def build_student(config: dict, teacher: Teacher, seed: int, corpus: Corpus | None = None) -> PreTrainedModel:
    """A student with the teacher's vocabulary, of its family or another, with a masked-LM head where its method trains
    one.

    corpus: what a projected start takes its sample from; a random start needs none.
    In evaluation mode: distillation runs without dropout, for a student underfits long before it overfits.
    """
    terms = () if config["method"] == UNTRAINED else terms_of(config["method"])
    lm_head = any(term.student_lm_head for term in terms)
    student = untrained(teacher, architecture_of(config), seed, lm_head=lm_head)
    INITIALISATIONS[config["initialisation"]](student, teacher, corpus)
    return student


def untrained(
    teacher: Teacher, architecture: StudentArchitecture, seed: int, *, lm_head: bool = False
) -> PreTrainedModel:
    """A model with the teacher's vocabulary that has learned nothing, in evaluation mode.

    That of a teacher with a classification head has one as well, unless it has a masked-LM head or is of another
    family.
    """
    if architecture.family is None:
        model_config = copy.deepcopy(teacher.model.config)
    else:
        model_config = config_for(reads_of(teacher.model.config), architecture.family)
    set_architecture(model_config, architecture)
    torch.manual_seed(seed)
    scoring = teacher.facts.labels > 0 and not lm_head and model_config.model_type == teacher.model.config.model_type
    student = build_model(model_config, lm_head=lm_head, scoring=scoring).eval()
    same = architecture.hidden_size == teacher.facts.architecture.hidden_size
    set_embedder(student, embedder_of(teacher.model).for_width(same))
    return student


def load_weights(student: PreTrainedModel, folder: str) -> None:
    """Go on from the weights of an exported student of the same shape; a head that one of them lacks is left out.

    Of one that has more layers and is of the same shape otherwise, evenly spaced ones are taken, the last among them.
    Raises TrialFailed for weights of another shape or a folder that is not whole.
    """
    try:
        saved = load_model(Path(folder))
    except SpecError as error:
        raise TrialFailed(f"the weights in {folder} cannot be taken over: {error}") from error
    drop_layers(saved, architecture(student.config).num_layers)
    same_heads = type(saved) is type(student)
    theirs, ours = ((model if same_heads else model.base_model).state_dict() for model in (saved, student))
    shapes = ({name: value.shape for name, value in each.items()} for each in (theirs, ours))
    wrong = sorted({name for name, _ in set.symmetric_difference(*(set(each.items()) for each in shapes))})
    if wrong:
        raise TrialFailed(f"the weights in {folder} do not fit the student: {wrong[0]}, and {len(wrong) - 1} more")
    with torch.no_grad():
        for name, value in ours.items():
            value.copy_(theirs[name])


def drop_layers(model: PreTrainedModel, number: int) -> None:
    """Leave evenly spaced layers of a deeper model, each of the kind that stands at its place in one of this depth."""
    family, theirs = family_of(model.config), architecture(model.config)
    if family.one_layer or number >= theirs.num_layers:
        return
    before, kinds = layers(model), family.layer_kinds(model.config)
    set_architecture(model.config, replace(theirs, num_layers=number))
    wanted = [layer for _, layer in uniform(number, theirs.num_layers)]
    pairs = copied_layers(wanted, family.layer_kinds(model.config), kinds)
    model.base_model.set_submodule(family.layers, nn.ModuleList([before[held - 1] for _, held in pairs]))


def random_start(student: PreTrainedModel, teacher: Teacher, corpus: Corpus | None) -> None:
    """transformers' own initialisation, as it is."""


@torch.no_grad()
def projected_start(student: PreTrainedModel, teacher: Teacher, corpus: Corpus | None) -> None:
    """Word, position and type embeddings in the projected basis under random layers.

    In a student of another family as far as it has them: see `take_embeddings`.
    """
    basis = projection_for(student, teacher, corpus, every_layer(teacher))
    same = teacher.facts.family.name == student.config.model_type
    (project_embeddings if same else take_embeddings)(student, teacher.model, basis)
    if not (same and is_identity(basis)):
        fit_norms(student, teacher, corpus, basis, pairs=((0, 0),))


@torch.no_grad()
def projected_layers_start(
    student: PreTrainedModel, teacher: Teacher, corpus: Corpus | None, kept: str = "uniform"
) -> None:
    """Projected embeddings, and teacher layers in the projected basis: those that one of TRUNCATIONS keeps.

    What a smaller student lacks is made up for in closed form, layer by layer, but not where layers between were left
    out: such a layer would be fitted to states that it does not read, and was worse to train from.
    """
    pairs = pairs_of(kept, architecture(student.config), teacher, corpus)
    basis = projection_for(student, teacher, corpus, (0, *(held for _, held in pairs)))
    project_embeddings(student, teacher.model, basis)
    project_shared(student, teacher.model, basis)
    family, ours, theirs = family_of(student.config), architecture(student.config), teacher.facts.architecture
    if family.final_norm:
        project_norm(family.final_norm(student.base_model), family.final_norm(teacher.model.base_model), basis)
    if not is_identity(basis):
        fit_norms(student, teacher, corpus, basis, pairs=((0, 0),))
    for below, pair in zip((0, *(held for _, held in pairs)), pairs, strict=False):
        target, known = parts(student, pair[0]), parts(teacher.model, pair[1])
        source = family.parts(copy.deepcopy(layers(teacher.model)[pair[1] - 1]).cpu())
        if is_identity(basis) and ours.intermediate_size == theirs.intermediate_size:
            copy_layer(target, source, *all_kept(source), basis)
            continue
        if corpus is None:
            raise ValueError("a start that is narrower than its teacher needs a corpus to sample what it reads from")
        maps = (*known.to_heads, known.from_heads, *known.to_units, known.from_units)
        passed = passing(teacher.model, corpus, pair[1], maps)
        bound = family.shared(student.base_model).of_heads  # tables with a column for each head, whatever the layer
        heads = kept_heads(ours, theirs, source, None if bound else passed[known.from_heads][0], basis)
        units_NI, _ = passed[known.from_units]
        units = needed_units(units_NI, basis.T @ source.from_units.weight, ours.intermediate_size)
        copy_layer(target, source, heads, units, basis)
        if pair[1] - 1 == below:
            fit_layer(student, pair[0], known, corpus, basis, passed, heads, units)
        if not is_identity(basis):
            fit_norms(student, teacher, corpus, basis, pairs=(pair,))
    copy_head(student, teacher.model, basis)
    copy_scoring_head(student, teacher.model, basis)


def kept_evenly(number: int, teacher: Teacher, corpus: Corpus | None) -> tuple[int, ...]:
    """Evenly spaced layers, the last among them."""
    return tuple(layer for _, layer in uniform(number, teacher.facts.architecture.num_layers))


def kept_first(number: int, teacher: Teacher, corpus: Corpus | None) -> tuple[int, ...]:
    """The layers next to the embeddings."""
    return tuple(range(1, number + 1))


def kept_by_removal(number: int, teacher: Teacher, corpus: Corpus | None) -> tuple[int, ...]:
    """What is left when those that can best be missed are removed."""
    if corpus is None:
        raise ValueError("to remove layers needs a corpus to see what they change")
    return layers_left(teacher, corpus, number)


TRUNCATIONS: dict[str, Callable[[int, Teacher, Corpus | None], tuple[int, ...]]] = {
    "uniform": kept_evenly, "first": kept_first, "removal": kept_by_removal,
}  # fmt: skip
"""How many layers of a teacher, and which a shallower one keeps, bottom up."""

INITIALISATIONS: dict[str, Callable[[PreTrainedModel, Teacher, Corpus | None], None]] = {
    "random": random_start,
    "projected": projected_start,
    **{name: partial(projected_layers_start, kept=kept) for name, kept in LAYERS_OF_STARTS.items()},
}


def held_by(start: str, shape: StudentArchitecture, teacher: Teacher, corpus: Corpus | None) -> tuple[int, ...]:
    """The teacher layer that each layer of a student starts as; none where the start copies none."""
    if start not in LAYERS_OF_STARTS:
        return ()
    return tuple(held for _, held in pairs_of(LAYERS_OF_STARTS[start], shape, teacher, corpus))


def every_layer(teacher: Teacher) -> tuple[int, ...]:
    """The numbers of all states of a teacher, that of the embeddings among them."""
    return tuple(range(teacher.facts.architecture.num_layers + 1))


def pairs_of(
    kept: str, shape: StudentArchitecture, teacher: Teacher, corpus: Corpus | None
) -> tuple[tuple[int, int], ...]:
    """`copied_layers` of a shape, those that one of TRUNCATIONS keeps."""
    theirs, ours = teacher.model.config, copy.deepcopy(teacher.model.config)
    set_architecture(ours, shape)
    kinds = family_of(theirs).layer_kinds
    return copied_layers(TRUNCATIONS[kept](shape.num_layers, teacher, corpus), kinds(ours), kinds(theirs))


def copied_layers(wanted: Sequence[int], ours: Sequence[str], theirs: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Pairs (student layer, teacher layer), bottom up: the teacher layers wanted, or the nearest of the same kind.

    ours, theirs: the kind of each layer of student and teacher. No teacher layer is copied twice, and their order is
    kept, unless the student is deeper.
    """
    pairs: list[tuple[int, int]] = []
    above = len(theirs) + 1
    for layer in range(len(ours), 0, -1):
        alike = [number for number, kind in enumerate(theirs, 1) if kind == ours[layer - 1]]
        free = [number for number in alike if layer <= number < above] if len(ours) <= len(theirs) else alike
        above = min(free, key=lambda number: abs(number - wanted[layer - 1]))
        pairs.insert(0, (layer, above))
    return tuple(pairs)


def truncated(teacher: Teacher, architecture: StudentArchitecture, kept: str, corpus: Corpus) -> PreTrainedModel:
    """The teacher cut to a shape and left as it is: to layers that one of TRUNCATIONS keeps, projected if narrower.

    What a student of that shape is worth before any distillation (Sajjad et al. 2020, arXiv:2004.03844).
    """
    student = untrained(teacher, architecture, 0)
    projected_layers_start(student, teacher, corpus, kept)
    return student
