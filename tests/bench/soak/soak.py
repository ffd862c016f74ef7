"""Soak: eight workers, one of which is killed every twenty seconds on average, for half an hour.

    RSIDIFF_BIN=build/release/bin RSIDIFF_SOURCE=. python tests/bench/soak/soak.py [--seconds 1800] [--mean 20]

Two clusters side by side. In the first two real workers take the shapes model through one run after the other; in the
second six workers without an engine answer at once, which wears the protocol. A killed worker is started again under
its name. Every run has the same seed, so every run has to end with the samples of the cluster's first, each of them
once; and resident memory, descriptors and write-ahead log of every process must not grow. Exit code 1 otherwise.
"""
import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "cluster"))
from cluster import ENDED, Cluster, shapes_run  # noqa: E402

REAL, FAKE = 2, 6
ROUNDS = 20  # of a run without an engine
WAL_LIMIT = 300 << 20  # max_total_wal_size and a memtable
RSS_SLACK, FD_SLACK = 48 << 20, 16
# RocksDB keeps its files open: in each of the 11 column families up to four new ones and what they are merged into.
TABLE_FILES = 11 * 5


def resident_bytes(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class Fleet:
    """A cluster, its workers and its runs, one at a time."""

    def __init__(self, cluster, names):
        self.cluster = cluster
        self.names = names
        self.run = None
        self.runs = 0
        self.first = None
        self.readings = {}  # what -> [(seconds, value)]

    def tend(self):
        """Starts who is dead, judges the run that has ended, submits the next one."""
        for name in self.names:
            worker = self.cluster.workers.get(name)
            if worker is None or not worker.alive:
                self.start(name)
        if self.run is not None:
            status = self.cluster.status(self.run)
            if status["run"]["state"] not in ENDED:
                return
            self.judge(status)
        self.run = self.submit()

    def judge(self, status):
        assert status["run"]["state"] == "RUN_STATE_SUCCEEDED", (status["run"]["reason"], status["last_error"])
        drawn = {}
        for number in range(status["run"]["spec"]["rounds"] + 1):
            for evaluation in (False, True):
                if number == 0 and not evaluation:
                    continue
                records = self.cluster.samples(self.run, number, evaluation)
                indices = [s["index"] for s in records]
                assert indices == list(range(len(records))), f"run {self.run}, round {number}: indices {indices}"
                drawn[number, evaluation] = [(s["image"], s["seed"], s["selected"], s["weight"]) for s in records]
        self.first = self.first or drawn
        assert drawn == self.first, f"run {self.run} drew other samples than the first"
        self.runs += 1

    def read(self, seconds):
        process = self.cluster.coordinator.popen.pid
        values = {
            "coordinator rss": resident_bytes(process),
            "coordinator fd": descriptors(process),
            "wal": sum(path.stat().st_size for path in self.cluster.data.rglob("*.log")),
        }
        for name, worker in self.cluster.workers.items():
            if worker.alive:
                values[f"{name} rss"], values[f"{name} fd"] = resident_bytes(worker.popen.pid), descriptors(worker.popen.pid)
        for what, value in values.items():
            self.readings.setdefault(what, []).append((seconds, value))

    def growth(self, total):
        """Per reading: the largest value of the second quarter, of the last one, and whether that is bounded."""
        found = {}
        for what, series in self.readings.items():
            early = max((v for t, v in series if total / 4 <= t < total / 2), default=0)
            late = max((v for t, v in series if t >= total * 3 / 4), default=0)
            slack = RSS_SLACK if what.endswith("rss") else FD_SLACK + (TABLE_FILES if what.startswith("coordinator") else 0)
            limit = WAL_LIMIT if what == "wal" else early * 1.1 + slack
            found[what] = {"second quarter": early, "last quarter": late, "bounded": late <= limit}
        return found


class RealFleet(Fleet):
    def start(self, name):
        self.cluster.start_worker(name)

    def submit(self):
        return self.cluster.submit(shapes_run("soak", workers={"train_max": 1}))


class FakeFleet(Fleet):
    def start(self, name):
        self.cluster.start_fake_worker(name)

    def submit(self):
        log = self.cluster.folder / "submitter.log"
        log.unlink(missing_ok=True)
        submitter = self.cluster.start_fake_worker("submitter", ROUNDS)
        run = int(submitter.text().split()[1])
        submitter.kill()
        del self.cluster.workers["submitter"]
        return run


def soak(fleets, arguments):
    """Returns the number of kills."""
    choose = random.Random(arguments.seed)
    began = time.monotonic()
    next_kill, kills = choose.expovariate(1 / arguments.mean), 0
    while (now := time.monotonic() - began) < arguments.seconds:
        for fleet in fleets:
            fleet.tend()
            fleet.read(now)
        if now >= next_kill:
            fleet = choose.choices(fleets, weights=[len(f.names) for f in fleets])[0]
            fleet.cluster.workers[choose.choice(fleet.names)].kill()
            kills += 1
            next_kill += choose.expovariate(1 / arguments.mean)
        time.sleep(1)
    return kills


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--mean", type=float, default=20, help="mean seconds between two kills")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Cluster(f"{folder}/real") as real, Cluster(f"{folder}/fake") as fake:
        fleets = [RealFleet(real, [f"real{i}" for i in range(REAL)]), FakeFleet(fake, [f"fake{i}" for i in range(FAKE)])]
        kills = soak(fleets, arguments)
        report = {"seconds": arguments.seconds, "kills": kills}
        for name, fleet in zip(("real", "fake"), fleets):
            report[name] = {"runs": fleet.runs, "growth": fleet.growth(arguments.seconds)}
            metrics = fleet.cluster.metrics()
            report[name]["expired leases"] = metrics["rsidiff_lease_expirations_total"]
            report[name]["refused results"] = metrics["rsidiff_completions_fenced_total"]
        print(json.dumps(report, indent=1))
        bounded = all(g["bounded"] for name in ("real", "fake") for g in report[name]["growth"].values())
    sys.exit(0 if bounded and all(fleet.runs > 0 for fleet in fleets) else 1)


if __name__ == "__main__":
    main()
