"""What a file for another runtime scores beside the student in torch, on the dev splits of its study.

Both are read by the probes that were fitted on the file, as in the search: nothing else differs.
"""

from collections.abc import Mapping
from pathlib import Path

from search.phases.data import prepare_for_both
from search.store.contents import StoredData
from spaces.errors import SpecError
from spaces.telling import Say, quiet
from trainables.export.facts import BothScores
from trainables.models.embedding import embedder_of
from trainables.models.encoder import architecture, classes_of
from trainables.models.file_encoder import open_encoder
from trainables.models.teacher import Teacher
from trainables.tasks.scoring import load_task, score_task
from trainables.tasks.spec import FINETUNE, protocol_for


def score_both(
    student: Teacher, runtime: str, file: Path, data: StoredData, seed: int, say: Say
) -> Mapping[str, BothScores]:
    """By task, the dev scores of the weights and of the file; a task that cannot be scored here is said, and left out.

    Fine-tuned tasks have no file to score, and those whose documents the teacher embeds would need the teacher.
    """
    model = student.model
    layers = architecture(model.config).num_layers
    encoder = open_encoder(runtime, file, model.config, embedder_of(model), layers, classes_of(model))
    found = {}
    for task in data.tasks:
        if protocol_for(task.kind, data.evaluation.protocol) == FINETUNE:
            say(f"task {task.name}: fine-tuned in torch, so that the file has no score")
            continue
        if data.evaluation.documents == "teacher":
            say(f"task {task.name}: the teacher embeds its documents, so that the file is not scored here")
            continue
        try:
            prepared = load_task(prepare_for_both(data.evaluation, task, student, quiet))
        except SpecError as error:
            say(f"task {task.name}: not scored by the file: {'; '.join(error.problems)}")
            continue
        its = score_task(encoder, prepared, data.evaluation, ["dev"], seed)["dev"]
        own = score_task(model, prepared, data.evaluation, ["dev"], seed, encoder)["dev"]
        found[task.name] = both = BothScores(its.metric, own.score, its.score)
        say(f"task {task.name}: {both.metric} {both.file:.4f} of the file, {both.weights:.4f} of the weights in torch")
    return found
