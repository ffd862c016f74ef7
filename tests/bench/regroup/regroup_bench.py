"""How long a training stands still when its membership changes: the real coordinator and workers, Gloo on this machine.

Prints the environment and, for each kind of change, the seconds from a survivor's last applied step to its readiness for
the next one (rsidiff_worker_training_regroup_seconds_total), as median and largest over the repetitions:

    planned join     a worker joins two that train                       goal: under 0.5 s
    planned leave    one of three is drained                             goal: under 0.5 s
    killed member    SIGKILL of one of three                             goal: under the operation timeout + 1 s
    stopped member   SIGSTOP of one of three                             goal: under the operation timeout + 1 s

The peers' figures that are published: about 5 s for a restart by torchft or Ray, about 30 s by torchelastic.

    RSIDIFF_BIN=build/release/bin python tests/bench/regroup/regroup_bench.py [--repeat N] [--timeout SECONDS]
"""
import argparse
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[3]
os.environ.setdefault("RSIDIFF_SOURCE", str(SOURCE))
sys.path.insert(0, str(SOURCE / "tests/cluster"))

from cluster import Cluster, shapes_run  # noqa: E402
from processes import wait_until  # noqa: E402

PATIENCE = 300
LEASE_TTL = 3


class Bench:
    def __init__(self, cluster, timeout):
        self.cluster = cluster
        self.started = 0
        train = {"steps": 1_000_000, "global_batch": 4, "micro_batch": 1, "checkpoint_every": 100}
        self.run = cluster.submit(shapes_run("regroup", rounds=1, train={**train, "operation_timeout": timeout}))

    def join(self):
        self.started += 1
        name = f"w{self.started}"
        self.cluster.start_worker(name)
        return name

    def progress(self):
        return self.cluster.status(self.run).get("training") or {}

    def await_members(self, number):
        """Until so many train, and have taken a step together."""
        wait_until(lambda: self.progress().get("members") == number, PATIENCE, f"{number} members")
        step = int(self.progress().get("step", 0))
        wait_until(lambda: int(self.progress().get("step", 0)) >= step + 3, PATIENCE, "steps")

    def change(self, survivor, cause, act, members):
        """The survivor's seconds without a step while `act` changes the membership to `members`."""
        count, seconds = (
            f'rsidiff_worker_training_{kind}{{cause="{cause}"}}' for kind in ("regroups_total", "regroup_seconds_total")
        )
        before = self.cluster.worker_metrics(survivor)
        result = act()
        self.await_members(members)
        after = self.cluster.worker_metrics(survivor)
        assert after[count] == before[count] + 1, f"{after[count] - before[count]} regroups by {cause}"
        return after[seconds] - before[seconds], result


def measure(bench, repeat):
    figures = {"planned join": [], "planned leave": [], "killed member": [], "stopped member": []}
    survivor = bench.join()
    bench.await_members(1)
    other = bench.join()
    bench.await_members(2)
    workers = bench.cluster.workers
    for _ in range(repeat):
        for kind, leave in (
            ("planned leave", lambda name: bench.cluster.run("worker", "drain", name)),
            ("killed member", lambda name: workers[name].kill()),
            ("stopped member", lambda name: workers[name].pause()),
        ):
            seconds, third = bench.change(survivor, "planned", bench.join, 3)
            figures["planned join"].append(seconds)
            cause = "planned" if kind == "planned leave" else "failure"
            figures[kind].append(bench.change(survivor, cause, lambda: leave(third), 2)[0])
            workers[third].kill()
    assert workers[survivor].alive and workers[other].alive
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--timeout", type=float, default=5, help="train.operation_timeout, seconds")
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    print(f"operation timeout {arguments.timeout} s, lease time {LEASE_TTL} s")
    with tempfile.TemporaryDirectory() as folder, Cluster(folder, lease_ttl=LEASE_TTL) as cluster:
        figures = measure(Bench(cluster, arguments.timeout), arguments.repeat)
    goals = {"planned join": 0.5, "planned leave": 0.5}
    for kind, seconds in figures.items():
        goal = goals.get(kind, arguments.timeout + 1)
        print(f"{kind:15}  median {statistics.median(seconds):6.3f} s  largest {max(seconds):6.3f} s  goal {goal} s")


if __name__ == "__main__":
    main()
