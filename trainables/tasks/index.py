"""An index that exists already: the documents of a task, embedded once by the teacher, for students of its space."""

import shutil
from pathlib import Path

import numpy as np

from trainables.cache import digest, new_folder
from trainables.copies import is_kept
from trainables.models.embedding import embedder_of
from trainables.models.teacher import Teacher
from trainables.tasks.documents import DOCUMENTS
from trainables.tasks.prepare import INDEX, as_teacher_reads, load_task
from trainables.tasks.protocols.zero_shot import embedded


def with_index(folder: Path, teacher: Teacher) -> Path | None:
    """The same prepared task with the teacher's embeddings of its documents; None for a task without documents."""
    task = load_task(as_teacher_reads(folder))
    if DOCUMENTS not in task.splits:
        return None
    key = digest("index", 1, teacher.facts.digest, *embedder_of(teacher.model).identity())
    target = folder.with_name(f"{folder.name}-{key}")
    if not is_kept(target):
        with new_folder(target) as unfinished:
            shutil.copytree(folder, unfinished, dirs_exist_ok=True)
            known = task.index_NE
            texts = task.splits[DOCUMENTS].views["text"]
            np.save(unfinished / INDEX, embedded(teacher.model, task, texts) if known is None else known)
    return target
