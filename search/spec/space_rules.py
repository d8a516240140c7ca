"""Rules between a spec and the space that it searches: as in rules.py, each yields what it finds wrong."""

import math

from search.samplers.answers import completed, conditional_axes
from search.samplers.registry import GRID, SAMPLERS
from search.spec.deploy_rules import deploy_of
from search.spec.rules import Problems
from search.spec.sections import StudySpec
from spaces.errors import SpecError, StillhouseError, nearest
from spaces.records.costs import LATENCY
from spaces.records.latency import MAX_SHAPES
from spaces.records.objectives import is_named
from spaces.space.axes import axes_of_trial
from spaces.space.prior import read_prior
from spaces.space.search_space import SearchSpace
from spaces.students.architecture import parse_shape
from spaces.students.stages import stages_of, terms_of
from spaces.students.transfer import METHODS
from trainables.tasks.kinds import KINDS
from trainables.tasks.spec import CLASSIFIER, protocol_for


def batch_is_shared_evenly(spec: StudySpec, space: SearchSpace) -> Problems:
    workers, accumulation = spec.cluster.workers_per_trial, spec.training.gradient_accumulation
    shares = workers * accumulation
    for size in space.to_table().get("batch_size", []):
        if size % shares:
            yield (
                f"[space] batch_size {size} is not a multiple of {shares} (workers_per_trial {workers} x "
                f"gradient_accumulation {accumulation}); nearest: {max(shares, round(size / shares) * shares)}"
            )


def what_can_be_mixed(spec: StudySpec, space: SearchSpace) -> Problems:
    """Mixed texts have no words to predict, and learned maps lead from a student to its teacher, not to itself."""
    if not spec.training.mixup:
        return
    fitting = ", ".join(repr(name) for name, method in METHODS.items() if method.mixes)
    for method in space.axes["method"].choices:
        if not all(term.mixes for term in terms_of(str(method))):
            yield (
                f"[training] mixup {spec.training.mixup:g} needs methods of the last layer without learned maps, got "
                f"{method!r}; fitting: {fitting}. Leave mixup out or take one of these"
            )
    if spec.targets.mode == "cache":
        yield "[training] mixup reads the teacher anew in each step, got [targets] mode 'cache'; take 'auto' or 'live'"
    pairs = 2 * spec.cluster.workers_per_trial * spec.training.gradient_accumulation
    for size in space.to_table().get("batch_size", []):
        if size % pairs:
            yield (
                f"[training] mixup mixes pairs: [space] batch_size {size} is not a multiple of {pairs} (2 x "
                f"workers_per_trial x gradient_accumulation); nearest: {max(pairs, round(size / pairs) * pairs)}"
            )


def budget_is_a_batch(spec: StudySpec, space: SearchSpace) -> Problems:
    """How long single texts are is known when they are cut."""
    if spec.corpus.texts != "packed":
        return
    tokens, length = spec.budget.train_tokens, spec.corpus.sequence_length
    for size in space.to_table().get("batch_size", []):
        if size * length > tokens:
            yield f"[budget] train_tokens {tokens} is less than one batch of {size} x {length} tokens"
            continue
        for method in map(str, space.axes["method"].choices):
            shortest = min(stages_of(method), key=lambda stage: stage.share)
            if size * length > shortest.share * tokens:
                yield (
                    f"[budget] train_tokens {tokens} leaves the stage {shortest.text!r} of method {method!r} less than "
                    f"one batch of {size} x {length} tokens; nearest: {math.ceil(size * length / shortest.share)}"
                )


def supplement_is_read(spec: StudySpec, space: SearchSpace) -> Problems:
    """Text that a stage asks for must be there, and text that is there must be asked for."""
    readers = [
        repr(method)
        for method in map(str, space.axes["method"].choices)
        if any(stage.on_supplement for stage in stages_of(method))
    ]
    if readers and spec.corpus.supplement is None:
        yield f"[space] method {readers[0]} reads a supplement: name its text under [corpus] supplement"
    if spec.corpus.supplement is not None and not readers:
        yield (
            "[corpus] supplement is read by no method of [space]: leave it out, or write a stage on it, such as "
            "'mha on supplement then mha'"
        )
    if readers and spec.targets.mode == "cache":
        yield (
            f"[space] method {readers[0]} reads the teacher live on the supplement, got [targets] mode 'cache'; take "
            "'auto' or 'live'"
        )


def labels_are_learnt(spec: StudySpec, space: SearchSpace) -> Problems:
    """Labels are of the corpus, one for each single text."""
    stages = [stage for method in map(str, space.axes["method"].choices) for stage in stages_of(method)]
    readers = [stage for stage in stages if any(term.labelled for term in terms_of(stage.method))]
    column = spec.corpus.label_column
    if readers and column is None:
        yield f"[space] method {readers[0].method!r} learns labels: name their column under [corpus] label_column"
    if column is not None and not readers:
        yield "[corpus] label_column is read by no method of [space]: leave it out, or take the method 'labels'"
    for stage in readers:
        if stage.on_supplement:
            yield f"[space] method {stage.text!r}: the supplement has no labels; leave 'on supplement' out"


def texts_for_methods(spec: StudySpec, space: SearchSpace) -> Problems:
    """Packed blocks have no bounds of texts to embed; a mask of words must not depend on a text's company."""
    single, pairs = spec.corpus.texts in ("single", "sentences"), spec.corpus.texts == "pairs"
    for method in space.axes["method"].choices:
        for term in terms_of(str(method)):
            if "pooled" in term.signals and not single:
                yield f"[space] method {term.name!r} embeds texts: it needs [corpus] texts = 'single' or 'sentences'"
            if term.scores_pairs and not pairs:
                yield f"[space] method {term.name!r} scores a query with a text: it needs [corpus] texts = 'pairs'"
            if term.classifies and not single:
                yield (
                    f"[space] method {term.name!r} classifies texts: it needs [corpus] texts = 'single' or 'sentences'"
                )
            if term.masked_inputs and (single or pairs):
                yield f"[space] method {term.name!r} masks words of packed blocks: it needs [corpus] texts = 'packed'"


def what_scores_pairs(spec: StudySpec, space: SearchSpace) -> Problems:
    """A cross-encoder has no embedding of one text, and no file for another runtime is written of it."""
    if not space.teacher.scores_pairs:
        if spec.corpus.texts == "pairs":
            yield (
                f"[corpus] texts = 'pairs' needs a teacher that scores pairs, a classifier with one label; "
                f"{space.teacher.name!r} is none: take 'single'"
            )
        return
    whose = f"teacher {space.teacher.name!r} scores pairs and embeds nothing"
    fitting = ", ".join(name for name, kind in KINDS.items() if kind.of_pairs)
    for task in spec.tasks:
        if protocol_for(task.kind, spec.evaluation.protocol) == "zero_shot" and not KINDS[task.kind].of_pairs:
            yield f"[[tasks]] {task.name}: {whose}, which {task.kind} needs. Kinds that score pairs: {fitting}"
    if spec.evaluation.documents == "teacher":
        yield f'[evaluation] documents = "teacher": {whose}; leave it out'
    if (deploy := deploy_of(spec)).is_file:
        yield f"[deploy] {deploy.name}: {whose}; only embeddings are written for other runtimes, leave it out"


def what_classifies(spec: StudySpec, space: SearchSpace) -> Problems:
    """A student is scored by its own head where it has one: that of a classifier, and no other head in its place."""
    asked = [task for task in spec.tasks if protocol_for(task.kind, spec.evaluation.protocol) == CLASSIFIER]
    if not asked:
        return
    protocol = f"[evaluation] protocol {CLASSIFIER!r}"
    if not space.teacher.classifies:
        yield (
            f"{protocol} asks the head of a classifier with several labels (num_labels > 1), and "
            f"{space.teacher.name!r} has none: take 'probe'"
        )
        return
    for method in map(str, space.axes["method"].choices):
        if heads := [repr(term.name) for term in terms_of(method) if term.student_lm_head]:
            yield (
                f"[space] method {method!r}: {', '.join(heads)} makes a masked-LM head where {protocol} needs one over "
                "classes"
            )
    for family in space.axes["family"].choices if "family" in space.axes else ():
        if family != space.teacher.family.name:
            yield f"[space] family {family!r}: its students have no head over classes, which {protocol} asks"


def what_fits_another_tokenizer(spec: StudySpec, space: SearchSpace) -> Problems:
    """Nothing of two models is compared token by token where they cut texts into different tokens."""
    if space.teacher.reworded is None:
        return
    tokenizer = f"[student] tokenizer {spec.student.tokenizer!r}"
    if spec.corpus.texts == "packed":
        yield (
            f"{tokenizer} needs [corpus] texts = 'single' or 'sentences': packed by two tokenizers, blocks hold other "
            "texts"
        )
    for method in space.axes["method"].choices:
        for term in terms_of(str(method)):
            if set(term.signals) != {"pooled"} or term.student_lm_head or term.masked_inputs:
                compared = "reads no text whole" if not term.signals else f"compares {', '.join(term.signals)}"
                fitting = ", ".join(name for name, known in METHODS.items() if known.signals == ("pooled",))
                yield (
                    f"[space] method {term.name!r} {compared}, token by token, and {tokenizer} cuts texts otherwise "
                    f"than the teacher's. Methods of embeddings: {fitting}, and sums of them"
                )


def tuned_shape_is_in_space(spec: StudySpec, space: SearchSpace) -> Problems:
    wanted = spec.comparison.tune_shape
    if wanted is None:
        return
    try:
        known = parse_shape(wanted, space.teacher.architecture.head_size) in space.shapes
    except SpecError as error:
        yield from (f"[comparison] tune_shape: {problem}" for problem in error.problems)
        return
    if not known:
        names = ", ".join(shape.name for shape in space.shapes)
        yield f"[comparison] tune_shape {wanted!r} is no shape of the space. Known: {names}"


def students_reach_the_index(spec: StudySpec, space: SearchSpace) -> Problems:
    """A narrower student has embeddings of the teacher's width only where the map that it learnt is handed over."""
    if spec.evaluation.documents != "teacher":
        return
    width = space.teacher.architecture.hidden_size
    others = sorted({shape.hidden_size for shape in space.shapes if shape.hidden_size != width})
    axis = "embed_projection"
    kept = space.to_table().get(axis) == ["kept"] and all(
        axis in axes_of_trial(str(m)) for m in space.to_table()["method"]
    )
    if others and not kept:
        yield (
            f'[evaluation] documents = "teacher" needs students as wide as the teacher, {width}, whose documents '
            f"their queries are compared with; the space has {', '.join(map(str, others))}. Or let every method have "
            f'"embed" in it, and {axis} = ["kept"]'
        )
    if size := shorter_embedding(space):
        yield (
            f'[evaluation] documents = "teacher" needs whole embeddings, got embedding_size {size}: the index has all '
            "values of the teacher's"
        )
    with_documents = [name for name, kind in KINDS.items() if kind.has_documents]
    if not any(task.kind in with_documents for task in spec.tasks):
        yield f'[evaluation] documents = "teacher" needs a task of kind {" or ".join(with_documents)}'


def shorter_embedding(space: SearchSpace) -> int | None:
    """The smallest embedding_size that the space may choose below the whole one of the teacher."""
    axis = space.axes.get("embedding_size")
    smallest = min((int(size) for size in axis.choices), default=0) if axis else 0
    whole = space.teacher.embedding.width_of(space.teacher.architecture.hidden_size)
    return smallest if 0 < smallest < whole else None


def map_of_shorter_embeddings(spec: StudySpec, space: SearchSpace) -> Problems:
    """Its map is always handed over, so that to drop it would be the same student again."""
    width = space.teacher.architecture.hidden_size
    narrower = any(shape.hidden_size != width for shape in space.shapes)
    kept = space.to_table().get("embed_projection") == ["kept"]
    if (size := shorter_embedding(space)) and narrower and not kept:
        yield (
            f"[space] embedding_size {size} is reached through a map that is handed over: write "
            'embed_projection = ["kept"]'
        )


def comparison_is_finite(spec: StudySpec, space: SearchSpace) -> Problems:
    if spec.comparison.seeds is not None:
        yield from _finite("[comparison]", space)


def grid_is_finite(spec: StudySpec, space: SearchSpace) -> Problems:
    if spec.search.sampler == GRID and spec.comparison.seeds is None:
        yield from _finite("[search] sampler 'grid'", space)


def same_axes_for_gp(spec: StudySpec, space: SearchSpace) -> Problems:
    """Optuna's GPSampler draws axes that come and go at random, and then holds the others at a bound of their range."""
    if spec.search.sampler == "gp" and (varying := conditional_axes(space.suggest)):
        yield (
            f"[search] sampler 'gp' needs the same axes with the same values in every configuration; here "
            f"{', '.join(varying)} depend on others: give each of them one value, or take 'tpe'"
        )


def sampler_can_be_loaded(spec: StudySpec, space: SearchSpace) -> Problems:
    """That of another package may be missing a part; better known now than when the first trial is asked for."""
    try:
        SAMPLERS.get(spec.search.sampler)
    except StillhouseError as error:
        yield f"[search] sampler: {error}"


def configurations_to_try_first(spec: StudySpec, space: SearchSpace) -> Problems:
    for number, given in enumerate(spec.search.try_first, 1):
        where = f"[search] try_first {number}:"
        if unknown := [name for name in given if name not in space.axes]:
            yield from (
                f"{where} unknown axis {n!r}.{nearest(n, space.axes)} Known: {', '.join(space.axes)}" for n in unknown
            )
        elif wrong := [name for name, value in given.items() if not space.axes[name].contains(value)]:
            offers = (
                f"{where} {n} {given[n]!r} is not in this space, which offers {space.axes[n].to_line()}" for n in wrong
            )
            yield from offers
        elif completed(space, given, number) is None:
            wanted = ", ".join(f"{name} {value!r}" for name, value in given.items())
            yield f"{where} no configuration of the space has {wanted} together"


def prior_on_axes(spec: StudySpec, space: SearchSpace) -> Problems:
    if not spec.search.prior:
        return
    yield from read_prior(space, spec.search.prior)[1]
    without_model = spec.search.candidates == 1 or spec.search.sampler == GRID or spec.comparison.seeds is not None
    if without_model:
        yield "[search.prior] weighs what the model promises: it needs a search with [search] candidates above 1"


def latency_beside_other_trials(spec: StudySpec, space: SearchSpace) -> Problems:
    """In a large space a trial measures its own student, on the cores that it has for itself."""
    threads, own = spec.latency.threads, spec.cluster.cpus_per_worker
    large = len({shape for shapes in space.feasible.values() for shape in shapes}) > MAX_SHAPES
    decides = is_named(LATENCY, (*spec.search.objectives, *spec.search.constraints))
    if large and decides and spec.latency.device == "cpu" and threads > max(1, own):
        yield (
            f"[latency] threads {threads} in a space of more than {MAX_SHAPES} shapes, where trials measure latency "
            f"side by side: at most {max(1, own)}, the [cluster] cpus_per_worker; or cpus_per_worker = {threads}"
        )


def _finite(where: str, space: SearchSpace) -> Problems:
    try:
        next(iter(space.enumerate()), None)
    except SpecError as error:
        yield from (f"{where}: {problem}" for problem in error.problems)


SPACE_RULES = (
    batch_is_shared_evenly,
    what_can_be_mixed,
    budget_is_a_batch,
    supplement_is_read,
    labels_are_learnt,
    texts_for_methods,
    what_scores_pairs,
    what_classifies,
    what_fits_another_tokenizer,
    tuned_shape_is_in_space,
    students_reach_the_index,
    map_of_shorter_embeddings,
    comparison_is_finite,
    grid_is_finite,
    sampler_can_be_loaded,
    configurations_to_try_first,
    prior_on_axes,
    latency_beside_other_trials,
    same_axes_for_gp,
)
"""Rules on (spec, space)."""
