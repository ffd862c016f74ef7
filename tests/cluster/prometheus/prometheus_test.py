"""Debian's Prometheus, started with deploy/prometheus/prometheus.yml, finds the workers and answers queries."""
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import urllib.parse

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from processes import BIN, SOURCE, Coordinator, fake_worker, get, running, wait_for  # noqa: E402


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_prometheus(folder, coordinator_http):
    """Starts Prometheus with the delivered configuration; returns process and address."""
    text = (SOURCE / "deploy/prometheus/prometheus.yml").read_text()
    assert "127.0.0.1:7071" in text and "15s" in text and "10s" in text
    # The file as it is, but for the port and the waiting times.
    text = text.replace("127.0.0.1:7071", coordinator_http).replace("15s", "1s").replace("10s", "1s")
    (folder / "prometheus.yml").write_text(text)
    address = f"127.0.0.1:{free_port()}"
    command = [shutil.which("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
               f"--web.listen-address={address}", "--log.level=warn"]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL), address


@pytest.fixture
def cluster(tmp_path):
    """A coordinator with two workers and a run, and the address of the Prometheus that watches them."""
    with running(Coordinator(tmp_path / "data")) as coordinator:
        process, address = start_prometheus(tmp_path, coordinator.http)
        with running(process), running(fake_worker("w1", coordinator.grpc)), running(fake_worker("w2", coordinator.grpc)):
            yield coordinator, address


def query(address, expression):
    """{labels: value} of an instant query; empty while Prometheus starts."""
    try:
        answer = json.loads(get(address, "/api/v1/query?" + urllib.parse.urlencode({"query": expression})))
    except OSError:
        return {}
    assert answer["status"] == "success", answer
    return {tuple(sorted(series["metric"].items())): float(series["value"][1]) for series in answer["data"]["result"]}


def labels(series, name):
    return {dict(key).get(name) for key in series}


def test_targets_are_found_and_the_run_can_be_watched(cluster):
    coordinator, address = cluster
    up = wait_for(lambda: (lambda found: found if len(found) == 3 else None)(query(address, "up == 1")), "three targets that are up")
    assert labels(up, "job") == {"rsidiff-coordinator", "rsidiff-worker"}
    assert labels(up, "worker") == {None, "w1", "w2"}
    wait_for(lambda: query(address, 'rsidiff_workers{state="active"} == 2'), "two active workers")
    # The counters have been scraped at 0, so what follows shows as a rate.
    with running(fake_worker("w3", coordinator.grpc, 3)):
        rate = wait_for(lambda: query(address, "sum(rate(rsidiff_samples_generated_total[1m])) > 0"), "samples a second")
        assert len(rate) == 1
        wait_for(lambda: query(address, 'rsidiff_runs{state="succeeded"} == 1'), "end of the run")
        phase = wait_for(lambda: query(address, 'rsidiff_run_phase{phase="done"} == 1'), "last phase")
        assert labels(phase, "run") == {"1"}
        scores = query(address, 'rsidiff_score_mean{samples="evaluation", scorer="h"}')
        assert labels(scores, "round") == {"0", "1", "2", "3"}
        assert labels(query(address, 'rsidiff_score_mean{samples="selected"}'), "scorer") == {"a", "b"}
        # The new worker was discovered while the run went on.
        wait_for(lambda: "w3" in labels(query(address, "up == 1"), "worker"), "third worker's target")
