"""How soon a coordinator with 100,000 tasks in its database serves again, and grants work, after kill -9.

    python tests/bench/coordinator/restart_time.py [--tasks N] [--repeat N]

The run is half done and workers hold leases when the coordinator is killed. Times count from the start of the process:
`serving` until /readyz answers 200, `first grant` until a worker that connects then has registered and holds a task.
"""
import argparse
import http.client
import json
import statistics
import subprocess
import time

from bench_coordinator import BenchFolder, allow_many_connections, coordinator, load_command, print_environment, run_load, verdict
from processes import BIN, Process

GOALS = {"serving": 1.0, "first grant": 2.0}
PATIENCE = 60


def is_ready(address):
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=1)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def restart(cluster):
    """Seconds until serving and until the first grant; leaves the coordinator killed."""
    probe = subprocess.Popen(load_command(cluster.address, first_grant=True), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    command = [BIN / "rsidiff-coordinator", "--data", cluster.data, "--listen", cluster.address, "--http", cluster.http]
    begin = time.monotonic()
    with Process("coordinator", [*command, *cluster.arguments], cluster.folder / "restart.log") as process:
        while not is_ready(cluster.http):
            assert process.alive and time.monotonic() < begin + PATIENCE, process.text()
            time.sleep(0.005)
        serving = time.monotonic() - begin
        answer, _ = probe.communicate("now\n", timeout=PATIENCE)
        return serving, json.loads(answer)["steady_seconds"] - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    allow_many_connections()
    with BenchFolder() as folder:
        print_environment(folder)
        with coordinator(folder) as cluster:
            run_load(cluster.address, workers=64, batch=8, tasks=arguments.tasks, stop_after=arguments.tasks // 2)
            counts = cluster.json("run", "list")["runs"][0].get("tasks", [])
            cluster.coordinator.kill()
            figures = [restart(cluster) for _ in range(arguments.repeat)]
    total = sum(int(c.get("total", 0)) for c in counts)
    done = sum(int(c.get("done", 0)) for c in counts)
    print(f"{total} tasks in the database, {done} of them done; {arguments.repeat} restarts")
    for (name, goal), seconds in zip(GOALS.items(), zip(*figures)):
        median, largest = statistics.median(seconds), max(seconds)
        print(f"{name:11}  median {median:.3f} s  largest {largest:.3f} s  goal {goal} s: {verdict(largest < goal)}")


if __name__ == "__main__":
    main()
