"""One Ray cluster for all tests that need one."""

import logging
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FAKES = ROOT / "tests" / "search"
sys.path.insert(0, str(FAKES))


def worker_environment() -> dict[str, str]:
    """What a driver needs so that its workers find the packages and the fake trials."""
    from search.environment import QUIET

    paths = os.pathsep.join([str(ROOT), str(FAKES)])
    return {**QUIET, "PYTHONPATH": paths, "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def ray_cluster():
    """Two CPUs of a cluster of our own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in worker_environment().items():
            patch.setenv(name, value)
        import ray

        ray.init(
            address="local", num_cpus=2, include_dashboard=False, logging_level=logging.CRITICAL, log_to_driver=False,
            object_store_memory=100_000_000,
        )  # fmt: skip
        yield ray
        ray.shutdown()
