"""The real coordinator: starting, stopping, refusing, and losing nothing."""
import json
import re
import subprocess
import urllib.error

import pytest

from processes import BIN, DEADLINE, SOURCE, Coordinator, fake_worker, get, running, wait_for


def start_failing(data, grpc="127.0.0.1:0", http="127.0.0.1:0"):
    """Exit code and standard error of a coordinator that cannot start."""
    run = subprocess.run([BIN / "rsidiff-coordinator", "--data", data, "--listen", grpc, "--http", http],
                         capture_output=True, text=True, timeout=DEADLINE)
    return run.returncode, run.stderr


def value(page, series):
    found = re.search(rf"^{re.escape(series)} (\S+)$", page, re.M)
    return float(found[1]) if found else None


def test_starts_serves_and_stops(tmp_path):
    with running(Coordinator(tmp_path / "data")) as coordinator:
        assert get(coordinator.http, "/readyz") == "ready\n"
        assert json.loads(get(coordinator.http, "/sd")) == [{"targets": [coordinator.http], "labels": {"job": "rsidiff-coordinator"}}]
        assert "/metrics" in get(coordinator.http, "/")
        assert coordinator.stop() == 0
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            get(coordinator.http, "/readyz")


def test_usage_errors_are_told_apart():
    run = subprocess.run([BIN / "rsidiff-coordinator"], capture_output=True, text=True)
    assert run.returncode == 2 and "--data" in run.stderr
    help_text = subprocess.run([BIN / "rsidiff-coordinator", "--help"], capture_output=True, text=True)
    assert help_text.returncode == 0 and "Examples:" in help_text.stdout


def test_second_coordinator_on_a_folder_and_busy_ports_are_refused(tmp_path):
    with running(Coordinator(tmp_path / "data")) as coordinator:
        for data, addresses, words in [("data", {}, ["another coordinator", str(tmp_path / "data")]),
                                       ("other", {"grpc": coordinator.grpc}, ["gRPC", coordinator.grpc, "in use"]),
                                       ("other", {"http": coordinator.http}, ["HTTP", coordinator.http, "in use"])]:
            code, text = start_failing(tmp_path / data, **addresses)
            assert code == 1
            assert all(word in text for word in words), text
            assert text.count("\n") == 1, text
        assert get(coordinator.http, "/readyz") == "ready\n"


def test_unusable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    code, text = start_failing(tmp_path / "file" / "data")
    assert code == 1 and str(tmp_path / "file" / "data") in text


def test_kill_9_keeps_the_run(tmp_path):
    with running(Coordinator(tmp_path / "data")) as coordinator:
        with running(fake_worker("w", coordinator.grpc, 1)) as worker:
            assert worker.stdout.readline() == "run 1\n"
            coordinator.kill()
    with running(Coordinator(tmp_path / "data")) as coordinator:
        assert value(coordinator.metrics(), "rsidiff_coordinator_epoch") == 2
        with running(fake_worker("v", coordinator.grpc)):
            wait_for(lambda: value(coordinator.metrics(), 'rsidiff_runs{state="succeeded"}') == 1, "end of the run")
        assert coordinator.stop() == 0


def test_metrics_pass_promtool(tmp_path):
    with running(Coordinator(tmp_path / "data")) as coordinator, running(fake_worker("w", coordinator.grpc, 1)):
        wait_for(lambda: value(coordinator.metrics(), 'rsidiff_runs{state="succeeded"}') == 1, "end of the run")
        check = subprocess.run(["promtool", "check", "metrics"], input=coordinator.metrics(), capture_output=True, text=True)
        assert check.returncode == 0 and not check.stderr, check.stderr


def test_prometheus_configuration_is_valid():
    subprocess.run(["promtool", "check", "config", SOURCE / "deploy/prometheus/prometheus.yml"], check=True, stdout=subprocess.DEVNULL)


def test_file_that_cannot_grow_ends_the_service_and_loses_nothing(tmp_path):
    """As a full disk: no file may exceed 64 KiB, so the write-ahead log ends in the middle of a run."""
    limit = ["prlimit", f"--fsize={64 << 10}", "--"]
    data = tmp_path / "data"
    with running(subprocess.Popen([*limit, BIN / "rsidiff-coordinator", "--data", data, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)) as process:
        assert process.stdout.readline().startswith("serving")
        address = json.loads((data / "coordinator.json").read_text())["grpc"]
        with running(fake_worker("w", address, 50)) as worker:
            assert worker.stdout.readline() == "run 1\n"
            assert process.wait(DEADLINE) == 1
            assert worker.wait(DEADLINE) != 0
        assert "nothing unwritten was acknowledged" in process.stderr.read()
    with running(Coordinator(data)) as coordinator, running(fake_worker("w", coordinator.grpc)):
        before = value(coordinator.metrics(), 'rsidiff_run_round{run="1"}')
        assert before >= 1
        wait_for(lambda: value(coordinator.metrics(), 'rsidiff_run_round{run="1"}') > before, "progress after the disk has room again")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_log_lines_have_the_format_asked_for(tmp_path, log_format):
    coordinator = Coordinator(tmp_path / "data", "--log-format", log_format)
    assert coordinator.stop() == 0
    for line in coordinator.process.stderr.read().splitlines():
        if log_format == "json":
            assert {"time", "level", "message"} <= set(json.loads(line))
        else:
            assert re.match(r"\d{4}-\d\d-\d\dT\S+Z (info|warning)", line), line
