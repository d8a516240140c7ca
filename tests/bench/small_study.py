"""The study that the timing benchmarks share: read, changed, run in a folder of its own. Import it before Ray."""

import contextlib
import json
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from search.tune.environment import import_everywhere, private_cluster, quiet_environment

SPEC = Path(__file__).with_name("small_study.toml")
Changes = dict[str, object]

quiet_environment()
private_cluster()
import_everywhere()


@dataclass(frozen=True)
class Ran:
    """A study that has ended."""

    trials: pd.DataFrame
    configs: list[dict]
    seconds: float


def read_study(changes: Changes) -> Any:
    """The small study with some keys changed: {section: {key: value}}."""
    from search.spec.checks import check_all
    from trainables.models.teacher import read_facts

    table = read_table()
    for section, values in changes.items():
        table[section] = {**table.get(section, {}), **values} if isinstance(values, dict) else values
    return check_all(table, SPEC.parent, str(SPEC), read_facts)


def read_table() -> dict:
    """The spec as it stands in the file."""
    return tomllib.loads(SPEC.read_text())


def run_small(changes: Changes, say: Callable[[str], None] = lambda line: None) -> Ran:
    """Run it in a temporary folder."""
    from search.phases.runner import Driver, run_study

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        run_study(read_study(changes), f"{folder}/study", Driver(say=say))
        seconds = time.perf_counter() - started
        asked = pd.read_parquet(f"{folder}/study/asked").sort_values("trial")
        return Ran(pd.read_parquet(f"{folder}/study/trials"), [json.loads(c) for c in asked.config], seconds)


@contextlib.contextmanager
def ray_of(num_cpus: int) -> Iterator[None]:
    """A Ray of its own with this many logical CPUs, which studies inside the block use."""
    import ray

    from search.tune.cluster import OBJECT_STORE_BYTES, QUIET

    ray.init(
        address="local", num_cpus=num_cpus, include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **QUIET
    )
    try:
        yield
    finally:
        ray.shutdown()
