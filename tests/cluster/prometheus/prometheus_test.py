"""Debian's Prometheus, started with deploy/prometheus/prometheus.yml, finds the workers and answers queries; its alerts."""
import json
import pathlib
import re
import subprocess

import pytest

from cluster import Cluster
from processes import SOURCE, fetch, wait_until
from prometheus_server import labels, query, start_prometheus


@pytest.fixture
def watched(tmp_path):
    """A coordinator with two workers, and the address of the Prometheus that watches them."""
    with Cluster(tmp_path) as cluster:
        process, address = start_prometheus(tmp_path, cluster.http)
        with process:
            cluster.start_fake_worker("w1")
            cluster.start_fake_worker("w2")
            yield cluster, address


def alerts(address):
    return json.loads(fetch(address, "/api/v1/rules"))["data"]["groups"][0]["rules"]


def test_targets_are_found_and_the_run_can_be_watched(watched):
    cluster, address = watched
    wait_until(lambda: len(query(address, "up == 1")) == 3, 60, "three targets that are up")
    up = query(address, "up")
    assert labels(up, "job") == {"rsidiff-coordinator", "rsidiff-worker"}
    assert labels(up, "worker") == {None, "w1", "w2"}
    wait_until(lambda: query(address, 'rsidiff_workers{state="active"} == 2'), 60, "two active workers")
    # The counters have been scraped at 0, so what follows shows as a rate.
    cluster.start_fake_worker("w3", rounds=3)
    rate = wait_until(lambda: query(address, "sum(rate(rsidiff_samples_generated_total[1m])) > 0"), 60, "samples a second")
    assert len(rate) == 1
    wait_until(lambda: query(address, 'rsidiff_runs{state="succeeded"} == 1'), 60, "the end of the run")
    phase = wait_until(lambda: query(address, 'rsidiff_run_phase{phase="done"} == 1'), 60, "the last phase")
    assert labels(phase, "run") == {"1"}
    scores = query(address, 'rsidiff_score_mean{samples="evaluation", scorer="h"}')
    assert labels(scores, "round") == {"0", "1", "2", "3"}
    assert labels(query(address, 'rsidiff_score_mean{samples="selected"}'), "scorer") == {"a", "b"}
    wait_until(lambda: {rule["health"] for rule in alerts(address)} == {"ok"}, 60, "alerts that have been evaluated")
    firing = {rule["name"] for rule in alerts(address) if rule["state"] == "firing"}
    assert firing <= {"RsidiffRunCollapsed"}, "made-up scores may collapse, but nothing else is wrong"
    # The new worker was discovered while the run went on.
    wait_until(lambda: "w3" in labels(query(address, "up == 1"), "worker"), 60, "the third worker's target")


def test_alerts_tell_what_goes_wrong_and_nothing_else():
    tested = subprocess.run(["promtool", "test", "rules", pathlib.Path(__file__).with_name("alerts.yml")], capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    rules = (SOURCE / "deploy/prometheus/alerts.yml").read_text()
    operations, metrics = ((SOURCE / "docs" / name).read_text() for name in ("operations.md", "metrics.md"))
    for alert in re.findall(r"alert: (\w+)", rules):
        assert f"`{alert}`" in operations, f"docs/operations.md does not say what to do about {alert}"
    for metric in re.findall(r"rsidiff_\w+", rules):
        assert f"`{metric}`" in metrics, f"docs/metrics.md has no {metric}"
