"""Tasks a second of Ray on this machine, by Ray's own microbenchmark functions; prints one JSON line.

    .venv-bench/bin/python tests/bench/coordinator/ray_tasks.py

Listens on the loopback only and reports to nobody.
"""
import json
import os

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_DEDUP_LOGS"] = "0"

import ray  # noqa: E402
from ray._private.ray_microbenchmark_helpers import timeit  # noqa: E402
from ray._private.ray_perf import Actor, small_value  # noqa: E402

CLIENTS = 4
BATCH = 1000


def main():
    ray.init(_node_ip_address="127.0.0.1", include_dashboard=False, logging_level="error", log_to_driver=False)
    actors = [Actor.remote() for _ in range(CLIENTS)]
    cases = (
        ("single client tasks sync", lambda: ray.get(small_value.remote()), 1),
        ("single client tasks async", lambda: ray.get([small_value.remote() for _ in range(BATCH)]), BATCH),
        ("multi client tasks async", lambda: ray.get([actor.small_value_batch.remote(BATCH) for actor in actors]), BATCH * CLIENTS),
    )
    figures = {}
    for name, run, tasks in cases:
        figures[name] = timeit(name, run, tasks, warmup_time_sec=1)[0][1]
    print(json.dumps({"version": ray.__version__, "tasks_per_second": figures}))


if __name__ == "__main__":
    main()
