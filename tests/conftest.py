"""One Ray cluster for all tests that need one."""

import logging
import sys
from pathlib import Path

import pytest

from search.environment import quiet_environment

HERE = Path(__file__).parent
for folder in ("", "search", "trainables", "analysis"):
    sys.path.insert(0, str(HERE / folder))  # the browser, toy studies, fake trials, small trials, fake studies
quiet_environment()


@pytest.fixture(scope="session")
def ray_cluster():
    """Two CPUs of a cluster of our own, whose workers can import the fake trials."""
    import ray
    import toy

    with pytest.MonkeyPatch.context() as patch:
        for name, value in toy.ENVIRONMENT.items():
            patch.setenv(name, value)
        ray.init(
            address="local", num_cpus=2, include_dashboard=False, logging_level=logging.CRITICAL, log_to_driver=False,
            object_store_memory=100_000_000,
        )  # fmt: skip
        yield ray
        ray.shutdown()
