"""Debian's Prometheus watches a real run by two real workers; a worker's page passes promtool and is documented."""
import re
import subprocess

import pytest

from cluster import Cluster, shapes_run
from processes import SOURCE, wait_until
from prometheus_server import labels, query, start_prometheus


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """The cluster, its run, and the address of the Prometheus that watches them."""
    folder = tmp_path_factory.mktemp("watched")
    with Cluster(folder) as cluster:
        process, address = start_prometheus(folder, cluster.http)
        with process:
            for name in ("w1", "w2"):
                cluster.start_worker(name)
            wait_until(lambda: labels(query(address, "up == 1"), "worker") == {None, "w1", "w2"}, 60, "the coordinator's and both workers' targets")
            yield cluster, cluster.submit(shapes_run("watched")), address


def test_both_workers_and_their_run_show(watched):
    cluster, run, address = watched

    def shown(expression, label):
        return labels(query(address, expression), label)

    rate = 'sum by (worker) (rate(rsidiff_worker_samples_total{kind="generate"}[1m])) > 0'
    wait_until(lambda: query(address, rate), 60, "samples a second of a worker")
    wait_until(lambda: query(address, "rsidiff_run_phase == 1"), 60, "the run's phase")
    assert cluster.wait_for_run(run)["run"]["state"] == "RUN_STATE_SUCCEEDED"
    mean = f'rsidiff_score_mean{{run="{run}", samples="evaluation", scorer="heldout"}}'
    wait_until(lambda: shown(mean, "round") == {"0", "1", "2"}, 60, "scores of every round")
    assert all(-1 <= value <= 1 for value in query(address, mean).values())
    busy = 'rsidiff_worker_busy_seconds_total{kind="generate"} > 0'
    wait_until(lambda: shown(busy, "worker") == {"w1", "w2"}, 60, "both workers' busy time")


def test_a_workers_page_is_well_formed_and_documented(watched):
    cluster, _, _ = watched
    page = cluster.worker_page("w1", "/metrics")
    checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    documented = (SOURCE / "docs/metrics.md").read_text()
    families = set(re.findall(r"^# TYPE (\S+)", page, re.M))
    assert families and not {name for name in families if f"`{name}`" not in documented}
    wait_until(lambda: cluster.worker_page("w1", "/readyz"), 30, "the worker's readiness")
