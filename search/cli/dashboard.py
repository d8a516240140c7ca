"""A study as optuna-dashboard opens it: a journal file with an Optuna study, rebuilt from the store's rows.

The journal is a copy to look at. The search itself never reads it: its state are the Parquet files.
"""

import json
import math
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.store.parts import Store
from spaces.errors import StillhouseError
from spaces.records.costs import columns_of_costs
from spaces.records.objectives import Objective
from spaces.records.rows import TrialRow

HOST = "127.0.0.1"
STATES = {
    "finished": TrialState.COMPLETE, "variant": TrialState.COMPLETE, "duplicate": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
}  # fmt: skip
ATTRIBUTES = (
    "status", "reason", "seed", "student_path", "quality", "held_out_loss", "train_s", "of_trial", "precision",
)  # fmt: skip


def write_journal(folder: str, file: str) -> str:
    """Write the journal file of a study, anew, and return its path."""
    store = Store.of(folder)
    meta = store.read_meta()
    asked = {row["trial"]: json.loads(row["config"]) for row in store.read_rows("asked")}
    objectives = meta.aim.objectives
    rows = sorted(store.read_trials(), key=lambda row: row.trial)
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=meta.name,
        storage=JournalStorage(JournalFileBackend(str(path))),
        directions=["maximize" if o.direction == "max" else "minimize" for o in objectives],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([objective.name for objective in objectives])
    study.set_user_attr("teacher", meta.teacher.name)
    configs = {row.trial: _config(row, asked) for row in rows}
    distributions = _distributions(list(configs.values()))
    study.add_trials([_frozen(row, configs[row.trial], distributions, objectives) for row in rows])
    return str(path)


def _config(row: TrialRow, asked: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    config = asked.get(row.owner, {})
    return {key: value for key, value in config.items() if isinstance(value, str | int | float)}


def _distributions(configs: Sequence[Mapping[str, Any]]) -> dict[str, BaseDistribution]:
    """What each key was drawn from, as far as the values tell."""
    values: dict[str, set[Any]] = {}
    for config in configs:
        for key, value in config.items():
            values.setdefault(key, set()).add(value)
    found: dict[str, BaseDistribution] = {}
    for key, seen in values.items():
        if all(isinstance(value, int) and not isinstance(value, bool) for value in seen):
            found[key] = IntDistribution(min(seen), max(seen))
        elif all(isinstance(value, int | float) and not isinstance(value, bool) for value in seen):
            found[key] = FloatDistribution(min(seen), max(seen), log=min(seen) > 0)
        else:
            found[key] = CategoricalDistribution(sorted(seen, key=str))
    return found


def _frozen(
    row: TrialRow, config: dict[str, Any], distributions: Mapping[str, BaseDistribution],
    objectives: Sequence[Objective],
) -> FrozenTrial:  # fmt: skip
    values = [row.value(objective.column) for objective in objectives]
    known = [float(value) for value in values if value is not None and math.isfinite(value)]
    state = STATES.get(row.status, TrialState.FAIL)
    if state == TrialState.COMPLETE and len(known) < len(values):
        state = TrialState.FAIL
    shown = (*ATTRIBUTES, *(column.name for column in columns_of_costs()))
    columns = row.columns()
    attributes = {key: columns[key] for key in shown if columns.get(key, "") != ""}
    trial = create_trial(
        state=state,
        values=known if state == TrialState.COMPLETE else None,
        params=config,
        distributions={key: distributions[key] for key in config},
        user_attrs={"trial": row.trial, **attributes},
    )
    start = row.started_at or datetime.now(UTC)
    spent_s = sum(each or 0.0 for each in (row.start_up_s, row.train_s, row.evaluate_s, row.profile_s))
    trial.datetime_start = start.astimezone().replace(tzinfo=None)
    trial.datetime_complete = trial.datetime_start + timedelta(seconds=spent_s)
    return trial


class Quiet(WSGIRequestHandler):
    """Requests are not news."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def only_here(app: Callable[..., Any], port: int) -> Callable[..., Any]:
    """The application, for requests that name it as loopback, so that no web page can reach it (DNS rebinding)."""
    names = {f"{HOST}:{port}", f"localhost:{port}"}

    def checked(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if environ.get("HTTP_HOST") in names:
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"this server answers on the loopback interface only"]

    return checked


def serve_dashboard(folder: str, port: int, say: Callable[[str], None]) -> None:
    """Serve optuna-dashboard on the loopback interface until interrupted."""
    try:
        from optuna_dashboard import wsgi
    except ImportError as error:
        raise StillhouseError(
            "the dashboard needs the package optuna-dashboard: pip install 'stillhouse[dashboard]'. "
            "Without it: stillhouse report, or stillhouse watch"
        ) from error
    with tempfile.TemporaryDirectory() as scratch:
        journal = write_journal(folder, f"{scratch}/journal.log")
        app = wsgi(JournalStorage(JournalFileBackend(journal)))
        with make_server(HOST, port, app, handler_class=Quiet) as server:
            server.set_app(only_here(app, server.server_port))
            url = f"http://{HOST}:{server.server_port}/dashboard/"
            say(f"optuna-dashboard on a copy of {folder} at {url} (this machine only; Ctrl-C ends)")
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                say("ended; the study is untouched")
