"""2,000 simulated workers that heartbeat and work against one coordinator: its share of the processor, memory and latencies.

    python tests/bench/coordinator/fleet.py [--workers N] [--seconds S] [--task-seconds T] [--connections C]

Every worker has a TCP connection of its own (--connections shares them), heartbeats every third of the lease time as a
real one, leases one task at a time, and works on it for T seconds (mean). The metrics are scraped every 15 seconds, as by
Prometheus. There is always work. Errors have to be none: no failed call, no expired lease, no lost worker.
"""
import argparse
import json
import subprocess
import threading
import time

from bench_coordinator import (
    BenchFolder,
    allow_many_connections,
    coordinator,
    load_command,
    print_environment,
    processor_seconds,
    resident_mib,
    verdict,
)

WARMUP = 10
SCRAPE_INTERVAL = 15
GOAL_MS = 20


class Watch(threading.Thread):
    """The coordinator's processor time and memory from the end of the warm-up to the end of the measurement."""

    def __init__(self, cluster, warmup, seconds):
        super().__init__(daemon=True)
        self.cluster, self.warmup, self.seconds = cluster, warmup, seconds
        self.largest_mib = self.share = 0
        self.scrapes = []

    def run(self):
        pid = self.cluster.coordinator.popen.pid
        time.sleep(self.warmup)
        begin, before = time.monotonic(), processor_seconds(pid)
        next_scrape = begin
        while time.monotonic() < begin + self.seconds:
            if time.monotonic() >= next_scrape:
                scraped = time.monotonic()
                self.cluster.metrics()
                self.scrapes.append(time.monotonic() - scraped)
                next_scrape += SCRAPE_INTERVAL
            self.largest_mib = max(self.largest_mib, resident_mib(pid))
            time.sleep(0.5)
        self.share = (processor_seconds(pid) - before) / (time.monotonic() - begin)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--task-seconds", type=float, default=2)
    parser.add_argument("--connections", type=int, default=0)
    arguments = parser.parse_args()
    allow_many_connections()
    tasks = int(arguments.workers / arguments.task_seconds * (arguments.seconds + WARMUP + 10) * 1.3) + 8 * arguments.workers
    with BenchFolder() as folder:
        print_environment(folder)
        with coordinator(folder) as cluster:
            command = load_command(
                cluster.address, workers=arguments.workers, tasks=tasks, task_seconds=arguments.task_seconds,
                warmup=WARMUP, seconds=arguments.seconds, connections=arguments.connections,
            )
            load = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            watch = Watch(cluster, WARMUP + 2, arguments.seconds - 2)
            watch.start()
            output, _ = load.communicate()
            watch.join()
            assert load.returncode == 0, "the load failed"
            figures = json.loads(output.splitlines()[-1])
            metrics = cluster.metrics()
    errors = dict(figures["errors"])
    for name in ("rsidiff_lease_expirations_total", "rsidiff_completions_fenced_total", 'rsidiff_workers{state="lost"}'):
        if metrics.get(name):
            errors[name] = metrics[name]
    connections = arguments.connections or arguments.workers
    print(f"{arguments.workers} workers on {connections} connections, tasks of {arguments.task_seconds} s: {figures['tasks_per_second']:.0f} tasks/s, {figures['heartbeat_ms']['count'] / figures['seconds']:.0f} heartbeats/s")
    print(f"coordinator: {100 * watch.share:.0f} % of one processor, {watch.largest_mib:.0f} MiB; longest scrape {max(watch.scrapes) * 1e3:.0f} ms")
    for call in ("lease", "heartbeat", "complete"):
        times = figures[f"{call}_ms"]
        goal = f" (goal {GOAL_MS}: {verdict(times['p99'] < GOAL_MS)})" if call == "lease" else ""
        print(f"{call:9}  p50 {times['p50']:.2f} ms  p99 {times['p99']:.2f} ms{goal}  longest {times['max']:.0f} ms")
    print(f"errors: {errors or 'none'}: {verdict(not errors)}")


if __name__ == "__main__":
    main()
