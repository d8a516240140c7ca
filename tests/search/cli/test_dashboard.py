"""A study in Optuna's journal: what optuna-dashboard and other tools of Optuna find in it."""

import json
import threading
import urllib.error
import urllib.request
from wsgiref.simple_server import make_server

import optuna
import pytest
from fake_studies import finished_row, random_rows, write_part, write_study
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from search.cli.dashboard import Quiet, only_here, write_journal
from spaces.records.columns import asked_columns


@pytest.fixture
def journal(tmp_path):
    rows = random_rows(30)
    rows.append({**finished_row(30, 0.2), "status": "stopped", "rung": 1})
    rows.append({**finished_row(31, 0.4), "status": "duplicate", "of_trial": 0})
    folder = write_study(tmp_path / "study", rows)
    asked = []
    for row in rows:
        axes = ("method", "mapping", "num_layers", "learning_rate", "batch_size")
        config = {axis: row[axis] for axis in axes if row.get(axis) is not None}
        asked.append({"trial": row["trial"], "config": json.dumps(config), "seed": 0})
    write_part(folder / "asked", "part-00000.parquet", asked_columns(), asked)
    return rows, write_journal(str(folder), str(tmp_path / "out" / "journal.log"))


def test_every_trial_is_there_with_its_values(journal):
    rows, file = journal
    study = optuna.load_study(study_name="quick", storage=JournalStorage(JournalFileBackend(file)))
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.metric_names == ["quality", "parameters"]
    trials = {trial.user_attrs["trial"]: trial for trial in study.trials}
    assert sorted(trials) == list(range(32))
    for row in rows:
        trial = trials[row["trial"]]
        if row["status"] == "finished":
            assert trial.values == pytest.approx([row["quality"], row["parameters"]])
            assert trial.params["method"] == row["method"] and ("mapping" in trial.params) == bool(row["mapping"])
        elif row["status"] == "failed":
            assert trial.state == TrialState.FAIL and trial.user_attrs["reason"] == row["reason"]
    assert trials[30].state != TrialState.COMPLETE and trials[30].user_attrs["quality"] == 0.2
    assert trials[31].params == trials[0].params
    best = {trial.user_attrs["trial"] for trial in study.best_trials}
    assert best and optuna.importance.get_param_importances(study, target=lambda trial: trial.values[0])


def test_optuna_dashboard_serves_it_on_loopback_names_only(journal):
    optuna_dashboard = pytest.importorskip("optuna_dashboard")
    app = optuna_dashboard.wsgi(JournalStorage(JournalFileBackend(journal[1])))
    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        server.set_app(only_here(app, server.server_port))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/api/studies"
            assert b'"study_name": "quick"' in urllib.request.urlopen(url, timeout=20).read()
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(urllib.request.Request(url, headers={"Host": "evil.example"}), timeout=20)
        finally:
            server.shutdown()
            thread.join()
