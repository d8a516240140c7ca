"""Ray Tune's callbacks see flat numbers, one run per trial number."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import fake_trials
import pytest
import toy

from search.spec.sections import TRACKERS
from search.tune.loggers import CALLBACKS, Flattened, loggers, numbers
from spaces.errors import SpecError
from spaces.values import to_json


class Recorder:
    """What a callback of Ray was told."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []

    def setup(self, *args, **info):
        self.calls.append(("setup",))

    def log_trial_start(self, trial):
        self.calls.append(("start", str(trial), trial.config))

    def log_trial_result(self, iteration, trial, result):
        self.calls.append(("result", str(trial), result))

    def log_trial_end(self, trial, failed=False):
        self.calls.append(("end", str(trial), failed))


def tune_trial(number: int) -> SimpleNamespace:
    config = {"method": "hs", "mapping": None, "learning_rate": 1e-3}
    job = replace(toy.plan().job, trial=number, config=config, seed=3)
    return SimpleNamespace(trial_id=f"t{number}", config={"job": to_json(job)})


RESULTS = (
    {"report": to_json(fake_trials.said(5, train_tokens=640, loss=1.5)), "pid": 1},
    {"outcome": to_json(fake_trials.outcome(0.7, train_tokens=1280, steps=10)), "done": True},
)


def test_results_become_flat_numbers_counted_in_tokens(tmp_path):
    inner = Recorder()
    callback = Flattened(inner, tmp_path)  # type: ignore[arg-type]
    for result in RESULTS:
        callback.log_trial_result(1, tune_trial(7), result)
    callback.log_trial_end(tune_trial(7))
    kinds = [call[0] for call in inner.calls]
    assert kinds == ["start", "result", "result", "end"] and {call[1] for call in inner.calls} == {"trial 00007"}
    assert inner.calls[0][2] == {"method": "hs", "learning_rate": 1e-3, "seed": 3}
    assert inner.calls[1][2] == {
        "step": 5, "train_tokens": 640, "loss": 1.5, "learning_rate": 1e-3, "gradient_norm": 1.0, "tokens_per_s": 1e4,
        "elapsed_s": 1.0, "training_iteration": 5, "timesteps_total": 640,
    }  # fmt: skip
    assert inner.calls[2][2]["quality"] == 0.7 and inner.calls[2][2]["timesteps_total"] == 1280
    assert numbers({"outcome": to_json(fake_trials.outcome(reason="a", ok=True, x=2))}) == {"x": 2}


def test_tensorboard_events_hold_the_numbers(tmp_path):
    (callback,) = loggers(["tensorboard"], "toy", tmp_path)
    callback.setup()
    for result in RESULTS:
        callback.log_trial_result(1, tune_trial(7), result)
    callback.log_trial_end(tune_trial(7))
    (file,) = (tmp_path / "tensorboard" / "00007").glob("events.out.tfevents.*")
    assert {b"ray/tune/loss", b"ray/tune/quality"} <= {tag for tag, _ in scalars(file)}
    assert (b"ray/tune/quality", 1280) in set(scalars(file))


def scalars(file: Path):
    """(tag, step) of every scalar of an event file, read without TensorBoard."""
    from tensorboardX.proto.event_pb2 import Event

    data, at = file.read_bytes(), 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 8], "little")
        event = Event.FromString(data[at + 12 : at + 12 + length])
        at += 16 + length
        yield from ((value.tag.encode(), event.step) for value in event.summary.value)


def test_mlflow_runs_hold_parameters_and_numbers(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (callback,) = loggers(["mlflow"], "toy", tmp_path)
    callback.setup()
    for result in RESULTS:
        callback.log_trial_result(1, tune_trial(7), result)
    callback.log_trial_end(tune_trial(7))
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("toy").experiment_id])
    assert run.info.status == "FINISHED" and run.data.params["method"] == "hs"
    assert run.data.metrics["quality"] == 0.7 and run.data.metrics["loss"] == 1.5


def test_the_spec_knows_the_callbacks(monkeypatch):
    assert set(TRACKERS) == set(CALLBACKS)
    with pytest.raises(SpecError, match=r"unknown callback 'tensorbord'. Did you mean 'tensorboard'"):
        toy.read(f'{toy.SPEC}[logging]\ncallbacks = ["tensorbord"]\n')
    monkeypatch.setattr("search.spec.rules.find_spec", lambda name: None)
    with pytest.raises(SpecError, match=r"needs the package mlflow: pip install 'stillhouse\[mlflow\]'"):
        toy.read(f'{toy.SPEC}[logging]\ncallbacks = ["mlflow"]\n')
