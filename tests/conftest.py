"""One Ray cluster and one S3 server for all tests that need them."""

import logging
import os
import sys
from pathlib import Path

import pytest

from search.tune.environment import quiet_environment

HERE = Path(__file__).parent
for folder in ("", "search", "trainables", "analysis"):
    sys.path.insert(0, str(HERE / folder))  # the browser, toy studies, fake trials, small trials, fake studies
quiet_environment()
os.environ.setdefault("OMP_NUM_THREADS", "1")  # processes that each want both cores wait for one another
LONGEST = {"two_nodes", "stillhouse"}


def pytest_collection_modifyitems(items):
    """Under pytest-xdist, two processes share what waits for Ray: one takes the two longest tests."""
    for item in items:
        if LONGEST.intersection(item.fixturenames):
            item.add_marker(pytest.mark.xdist_group("longest"))
        elif "ray_cluster" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group("ray"))


@pytest.fixture(scope="session")
def ray_cluster():
    """Two CPUs of a cluster of our own, whose workers can import the fake trials."""
    import ray
    import toy

    from search.tune.cluster import start

    with pytest.MonkeyPatch.context() as patch:
        for name, value in toy.ENVIRONMENT.items():
            patch.setenv(name, value)
        start(num_cpus=2)
        yield ray
        ray.shutdown()


@pytest.fixture(scope="session")
def bucket():
    """A bucket of a real S3 server on loopback, reached as any other: by the usual variables of the environment."""
    from moto.server import ThreadedMotoServer
    from pyarrow import fs

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "invented", "AWS_SECRET_ACCESS_KEY": "invented", "AWS_EC2_METADATA_DISABLED": "true",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        filesystem, _ = fs.FileSystem.from_uri("s3://studies/?allow_bucket_creation=true")
        filesystem.create_dir("studies")
        yield "s3://studies"
    server.stop()
