"""How busy are two workers while a run samples? From the project's own metrics, on the shapes model.

    busy_share.py RSIDIFF_BIN_FOLDER

Means: seconds spent on generate and score tasks over the seconds of the sampling phase, per worker, read from
/metrics at the phase's beginning and end. Needs the test environment's Python; prints the environment.
"""
import os
import pathlib
import platform
import sys
import tempfile
import time

root = pathlib.Path(__file__).resolve().parents[2]
os.environ["RSIDIFF_BIN"] = str(pathlib.Path(sys.argv[1]).resolve())
os.environ["RSIDIFF_SOURCE"] = str(root)
sys.path.insert(0, str(root / "tests" / "cluster"))
from cluster import Cluster, shapes_run  # noqa: E402
from processes import wait_until  # noqa: E402

WORKERS = ("w1", "w2")


def busy(cluster):
    return {name: sum(v for k, v in cluster.worker_metrics(name).items() if k.startswith("rsidiff_worker_busy_seconds_total")) for name in WORKERS}


print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {platform.platform()}")
with tempfile.TemporaryDirectory() as folder, Cluster(folder) as cluster:
    for name in WORKERS:
        cluster.start_worker(name)
    wait_until(lambda: len([w for w in cluster.json("worker", "list")["workers"] if w["state"] == "WORKER_STATE_ACTIVE"]) == 2, 60, "both workers")
    spec = shapes_run("busy", rounds=1, prompts={"per_round": 128, "evaluation_limit": 16}, sampling={"samples_per_prompt": 4, "steps": 12, "chunk": 16})
    run = cluster.submit(spec)

    def sampled():
        counts = [t for t in cluster.status(run)["tasks"] if t["round"] == 1 and t["purpose"] == "PURPOSE_TRAINING"]
        return min((t["samples_done"] for t in counts), default=0), max((t["samples_total"] for t in counts), default=0)

    # Models are loaded once in a worker's life; measured is what follows.
    wait_until(lambda: sampled()[0] >= 32, 120, "the first scored samples")
    before, start = busy(cluster), time.monotonic()
    wait_until(lambda: sampled()[1] and sampled()[0] >= sampled()[1] - 32, 300, "the last samples")
    after, seconds = busy(cluster), time.monotonic() - start
    for name in WORKERS:
        print(f"{name}: busy {100 * (after[name] - before[name]) / seconds:.1f} % of {seconds:.1f} s")
