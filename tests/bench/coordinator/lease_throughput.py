"""Durable tasks a second of the coordinator beside Ray's, and how long a call for work takes.

A task is one lease and one completion over gRPC, each answered after its rows are in the log, the completion's synced.
The workers do nothing for it. Three fleets: 1 worker that leases one task at a time, 16 and 64 workers that lease 8.
Each worker completes its tasks one after the other. Ray runs beside it in the same call, on the same processors.

    python tests/bench/coordinator/lease_throughput.py [--scale X] [--peer PYTHON | --no-peer]
"""
import argparse
import json
import os
import subprocess
from pathlib import Path

from bench_coordinator import SOURCE, BenchFolder, coordinator, print_environment, processor_seconds, run_load, verdict

# workers, tasks a lease call, tasks of the run, goal in tasks a second, Ray's counterpart
CASES = (
    (1, 1, 8_000, 600, "single client tasks sync"),
    (16, 8, 60_000, 3_000, "multi client tasks async"),
    (64, 8, 120_000, 8_000, "multi client tasks async"),
)
LEASE_GOAL_MS = 20


def measure(folder, workers, batch, tasks):
    with coordinator(folder) as cluster:
        pid = cluster.coordinator.popen.pid
        before = processor_seconds(pid)
        figures = run_load(cluster.address, workers=workers, batch=batch, tasks=tasks)
        figures["processor_seconds"] = processor_seconds(pid) - before
        assert not figures["errors"], figures["errors"]
    return figures


def measure_ray(python):
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run([python, Path(__file__).with_name("ray_tasks.py")], stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1, help="times the number of tasks")
    parser.add_argument("--peer", default=SOURCE / ".venv-bench/bin/python", help="Python that has Ray")
    parser.add_argument("--no-peer", action="store_true")
    arguments = parser.parse_args()
    with BenchFolder() as folder:
        print_environment(folder)
        ours = [measure(folder / f"{w}x{b}", w, b, int(tasks * arguments.scale)) for w, b, tasks, *_ in CASES]
    ray = None if arguments.no_peer else measure_ray(arguments.peer)
    for figures, (workers, batch, _, goal, peer) in zip(ours, CASES):
        rate, lease, complete = figures["tasks_per_second"], figures["lease_ms"], figures["complete_ms"]
        print(
            f"{workers:3} x {batch}: {rate:7.0f} tasks/s (goal {goal}: {verdict(rate >= goal)}); lease p50 {lease['p50']:.2f} ms, "
            f"p99 {lease['p99']:.2f} ms (goal {LEASE_GOAL_MS}: {verdict(lease['p99'] < LEASE_GOAL_MS)}); "
            f"complete p50 {complete['p50']:.2f} ms, p99 {complete['p99']:.2f} ms; {figures['tasks']} tasks in {figures['seconds']:.1f} s"
        )
        if ray:
            theirs = ray["tasks_per_second"][peer]
            print(f"         Ray {ray['version']}, {peer}: {theirs:.0f} tasks/s; ratio {rate / theirs:.2f}")
    if ray:
        theirs = ray["tasks_per_second"]["single client tasks async"]
        print(f"Ray {ray['version']}, single client tasks async: {theirs:.0f} tasks/s")
        print("Not the same work: Ray executes a Python function in worker processes and commits nothing per task; the")
        print("coordinator commits every grant and syncs every completion to the disk, and its workers execute nothing.")


if __name__ == "__main__":
    main()
