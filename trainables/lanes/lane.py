"""A lane: one long-lived Ray Train worker group that takes trial after trial.

Starting a TorchTrainer costs about 9 s; a lane pays that once and then switches trials in a fraction of a second. Tune
sees a class Trainable that it reuses (`reuse_actors=True`); the Trainable owns a TorchTrainer, run in a thread, whose
workers wait at a mailbox actor:

    Tune -> Lane.step -> Mailbox.submit(job)        worker ranks: next_job -> function(job, report) -> finish
            Lane.step <- Mailbox.next_message <-    rank 0: report, the outcome

A group that loses a process, or that has said nothing for `hang_after_s`, is booted again and the trial is tried once
more (it resumes from its own checkpoint); the second loss is its outcome. A lane whose group finds no free CPUs or GPUs
hands its trial back, to be run later. When a node of the lane is about to go (notice.py), the trial writes its
checkpoint and the lane ends, as if its node were gone already: Tune starts the trial on another lane.
"""

import contextlib
import dataclasses
import logging
import re
import shutil
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
from ray import train, tune
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from spaces.values import from_json, to_json
from trainables.lanes.group import WorkerGroup
from trainables.lanes.mailbox import Mailbox
from trainables.lanes.messages import TrialJob, TrialOutcome
from trainables.lanes.notice import LOOK_EVERY_S, leaving_nodes
from trainables.lanes.settings import LaneSettings, load_function

LANE_MEMORY = 1_000_000
"""Bytes of logical memory that Tune books for a lane: no CPU, so that all of them are left to the worker groups."""
GROUP_MEMORY = 1_000_001
"""Bytes of logical memory that each worker books: by this number its placement group is known to be ours."""
RemoteMailbox: Any = ray.remote(num_cpus=0, max_concurrency=64)(Mailbox)  # type: ignore[call-overload]
BOOT_ATTEMPTS = 2
"""Worker groups that may fail to start (each waits a minute for free CPUs or GPUs) before the trial is handed back."""
NO_ROOM = "the workers could not be placed (no free CPUs or GPUs)"


def lane_trainable(settings: LaneSettings) -> Any:
    """The Trainable class to hand to a Tuner."""
    return tune.with_resources(tune.with_parameters(Lane, settings=settings), {"memory": LANE_MEMORY})


def work(config: dict[str, Any]) -> None:
    """What each worker of a group runs. It is loaded there: a lane and Ray Train's controller do without torch."""
    load_function("trainables.lanes.worker:serve")(config)


def meeting_place(workers: int) -> train.BackendConfig:
    """Where the workers of a group meet. One alone has nobody to meet, and torch would listen on every interface."""
    if workers == 1:
        return train.BackendConfig()
    from ray.train.torch import TorchConfig  # it loads torch

    return TorchConfig()


class Lane(tune.Trainable):
    """Tune's side of a worker group. A result is `{report}` or `{outcome, done}` (JSON), or `{handed_back, done}`."""

    def setup(self, config: dict[str, Any], settings: LaneSettings) -> None:  # type: ignore[override]
        logging.getLogger("ray.train").setLevel(logging.ERROR)
        self.settings, self.cluster = settings, settings.cluster
        self.folder = Path(self.logdir) / "worker_group"
        self._boot()
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial; a group that has died meanwhile is booted again."""
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(self.mailbox.cancel.remote())
        self.job = from_json(TrialJob, new_config["job"])
        self.key, self.is_taken = "", False
        self.losses: list[str] = []
        self.started_s = time.time()
        self.first_step_s: float | None = None
        if not self.thread.is_alive():
            self._boot()
        return True

    def step(self) -> dict[str, Any]:
        heard_s = time.monotonic()
        while True:
            if self._has_to_leave() and not self.is_taken:
                raise gone("before it had begun")
            if not self.key:
                self._submit()
            message = self._next_message()
            if message is None and self.thread.is_alive():
                if self.is_taken and 0 < self.cluster.hang_after_s < time.monotonic() - heard_s:
                    self._kill_group()
                continue
            kind, content = message or self._after_loss()
            if kind in ("taken", "again"):
                self.is_taken, heard_s = kind == "taken", time.monotonic()
                continue
            if kind == "left":
                raise gone(content)
            if kind == "handed_back":
                return {"handed_back": content, "done": True}
            if kind == "report":
                if self.first_step_s is None:
                    self.first_step_s = time.time() - content.elapsed_s
                return {"report": to_json(content)}
            return {"outcome": to_json(self._timed(content)), "done": True}

    def cleanup(self) -> None:
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(self.mailbox.submit.remote(None, None))
        self.thread.join(5)
        shutil.rmtree(self.folder, ignore_errors=True)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Trials keep their own checkpoints, in the study folder."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """See `save_checkpoint`."""

    def _boot(self) -> None:
        self.loss: BaseException | None = None
        self.hung = ""
        self.is_leaving, self.looked_s = False, -LOOK_EVERY_S
        beside = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self.mailbox = RemoteMailbox.options(scheduling_strategy=beside).remote(
            self.cluster.workers_per_trial, self.settings.ranks_apart_s
        )
        resources: dict[str, float] = {"CPU": self.cluster.cpus_per_worker, "memory": GROUP_MEMORY}
        if self.cluster.gpus_per_worker:
            resources["GPU"] = self.cluster.gpus_per_worker
        trainer = WorkerGroup(
            work,
            train_loop_config={"mailbox": self.mailbox, "settings": self.settings},
            scaling_config=train.ScalingConfig(
                num_workers=self.cluster.workers_per_trial,
                use_gpu=bool(self.cluster.gpus_per_worker),
                resources_per_worker=resources,
            ),
            backend_config=meeting_place(self.cluster.workers_per_trial),
            run_config=train.RunConfig(
                name=f"lane-{uuid.uuid4().hex[:12]}",
                storage_path=str(self.folder),
                failure_config=train.FailureConfig(max_failures=0, controller_failure_limit=BOOT_ATTEMPTS),  # type: ignore[call-arg]
            ),
        )

        def run() -> None:
            try:
                trainer.fit()
            except BaseException as error:
                self.loss = error

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def _submit(self) -> None:
        self.key, self.is_taken = uuid.uuid4().hex, False
        ray.get(self.mailbox.submit.remote(self.key, self.job))

    def _next_message(self) -> tuple[str, Any] | None:
        # Short while the group may be dead, long enough not to be polling while it works.
        return ray.get(self.mailbox.next_message.remote(self.key, 1.0 if self.thread.is_alive() else 0.01))

    def _has_to_leave(self) -> bool:
        """Whether a node of this lane is about to go; its workers are told."""
        if not self.is_leaving and time.monotonic() - self.looked_s > LOOK_EVERY_S:
            self.looked_s = time.monotonic()
            if leaving := leaving_nodes():
                here = ray.get_runtime_context().get_node_id() in leaving
                self.is_leaving = ray.get(self.mailbox.warn.remote(leaving, here))
        return self.is_leaving

    def _kill_group(self) -> None:
        """End a group that hangs; its controller notices and ends as well."""
        self.hung, self.is_taken = f"it said nothing for {self.cluster.hang_after_s:g} s", False
        for rank in ray.get(self.mailbox.members.remote()):
            ray.kill(ray.cloudpickle.loads(rank))

    def _after_loss(self) -> tuple[str, Any]:
        """The group is gone: try the trial once more, or give it up. One that never came up costs the trial nothing."""
        if self.is_leaving:
            raise gone("without a word")
        if (why := self.hung or loss_of(self.loss)) == NO_ROOM:
            return "handed_back", why
        self.losses.append(why)
        if len(self.losses) > 1:
            reasons = "; then ".join(dict.fromkeys(self.losses))
            return "outcome", TrialOutcome(reason=f"a worker was lost twice: {reasons}", traceback=str(self.loss))
        self._boot()
        self._submit()
        return "again", None

    def _timed(self, outcome: TrialOutcome) -> TrialOutcome:
        start_up_s = max(0.0, (self.first_step_s or time.time()) - self.started_s)
        return dataclasses.replace(
            outcome, start_up_s=start_up_s, started_at=datetime.fromtimestamp(self.started_s, UTC)
        )


def gone(when: str) -> ray.exceptions.RayActorError:
    """What Tune takes for the end of a node that was announced, which costs a trial none of its attempts."""
    return ray.exceptions.RayActorError(error_msg=f"a node of this lane is about to go; left {when}", preempted=True)


def loss_of(error: BaseException | None) -> str:
    """Why a worker group ended, in a few words."""
    text = str(error or "")
    if "did not:" in text:
        return text.split("did not:")[-1].strip().splitlines()[0]
    if "OutOfMemoryError" in text or "low on memory" in text:
        return "Ray killed it because its node ran out of memory"
    if "startup timed out" in text:
        return NO_ROOM
    if re.search("ActorDied|ActorUnavailable|WorkerCrashed|actor died", text):
        return "its process died (killed, out of memory, or a crash in native code)"
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else "the worker group ended early"
