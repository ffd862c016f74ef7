"""Debian's Prometheus watches a real run by two real workers; a worker's page passes promtool and is documented."""
import pathlib
import re
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from cluster import Cluster, shapes_run, wait_until  # noqa: E402
from processes import SOURCE, running, wait_for  # noqa: E402
from prometheus_test import labels, query, start_prometheus  # noqa: E402


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """The cluster, its run, and the address of the Prometheus that watches them."""
    folder = tmp_path_factory.mktemp("watched")
    with Cluster(folder) as cluster:
        process, address = start_prometheus(folder, cluster.http)
        with running(process):
            for name in ("w1", "w2"):
                cluster.start_worker(name)
            wait_for(lambda: labels(query(address, "up == 1"), "worker") == {None, "w1", "w2"}, "the coordinator's and both workers' targets")
            yield cluster, cluster.submit(shapes_run("watched")), address


def test_both_workers_and_their_run_show(watched):
    cluster, run, address = watched
    wait_for(lambda: query(address, 'sum by (worker) (rate(rsidiff_worker_samples_total{kind="generate"}[1m])) > 0'), "samples a second of a worker")
    wait_for(lambda: query(address, "rsidiff_run_phase == 1"), "the run's phase")
    assert cluster.wait_for_run(run)["run"]["state"] == "RUN_STATE_SUCCEEDED"
    scores = wait_for(lambda: (lambda s: s if labels(s, "round") == {"0", "1", "2"} else None)(
        query(address, f'rsidiff_score_mean{{run="{run}", samples="evaluation", scorer="heldout"}}')), "scores of every round")
    assert all(-1 <= value <= 1 for value in scores.values())
    wait_for(lambda: labels(query(address, 'rsidiff_worker_busy_seconds_total{kind="generate"} > 0'), "worker") == {"w1", "w2"}, "both workers' busy time")


def test_a_workers_page_is_well_formed_and_documented(watched):
    cluster, _, _ = watched
    record = next(w for w in cluster.json("worker", "list")["workers"] if w["name"] == "w1")
    page = cluster.get("/metrics", record["capabilities"]["http_address"])
    checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    documented = (SOURCE / "docs/metrics.md").read_text()
    families = set(re.findall(r"^# TYPE (\S+)", page, re.M))
    assert families and not {name for name in families if f"`{name}`" not in documented}
    wait_until(lambda: cluster.get("/readyz", record["capabilities"]["http_address"]) is not None, 30, "the worker's readiness")
