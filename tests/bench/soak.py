"""A long study under fire: workers, lanes, mailboxes, a node and the driver are killed at random while trials run.

    python tests/bench/soak.py --minutes 30 --out soak     # about 600 trials of a few seconds, on two raylets
    python tests/bench/soak.py --minutes 3 --out soak

Trials sleep, so it is light on the processor. It prints what happened, a line a minute, and at the end what was asked,
finished, failed, lost and repeated, which files cannot be read, and which processes were left. A trial keeps a
checkpoint of its own, as real ones do, and writes to a journal when it starts; one that starts although its final row
is already on disk was repeated.
"""

import argparse
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
sys.path[:0] = [str(ROOT), str(ROOT / "tests/search"), str(ROOT / "tests/bench")]

STEPS = 6
CPUS_PER_NODE = 2
FIRST_TRIALS, MORE_TRIALS = 200, 300
TARGETS = {
    "worker": ("ray::RayTrainWorker", 5),
    "lane": ("ray::ResourceTrainable", 3),
    "mailbox": ("ray::Mailbox", 1),
}
"""What is killed: how its process is called, and how often compared with the others."""


def trial(job, report, rank, world_size):
    """A trial that sleeps, reports, keeps a checkpoint and goes on from it."""
    from fake_trials import formula, said, scored

    from trainables.lanes.messages import TrialOutcome

    folder, study = Path(job.folder), Path(job.folder).parents[1]
    final = study / "trials" / f"part-{job.trial:05d}.parquet"
    ended = final.exists() and status_of(final) != "stopped"
    with open(json.loads(job.teacher)["journal"], "a") as journal:
        journal.write(json.dumps({"trial": job.trial, "pid": os.getpid(), "repeated": ended}) + "\n")
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "step"
    quality = formula(job.config)
    for step in range(1 + int(checkpoint.read_text() if checkpoint.exists() else 0), STEPS + 1):
        time.sleep(random.Random(job.trial).uniform(0.8, 1.7))
        tokens = 300_000 * step // STEPS
        early = quality * step / STEPS if tokens in job.rungs else None
        temporary = folder / f"step.{os.getpid()}"
        temporary.write_text(str(step))
        temporary.replace(checkpoint)
        report(said(step, early, train_tokens=tokens, loss=1.0 / step, elapsed_s=float(step)))
    return TrialOutcome(scores=scored(quality), costs={"train_tokens": 300_000, "steps": STEPS})


def status_of(part):
    """What the row of a trial says."""
    import pyarrow.parquet as pq

    return pq.read_table(part, columns=["status"]).column("status")[0].as_py()


def drive(folder, address, trials):
    """The driver: one process, killed now and then."""
    from search.tune.environment import quiet_environment

    quiet_environment()
    import toy

    from search.store.parts import Store
    from search.tune.cluster import cluster
    from search.tune.tuning import log_file, tune_study

    text = toy.SPEC.replace("trials = 8", f"trials = {trials}").replace(
        "[cluster]\nconcurrent_trials = 2", "[search]\ncandidates = 1\n[rungs]\nfirst_tokens = 100_000\nfactor = 2\n"
        "[cluster]\nhang_after_s = 60"
    )  # fmt: skip
    plan = dataclasses.replace(toy.plan(text, journal=f"{folder}/journal"), function="soak:trial")
    store = Store(folder, ["toy"])
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
    """What is killed next, and when."""

    def __init__(self, cluster, mark, seconds, seed):
        self.cluster, self.mark, self.rng = cluster, mark, random.Random(seed)
        self.kills = Counter()
        self.node = None
        self.add_node()
        start = time.monotonic()
        self.driver_at = [start + seconds / 3, start + seconds * 2 / 3]
        self.node_at = start + min(240.0, seconds / 2.5)
        self.back_at = None
        self.next_at = start + 40

    def add_node(self):
        self.node = self.cluster.add_node(num_cpus=CPUS_PER_NODE, object_store_memory=80_000_000)

    def step(self, driver):
        """Do what is due."""
        now = time.monotonic()
        if self.driver_at and now > self.driver_at[0]:
            self.driver_at.pop(0)
            self.kills["driver"] += 1
            say("kill -9 of the driver")
            driver.kill()
        if self.back_at is not None and now > self.back_at:
            self.add_node()
            self.back_at, self.node_at = None, now + 240
            say("a new node")
        elif self.back_at is None and now > self.node_at:
            self.cluster.remove_node(self.node, allow_graceful=False)
            self.kills["node"] += 1
            self.back_at = now + 30
            say("a node removed")
        if now > self.next_at:
            self.next_at = now + self.rng.uniform(12, 35)
            kind = self.rng.choices(list(TARGETS), [weight for _, weight in TARGETS.values()])[0]
            pids = [pid for pid, (name, _) in processes(self.mark).items() if name.startswith(TARGETS[kind][0])]
            if pids:
                os.kill(victim := self.rng.choice(sorted(pids)), signal.SIGKILL)
                self.kills[kind] += 1
                say(f"kill -9 of a {kind} ({victim})")


def say(line):
    """With the time."""
    print(time.strftime("%H:%M:%S"), line, flush=True)


def main():
    """Run it and print the counts."""
    if sys.argv[1] == "drive":
        return drive(*sys.argv[2:4], int(sys.argv[4]))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--out", type=Path, required=True, help="folder of the study; must not hold one yet")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder, mark = options.out.resolve(), f"SOAK={os.getpid()}-{time.time():.0f}"
    folder.mkdir(parents=True)
    import toy

    os.environ.update(toy.ENVIRONMENT, SOAK=mark.partition("=")[2], RAY_USAGE_STATS_ENABLED="0")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:3])
    from ray.cluster_utils import Cluster

    node = {"num_cpus": CPUS_PER_NODE, "node_ip_address": "127.0.0.1", "object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    fire = Fire(cluster, mark, options.minutes * 60, options.seed)
    end, trials, starts, memory = time.monotonic() + options.minutes * 60, FIRST_TRIALS, 0, []
    driver, said_at, over, starts_over = None, 0.0, False, -1
    with open(folder / "driver.txt", "a") as output:
        while True:
            if time.monotonic() > end and not over:
                over = True
                say("time is up: SIGTERM to the driver, then what was asked is finished")
                driver.send_signal(signal.SIGTERM)
            if driver is None or (code := driver.poll()) is not None:
                if over:
                    if driver.returncode == 0 and starts_over == starts:
                        break
                    trials, starts_over = len(list((folder / "asked").glob("part-*.parquet"))), starts + 1
                elif driver is not None and code == 0:
                    trials += MORE_TRIALS
                starts += 1
                command = [sys.executable, __file__, "drive", str(folder), cluster.address, str(trials)]
                driver = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
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
                parts = len(list((folder / "trials").glob("part-*.parquet"))) if (folder / "trials").exists() else 0
                total = sum(resident for _, resident in alive.values())
                say(f"{parts} rows, {len(alive)} processes, {total:.0f} MiB in all, driver {memory[-1][1]:.0f} MiB")
            time.sleep(1)
    time.sleep(10)
    left = Counter(name.split(" ")[0] for name, _ in processes(mark).values() if name.startswith("ray::"))
    ids = {os.getpid()}
    cluster.shutdown()
    time.sleep(5)
    leftovers = {pid: name for pid, (name, _) in processes(mark).items() if pid not in ids}
    conclude(folder, fire.kills, starts, memory, left, leftovers)
    return None


def conclude(folder, kills, starts, memory, left, leftovers):
    """The counts."""
    import pyarrow.parquet as pq

    rows, unreadable = {}, []
    for path in sorted(folder.glob("*/*.parquet")):
        try:
            table = pq.read_table(path).to_pylist()
        except Exception as error:
            unreadable.append(f"{path.name}: {error}")
            continue
        rows.setdefault(path.parent.name, []).extend(table)
    asked = {row["trial"] for row in rows["asked"]}
    statuses = Counter(row["status"] for row in rows["trials"])
    ran = [row for row in rows["trials"] if row["trial"] in asked]
    journal = [json.loads(line) for line in (folder / "journal").read_text().splitlines()]
    hashes = Counter(row["config_hash"] for row in ran)
    print(f"killed: {dict(kills)}; driver started {starts} times")
    print(f"asked {len(asked)}, rows {dict(statuses)}")
    print("reasons of the failed:", dict(Counter(row["reason"] for row in rows["trials"] if row["status"] == "failed")))
    print(f"lost (asked, without a row): {sorted(asked - {row['trial'] for row in ran})}")
    print(f"repeated (started after the final row): {[row['trial'] for row in journal if row['repeated']]}; "
          f"configurations that ran twice: {sum(count > 1 for count in hashes.values())}")  # fmt: skip
    again = len(journal) - len(asked)
    print(f"starts of trials: {len(journal)}, {again} of them again: after a loss, a stop of the driver, a promotion")
    print(f"unreadable files: {unreadable}; temporary files: {[p.name for p in folder.glob('*/.*.tmp')]}")
    print(f"Ray processes on the cluster 10 s after the last driver: {dict(left)}")
    print(f"processes after the cluster's end: {leftovers}")
    print("driver resident MiB, minute by minute (start number: MiB):", ", ".join(f"{s}: {m:.0f}" for s, m in memory))


if __name__ == "__main__":
    main()
