"""Whatever a trial, its teacher's targets, an export and the preparations write follows the umask.

For ONNX files export/test_artefact.py says so, where they are traced anyway.
"""

import os

import pytest
from modes import wrong_modes
from small_tasks import separable, write
from small_trials import EXACT, METHODS, fill, run

from trainables.cache import new_folder, store_value
from trainables.export.facts import StudentFacts
from trainables.export.folders import export_student
from trainables.models.learned_vocabulary import learn_vocabulary
from trainables.models.vocabulary import trim
from trainables.tasks.scoring import prepare_task
from trainables.tasks.spec import TaskSpec
from trainables.text.corpus import prepare_corpus
from trainables.text.sources import CorpusSpec


@pytest.fixture(params=[0o022, 0o027], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_everything_written_follows_the_umask(umask, tmp_path, monkeypatch, teacher, corpus, plan, texts):
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "corpus.txt").write_text("\n".join(texts(200)))
    prepare_corpus(CorpusSpec(source=str(tmp_path / "corpus.txt"), sequence_length=16), teacher.tokenizer)
    task = write(tmp_path / "task", train=separable(20, 0), dev=separable(20, 1))
    prepare_task(TaskSpec("task", str(task), "classification"), teacher.tokenizer, tmp_path / "tasks")
    store_value(tmp_path / "value", {"known": 1})
    fill(plan, teacher)  # into $STILLHOUSE_CACHE
    file = tmp_path / "trial" / "checkpoint.safetensors"
    student, *_ = run(METHODS["hs"] | {"num_layers": 1}, teacher, corpus, 2, EXACT, checkpoint=file)
    export_student(student, teacher.tokenizer, tmp_path / "student", StudentFacts("student"))
    with new_folder(tmp_path / "trimmed") as folder:
        trim(teacher.model, teacher.tokenizer, texts(20), None, folder)
    with new_folder(tmp_path / "learned") as folder:
        learn_vocabulary(teacher.model, teacher.tokenizer, texts(50), 120, folder)
    assert not wrong_modes(tmp_path, umask)
    safetensors = [path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*.safetensors")]
    assert {"cache", "trial", "student", "trimmed", "learned"} <= set(safetensors)
