"""One Ray cluster and one S3 server for all tests that need them."""

import gc
import os
import sys
import time
from pathlib import Path

import pytest

from search.tune.environment import quiet_environment

HERE = Path(__file__).parent
for folder in ("", "search", "trainables", "analysis"):
    sys.path.insert(0, str(HERE / folder))  # the browser, toy studies, fake trials, small trials, fake studies
from processes import marked  # noqa: E402 - from the folders above

quiet_environment()
os.environ.setdefault("OMP_NUM_THREADS", "1")  # processes that each want both cores wait for one another
GROUPS = {
    "nodes": "nodes", "stillhouse": "trials", "run_lane": "trials", "bucket": "trials", "gs_bucket": "trials",
    "two_nodes": "clusters", "ray_cluster": "clusters", "browser": "pages",
}  # fmt: skip
"""Under pytest-xdist, tests that share what is slow to start run in one process: the group of a test is that of the
first such fixture. The tests of Ray are three of the groups; those of nodes that go mostly wait."""


def pytest_collection_modifyitems(items):
    for item in items:
        if (fixture := next((name for name in GROUPS if name in item.fixturenames), None)) is not None:
            item.add_marker(pytest.mark.xdist_group(GROUPS[fixture]))


def pytest_collection_finish():
    """What was imported stays: no collection of garbage looks through it again."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def nothing_left():
    """Every process that the tests start has ended soon after them; their environment tells them.

    On a busy machine an agent of Ray takes minutes to see that its killed node is gone.
    """
    os.environ["STILLHOUSE_TEST_SESSION"] = mark = f"session {os.getpid()}."
    yield
    deadline_s = time.monotonic() + 180
    while (left := started_by(mark)) and time.monotonic() < deadline_s:
        time.sleep(0.2)
    assert not left, left


def started_by(mark):
    """{process id: command} of what is left of a session, without the helper of Python that ends with this process."""
    return {pid: command for pid, command in marked(mark).items() if "multiprocessing.resource_tracker" not in command}


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory):
    """Two CPUs of a cluster of our own, whose workers can import the fake trials and share our cache."""
    import ray
    import toy

    from search.tune.cluster import start
    from search.tune.leftovers import end_with_workers

    with pytest.MonkeyPatch.context() as patch:
        for name, value in toy.ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setenv("STILLHOUSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        start(num_cpus=2)
        yield ray
        end_with_workers(ray.shutdown)


@pytest.fixture(scope="session")
def bucket():
    """A bucket of a real S3 server on loopback, reached as any other: by the usual variables of the environment."""
    from nodes_apart import s3_server

    with s3_server("studies"):
        yield "s3://studies"


@pytest.fixture(scope="session")
def gs_requests():
    """What a server of Google Cloud Storage on loopback was asked for; reached as the real one, without credentials."""
    from gs_server import gs_server

    with gs_server("studies") as requests:
        yield requests


@pytest.fixture(scope="session")
def gs_bucket(gs_requests):
    """Its bucket."""
    return "gs://anonymous@studies"
