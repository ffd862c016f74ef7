"""The real coordinator: starting, stopping, refusing, and losing nothing."""
import json
import re
import subprocess

import pytest

from cluster import Cluster
from processes import BIN, SOURCE, wait_until

SUCCEEDED = 'rsidiff_runs{state="succeeded"}'
ROUND = 'rsidiff_run_round{run="1"}'


def start_failing(data, grpc="127.0.0.1:0", http="127.0.0.1:0"):
    """Exit code and standard error of a coordinator that cannot start."""
    command = [BIN / "rsidiff-coordinator", "--data", data, "--listen", grpc, "--http", http]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return run.returncode, run.stderr


def test_starts_serves_and_stops(tmp_path):
    with Cluster(tmp_path) as cluster:
        assert cluster.get("/readyz") == "ready\n"
        assert json.loads(cluster.get("/sd")) == [{"targets": [cluster.http], "labels": {"job": "rsidiff-coordinator"}}]
        assert "/metrics" in cluster.get("/")
        assert cluster.coordinator.terminate() == 0
        assert cluster.get("/readyz") is None


def test_usage_errors_are_told_apart():
    run = subprocess.run([BIN / "rsidiff-coordinator"], capture_output=True, text=True)
    assert run.returncode == 2 and "--data" in run.stderr
    help_text = subprocess.run([BIN / "rsidiff-coordinator", "--help"], capture_output=True, text=True)
    assert help_text.returncode == 0 and "Examples:" in help_text.stdout


def test_second_coordinator_on_a_folder_and_busy_ports_are_refused(tmp_path):
    with Cluster(tmp_path) as cluster:
        for data, addresses, words in [("data", {}, ["another coordinator", str(tmp_path / "data")]),
                                       ("other", {"grpc": cluster.address}, ["gRPC", cluster.address, "in use"]),
                                       ("other", {"http": cluster.http}, ["HTTP", cluster.http, "in use"])]:
            code, text = start_failing(tmp_path / data, **addresses)
            assert code == 1
            assert all(word in text for word in words), text
            assert text.count(" error ") == 1, text
        assert cluster.get("/readyz") == "ready\n"


def test_unusable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    code, text = start_failing(tmp_path / "file" / "data")
    assert code == 1 and str(tmp_path / "file" / "data") in text


def test_kill_9_keeps_the_run(tmp_path):
    with Cluster(tmp_path) as cluster:
        worker = cluster.start_fake_worker("w", rounds=1)
        cluster.coordinator.kill()
        worker.kill()
        cluster.start_coordinator()
        assert cluster.metrics()["rsidiff_coordinator_epoch"] == 2
        cluster.start_fake_worker("v")
        wait_until(lambda: cluster.metrics().get(SUCCEEDED) == 1, 60, "the end of the run")
        assert cluster.coordinator.terminate() == 0


def test_metrics_pass_promtool(tmp_path):
    with Cluster(tmp_path) as cluster:
        cluster.start_fake_worker("w", rounds=1)
        wait_until(lambda: cluster.metrics().get(SUCCEEDED) == 1, 60, "the end of the run")
        check = subprocess.run(["promtool", "check", "metrics"], input=cluster.get("/metrics"), capture_output=True, text=True)
        assert check.returncode == 0 and not check.stderr, check.stderr


def test_prometheus_configuration_is_valid():
    subprocess.run(["promtool", "check", "config", SOURCE / "deploy/prometheus/prometheus.yml"], check=True, stdout=subprocess.DEVNULL)


def test_file_that_cannot_grow_ends_the_service_and_loses_nothing(tmp_path):
    """As a full disk: no file may exceed 64 KiB, so the write-ahead log ends in the middle of a run."""
    with Cluster(tmp_path, launcher=["prlimit", f"--fsize={64 << 10}", "--"]) as cluster:
        worker = cluster.start_fake_worker("w", rounds=50)
        assert cluster.coordinator.wait() == 1
        assert worker.wait() != 0
        assert "nothing unwritten was acknowledged" in cluster.coordinator.text()
        cluster.launcher = []
        cluster.start_coordinator()
        before = cluster.metrics()[ROUND]
        assert before >= 1
        cluster.start_fake_worker("v")
        wait_until(lambda: cluster.metrics()[ROUND] > before, 60, "progress after the disk has room again")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_log_lines_have_the_format_asked_for(tmp_path, log_format):
    with Cluster(tmp_path, arguments=["--log-format", log_format]) as cluster:
        assert cluster.coordinator.terminate() == 0
        lines = cluster.coordinator.text().splitlines()
    logged = [line for line in lines if not line.startswith("serving ")]  # that is standard output
    assert logged and len(lines) == len(logged) + 1
    for line in logged:
        if log_format == "json":
            assert {"time", "level", "message"} <= set(json.loads(line))
        else:
            assert re.match(r"\d{4}-\d\d-\d\dT\S+Z (info|warning)", line), line
