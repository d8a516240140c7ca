"""The scores of a trial: shares of the gap, their mean, and the worst language."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_tasks import make_bert, make_tokenizer, separable, write

from trainables.lanes.messages import TrialJob
from trainables.lanes.trial import kept_task, score
from trainables.tasks.scores import Reference
from trainables.tasks.scoring import prepare_task, score_task
from trainables.tasks.spec import TaskSpec


def job_of(folders, **more):
    floors = {name: Reference(1.0, 0.4) for name in folders}
    return TrialJob(
        trial=0, config={}, seed=0, teacher="", corpus="", tasks=tuple(map(str, folders.values())), train_tokens=1,
        protocol="probe", floors=floors, **more,
    )  # fmt: skip


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(0)
    found: dict[str, Path] = {}
    for number, name in enumerate(("a_en", "b_en", "a_de")):
        columns = {"train": separable(60, number), "dev": separable(40, number + 10)}
        if name == "a_de":
            columns["dev"]["label"] = rng.permutation(columns["dev"]["label"]).tolist()
        source = write(tmp_path / name, **columns)
        found[name] = prepare_task(TaskSpec(name, str(source), "classification"), make_tokenizer(), tmp_path / "cache")
    return found


def test_the_worst_language_is_told_where_tasks_name_theirs(folders):
    model = make_bert()
    languages = {"a_en": "en", "b_en": "en", "a_de": "de"}
    found, tested = score(model, job_of(folders, languages=languages))
    expected = {
        name: (score_task(model, kept_task(str(folder)), "probe", ["dev"], 0)["dev"].score - 0.4) / 0.6
        for name, folder in folders.items()
    }
    assert found.quality == pytest.approx(np.mean(list(expected.values())))
    assert (found.worst_language, found.worst_language_quality) == ("de", pytest.approx(expected["a_de"]))
    assert not tested
    plain, _ = score(model, job_of(folders))
    assert plain == replace(found, worst_language=None, worst_language_quality=None)
