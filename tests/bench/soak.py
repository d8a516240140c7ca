"""A long study under fire: workers, lanes, mailboxes, nodes and the driver are killed at random while trials run.

    python tests/bench/soak.py --minutes 30 --out soak     # about 600 trials of a few seconds, on two raylets
    python tests/bench/soak.py --minutes 3 --out soak
    python tests/bench/soak.py --minutes 30 --out soak --no-shared-disk

Trials sleep, so it is light on the processor. It prints what happened, a line a minute, and at the end what was asked,
finished, failed, lost and repeated, which files cannot be read, and which processes were left. A trial keeps a
checkpoint of its own, as real ones do, and writes to a journal when it starts; one that starts although its final row
is already on disk was repeated.

With --no-shared-disk each node has a home folder and a cache of its own, and the nodes that come later have new ones.
The study and the home of the cache lie on an S3 server, and each trial reads a folder of the cache, which its node has
to fetch first and has no room to keep for long. Every second node is told before it goes, by SIGTERM.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/search"), str(ROOT / "tests/bench"), str(ROOT / "tests")]

CPUS_PER_NODE = 2
FIRST_TRIALS, MORE_TRIALS = 200, 300
LOCAL_GB = "0.008"
"""What copies of the cache may take on a node: a third of them."""
TARGETS = {
    "worker": ("ray::RayTrainWorker", 5),
    "lane": ("ray::ResourceTrainable", 3),
    "mailbox": ("ray::Mailbox", 1),
}
"""What is killed: how its process is called, and how often compared with the others."""


def drive(study, address, trials, journal, copies):
    """The driver: one process, killed now and then."""
    from search.tune.environment import quiet_environment

    quiet_environment()
    import toy

    from search.store.parts import Store
    from search.tune.cluster import cluster
    from search.tune.tuning import log_file, tune_study

    text = toy.SPEC.replace("trials = 8", f"trials = {trials}").replace(
        "[cluster]\nconcurrent_trials = 2", '[search]\nschedule = "halving"\ncandidates = 1\n'
        "[rungs]\nfirst_tokens = 100_000\nfactor = 2\n[cluster]\nhang_after_s = 60"
    )  # fmt: skip
    orders = toy.plan(text, journal=journal, study=study, copies=copies)
    plan = dataclasses.replace(orders, function="soak_trial:trial")
    store = Store(study, ["toy"])
    with store.locked(), cluster(plan.study.spec.cluster, address, log_file(store)):
        outcome = tune_study(plan, store)
    sys.exit(0 if outcome.ended else 130)


def processes(mark):
    """{pid: (name, resident MiB)} of everything that carries the mark in its environment."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() not in (entry / "environ").read_bytes():
                continue
            name = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            pages = int((entry / "statm").read_text().split()[1])
        except (OSError, IndexError):
            continue
        if name:
            found[int(entry.name)] = name, pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return found


class Fire:
    """What is killed next, and when. The last node of the cluster is the one that goes."""

    def __init__(self, cluster, mark, seconds, seed):
        self.cluster, self.mark, self.rng = cluster, mark, random.Random(seed)
        self.kills = Counter(node=0)
        self.node = cluster.add()
        start = time.monotonic()
        self.driver_at = [start + seconds / 3, start + seconds * 2 / 3]
        self.node_every_s = min(240.0, seconds / 4)
        self.node_at = start + self.node_every_s
        self.back_at = None
        self.next_at = start + 40

    def step(self, driver):
        """Do what is due."""
        now = time.monotonic()
        if self.driver_at and now > self.driver_at[0]:
            self.driver_at.pop(0)
            self.kills["driver"] += 1
            say("kill -9 of the driver")
            driver.kill()
        if self.back_at is not None and now > self.back_at:
            self.node = self.cluster.add()
            self.back_at, self.node_at = None, now + self.node_every_s
            say("a new node")
        elif self.back_at is None and now > self.node_at:
            if self.kills["node"] > self.kills["node told"]:
                self.cluster.tell(self.node)
                self.kills["node told"] += 1
                say("SIGTERM to a node")
            else:
                self.cluster.lose(self.node)
                self.kills["node"] += 1
                say("a node removed")
            self.back_at = now + 30
        if now > self.next_at:
            self.next_at = now + self.rng.uniform(12, 35)
            kind = self.rng.choices(list(TARGETS), [weight for _, weight in TARGETS.values()])[0]
            pids = [pid for pid, (name, _) in processes(self.mark).items() if name.startswith(TARGETS[kind][0])]
            if pids:
                os.kill(victim := self.rng.choice(sorted(pids)), signal.SIGKILL)
                self.kills[kind] += 1
                say(f"kill -9 of a {kind} ({victim})")


class NodesTogether:
    """Raylets of one machine that share all of its disk."""

    def __init__(self):
        from ray.cluster_utils import Cluster

        self.node = {"num_cpus": CPUS_PER_NODE, "object_store_memory": 80_000_000}
        head = {**self.node, "node_ip_address": "127.0.0.1", "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address = self.cluster.address
        self.stop = self.cluster.shutdown

    def add(self):
        return self.cluster.add_node(**self.node)

    def lose(self, node):
        self.cluster.remove_node(node, allow_graceful=False)

    def tell(self, node):
        self.cluster.remove_node(node, allow_graceful=True)  # such a node tells nobody before it ends


@contextlib.contextmanager
def setting(out, apart):
    """(nodes, folder of the study, environment of its drivers, copies that trials read)."""
    if not apart:
        yield NodesTogether(), str(out), dict(os.environ), []
        return
    from nodes_apart import NodesApart, s3_server

    with s3_server("soak"):
        nodes = NodesApart(out, "s3://soak/cache", CPUS_PER_NODE, STILLHOUSE_LOCAL_GB=LOCAL_GB, SOAK=os.environ["SOAK"],
                           PYTHONPATH=os.environ["PYTHONPATH"])  # fmt: skip
        nodes.add()
        driver = nodes.driver()
        write = [sys.executable, ROOT / "tests/bench/soak_trial.py"]
        copies = json.loads(subprocess.run(write, env=driver, check=True, capture_output=True, text=True).stdout)
        try:
            yield nodes, "s3://soak/study", driver, copies
        finally:
            nodes.end()


def say(line):
    """With the time."""
    print(time.strftime("%H:%M:%S"), line, flush=True)


def main():
    """Run it and print the counts."""
    if sys.argv[1] == "drive":
        return drive(*sys.argv[2:4], int(sys.argv[4]), sys.argv[5], json.loads(sys.argv[6]))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--out", type=Path, required=True, help="folder of the study; must not hold one yet")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-shared-disk", action="store_true", help="nodes that have only an S3 server in common")
    options = parser.parse_args()
    out, mark = options.out.resolve(), f"SOAK={os.getpid()}-{time.time():.0f}"
    out.mkdir(parents=True)
    import toy

    os.environ.update(toy.ENVIRONMENT, SOAK=mark.partition("=")[2], RAY_USAGE_STATS_ENABLED="0")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:4])
    with setting(out, options.no_shared_disk) as (nodes, study, environment, copies):
        burn(options, nodes, mark, out, study, environment, copies)


def burn(options, nodes, mark, out, study, environment, copies):
    """Keep a driver running until the time is up and all that was asked has ended."""
    from search.store.parts import Store

    store, journal = Store(study, ["toy"]), str(out / "journal")
    fire = Fire(nodes, mark, options.minutes * 60, options.seed)
    end, trials, starts, memory = time.monotonic() + options.minutes * 60, FIRST_TRIALS, 0, []
    driver, said_at, over, starts_over = None, 0.0, False, -1
    with open(out / "driver.txt", "a") as output:
        while True:
            if time.monotonic() > end and not over:
                over = True
                say("time is up: SIGTERM to the driver, then what was asked is finished")
                driver.send_signal(signal.SIGTERM)
            if driver is None or (code := driver.poll()) is not None:
                if over:
                    if driver.returncode == 0 and starts_over == starts:
                        break
                    trials, starts_over = len(store.numbers("asked")), starts + 1
                elif driver is not None and code == 0:
                    trials += MORE_TRIALS
                starts += 1
                driver = subprocess.Popen(
                    [sys.executable, __file__, "drive", study, nodes.address, str(trials), journal, json.dumps(copies)],
                    stdout=output, stderr=subprocess.STDOUT, env=environment,
                )  # fmt: skip
                before = f" (the last one ended with {code})" if starts > 1 else ""
                say(f"driver {driver.pid} started, budget {trials}{before}")
                if starts > 40:
                    raise SystemExit("the driver ends again and again")
            if time.monotonic() < end:
                fire.step(driver)
            if time.monotonic() - said_at > 60:
                said_at = time.monotonic()
                alive = processes(mark)
                memory.append((starts, alive.get(driver.pid, ("", 0.0))[1]))
                total = sum(resident for _, resident in alive.values())
                rows = len(store.numbers("trials"))
                say(f"{rows} rows, {len(alive)} processes, {total:.0f} MiB in all, driver {memory[-1][1]:.0f} MiB")
            time.sleep(1)
    time.sleep(10)
    left = Counter(name.split(" ")[0] for name, _ in processes(mark).values() if name.startswith("ray::"))
    nodes.stop()
    time.sleep(5)
    leftovers = {pid: name for pid, (name, _) in processes(mark).items() if pid != os.getpid()}
    conclude(store, Path(journal), fire.kills, starts, memory, left, leftovers)


def conclude(store, journal, kills, starts, memory, stayed, leftovers):
    """The counts."""
    import pyarrow.fs as pafs

    from spaces.records.parts import read_file

    files = store.filesystem.get_file_info(pafs.FileSelector(store.root, recursive=True))
    unreadable = []
    for path in (info.path for info in files if info.path.endswith(".parquet")):
        try:
            read_file(store.filesystem, path)
        except Exception as error:
            unreadable.append(f"{path}: {error}")
    asked = set(store.numbers("asked"))
    rows = store.read_rows("trials")
    statuses = Counter(row["status"] for row in rows)
    ran = [row for row in rows if row["trial"] in asked]
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    started = [entry for entry in entries if "begun" in entry]
    hashes = Counter(row["config_hash"] for row in ran)
    print(f"killed: {dict(kills)}; driver started {starts} times")
    print(f"asked {len(asked)}, rows {dict(statuses)}")
    print("reasons of the failed:", dict(Counter(row["reason"] for row in rows if row["status"] == "failed")))
    print(f"lost (asked, without a row): {sorted(asked - {row['trial'] for row in ran})}")
    print(f"repeated (started after the final row): {[row['trial'] for row in started if row['repeated']]}; "
          f"configurations that ran twice: {sum(count > 1 for count in hashes.values())}; "
          f"trials with two rows: {len(rows) - len({row['trial'] for row in rows})}")  # fmt: skip
    left = [(number, entry["trial"], entry["left"]) for number, entry in enumerate(entries) if "left" in entry]
    went_on = [
        next((each["begun"] for each in entries[number:] if each["trial"] == trial and "begun" in each), None)
        for number, trial, _ in left
    ]
    print(
        f"left when told: (step, gone on from) {[(step, on) for (_, _, step), on in zip(left, went_on, strict=True)]}"
    )
    again = len(started) - len(asked)
    print(f"starts of trials: {len(started)}, {again} of them again: after a loss, a stop of the driver, a promotion")
    print(f"unreadable files: {unreadable}; temporary files: {[i.path for i in files if i.path.endswith('.tmp')]}")
    print(f"Ray processes on the cluster 10 s after the last driver: {dict(stayed)}")
    print(f"processes after the cluster's end: {leftovers}")
    print("driver resident MiB, minute by minute (start number: MiB):", ", ".join(f"{s}: {m:.0f}" for s, m in memory))


if __name__ == "__main__":
    main()
