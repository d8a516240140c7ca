"""What a student's shape is worth without distillation: the teacher's own layers, cut to it and scored."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from search.phases.scoring import ScoredEncoder, put_on_device
from search.spec.sections import StudySpec
from search.store.parts import Store
from spaces.students.architecture import SHAPE_KEYS, StudentArchitecture, architecture_of
from spaces.telling import Say, announced
from trainables.cache import digest
from trainables.export.artefact import as_deployed
from trainables.lanes.messages import TrialJob
from trainables.machine import versions_of
from trainables.models.student import TRUNCATIONS, truncated
from trainables.models.teacher import Teacher, load_teacher
from trainables.tasks.scoring import load_task, recovered
from trainables.text.corpus import Corpus, open_corpus


def score_baselines(spec: StudySpec, store: Store, job: TrialJob, say: Say) -> None:
    """Score every truncation to each shape of a comparison that is of the teacher's family.

    `job` is what all trials share: teacher, corpus, tasks and the scores of teacher and floor.
    """
    rows = [row for row in store.read_trials() if row.status == "finished"]
    shapes = sorted(
        {shape for row in rows if (shape := architecture_of(row.config)).family is None},
        key=lambda shape: (shape.num_layers, shape.hidden_size),
    )
    kept: list[Any] = store.read_rows("baselines")
    missing = [shape for shape in shapes if shape not in {architecture_of(row) for row in kept}]
    if not missing:
        return
    say(f"the teacher cut to {len(missing)} shape{'s' * (len(missing) > 1)}, without distillation")
    loaded = load_teacher(spec.teacher.path, spec.embedding, spec.student.tokenizer)
    teacher = put_on_device(loaded.source, spec)
    corpus = open_corpus(Path(job.corpus))
    for shape in announced(missing, "the teacher cut to shapes: {}", say):
        kept += _rows(spec, job, shape, teacher, corpus)
    store.write_part("baselines", 0, kept)


def _rows(
    spec: StudySpec, job: TrialJob, shape: StudentArchitecture, teacher: Teacher, corpus: Corpus
) -> Iterator[dict[str, Any]]:
    for which in TRUNCATIONS:
        cut = truncated(teacher, shape, which, corpus).to(teacher.model.device)  # type: ignore[arg-type]
        model = as_deployed(cut, spec.deploy, corpus)
        how = [spec.deploy.name, *versions_of(spec.deploy.runtime)] if spec.deploy.is_scored else []
        identity = digest("truncated", 2, teacher.facts.digest, corpus.digest, str(shape), which, *how)
        encoder = ScoredEncoder(model, identity, spec, spec.seed)
        for folder in job.tasks:
            task = load_task(folder)
            if task.index_NE is not None and shape.hidden_size != teacher.facts.architecture.hidden_size:
                continue  # its embeddings are not as wide as those of the documents, and nothing maps them
            by_split = {
                split: references[task.name]
                for split, references in (("dev", job.floors), ("test", job.test_floors))
                if task.name in references and split in task.splits
            }
            found = encoder.scores(Path(folder), list(by_split))
            for split, reference in by_split.items():
                own = found[split]
                yield {
                    "kept": which, **{key: getattr(shape, key) for key in SHAPE_KEYS}, "task": task.name,
                    "split": split, "protocol": own.protocol, "score": own.score,
                    "recovered": recovered(own.score, reference.teacher, reference.floor),
                    "metric": own.metric,
                }  # fmt: skip
