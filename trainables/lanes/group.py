"""The worker group of a lane: Ray Train's, in fewer processes.

Each process of Ray that imports Ray Train costs about 2 CPU seconds and 110 MiB, and a small student trains for
seconds. Of those that a TorchTrainer of Ray 2.60 starts beside its workers, a lane needs one, the actor where ranks
would meet.
"""

import asyncio
from typing import Any

from ray import train
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

HELPERS = ("PlacementGroupCleanerCallback", "DatasetsCallback")
"""One process each: what outlives a killed controller, for search/tune/cluster.py sweeps, and what deals out datasets
of Ray Data, for there are none."""


class BookedGroup(FixedScalingPolicy):
    """A fixed number of workers, whose placement group alone tells an autoscaler what is wanted.

    Ray Train tells it a second time, through an actor of Ray Data.
    """

    def after_controller_start(self, train_run_context: Any) -> None:
        """Nothing to announce; nothing is to be taken back at the end either."""

    def _maybe_send_resource_request(self) -> None:
        """See `after_controller_start`."""


class WorkerGroup(DataParallelTrainer):
    """Its controller runs in the process that calls `fit`: a lane, which does nothing else meanwhile."""

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()  # type: ignore[misc]
        return [each for each in callbacks if type(each).__name__ not in HELPERS]

    def _initialize_and_run_controller(self, **parts: Any) -> train.Result:
        controller = TrainController(**parts | {"scaling_policy": BookedGroup(self.scaling_config)})  # type: ignore[arg-type]
        asyncio.run(controller.run())
        return controller.get_result()
