"""deploy/quickstart.sh with programs that are built already: what it makes, its ends by Ctrl-C, a second start, its options."""
import json
import os
import re
import signal
import subprocess
from contextlib import ExitStack

import pytest

from cluster import shapes_run
from processes import BIN, SOURCE, Process, fetch, wait_until

SAMPLING = {"samples_per_prompt": 2, "steps": 12, "chunk": 4}


class Quickstart(Process):
    """The script in a session of its own, as a terminal starts it."""

    def __init__(self, folder, data, *arguments):
        run_file = folder / "run.yaml"
        run_file.write_text(json.dumps(shapes_run("small", rounds=4, sampling=SAMPLING)))
        self.data = data
        script = ["setsid", "bash", SOURCE / "deploy/quickstart.sh", "--bin", BIN, "--run-file", run_file]
        count = len(list(folder.glob("*.log")))
        super().__init__("quickstart", [*script, "--rounds", 1, "--data", data, *arguments], folder / f"quickstart-{count}.log")

    def started(self):
        """Processes that work in the data folder: {pid: command line}."""
        found = {}
        for process in os.listdir("/proc"):
            try:
                command = open(f"/proc/{process}/cmdline").read().replace("\0", " ")
            except OSError:
                continue
            if process.isdigit() and str(self.data) in command and BIN.as_posix() in command.split(" ")[0]:
                found[int(process)] = command
        return found

    def started_workers(self):
        return [process for process, command in self.started().items() if "/rsidiff-worker " in command]

    def press_control_c(self):
        """SIGINT to the script and to whatever it runs in the foreground."""
        os.killpg(self.popen.pid, signal.SIGINT)

    def kill(self):
        super().kill()
        for process in self.started():
            os.kill(process, signal.SIGKILL)


@pytest.fixture
def start(tmp_path):
    with ExitStack() as stack:
        yield lambda data, *arguments: stack.enter_context(Quickstart(tmp_path, tmp_path / data, *arguments))


def stored(data):
    """Everything in the artifact store, each with its inode: a file that is written again is another, one that is only put again is not."""
    return {path.name: path.stat().st_ino for path in (data / "coordinator/artifacts").glob("??/*")}


def test_it_runs_is_interrupted_goes_on_and_skips_what_is_done(start):
    interrupted = start("first")
    wait_until(lambda: re.search(r"round +[01]", interrupted.text()), 60, "progress")
    assert len(interrupted.started()) >= 3
    refused = start("first")
    assert refused.wait() == 1
    assert f"another quickstart, or what it left running, uses {refused.data}" in refused.text()
    interrupted.press_control_c()
    assert interrupted.wait() == 130
    assert "Interrupted. Start the same command again to go on." in interrupted.text()
    assert interrupted.started() == {}
    kept = stored(interrupted.data)

    again, beside = start("first"), start("second")
    for quickstart in (again, beside):
        assert quickstart.wait(180) == 0, quickstart.text()
        assert "Run 1 has ended." in quickstart.text()
        assert {"run-1-best", "run-1-grid.png", "run-1-report.html"} <= {path.name for path in quickstart.data.iterdir()}
        assert quickstart.started() == {}
    done = stored(again.data)
    assert kept.items() <= done.items()

    third = start("first")
    assert third.wait(60) == 0, third.text()
    assert "Run 1 has ended." in third.text()
    assert stored(third.data) == done


def test_a_signal_to_the_script_alone_stops_everything(start):
    alone = start("alone")
    wait_until(lambda: re.search(r"round +[01]", alone.text()), 60, "progress")
    os.kill(alone.popen.pid, signal.SIGTERM)
    assert alone.wait() == 130
    assert alone.started() == {}
    with pytest.raises(ProcessLookupError):
        os.killpg(alone.popen.pid, 0)


def test_a_second_control_c_kills_what_does_not_stop(start):
    twice = start("twice")
    wait_until(lambda: re.search(r"round +[01]", twice.text()), 60, "progress")
    stuck, _ = twice.started_workers()
    os.kill(stuck, signal.SIGSTOP)
    twice.press_control_c()
    wait_until(lambda: "Ctrl-C again kills what has not stopped yet." in twice.text(), 30, "the answer")
    twice.press_control_c()
    assert twice.wait() == 130
    assert twice.started() == {}


def test_one_worker_one_round_and_all_left_running(start):
    kept = start("kept", "--workers", 1, "--keep-running")
    assert kept.wait(180) == 0, kept.text()
    assert re.search(r"\bround 1/1\b", kept.text())  # the run file says 4
    running = kept.started()
    told = [int(process) for process in re.search(r"stop with: kill ([\d ]+)\)", kept.text())[1].split()]
    assert sorted(told) == sorted(running) and len(running) == 2
    assert len(kept.started_workers()) == 1

    grpc, http = re.search(r"coordinator +(\S+), metrics and health at http://(\S+)", kept.text()).groups()
    assert fetch(http, "/healthz") is not None
    listed = subprocess.run([BIN / "rsidiff", "worker", "list", "--json", "--coordinator", grpc], check=True, capture_output=True, text=True)
    assert [worker["name"] for worker in json.loads(listed.stdout)["workers"]] == ["worker-1"]

    for process in told:
        os.kill(process, signal.SIGTERM)
    wait_until(lambda: kept.started() == {}, 30, "the end of what was left running")


def test_wrong_options_are_named(start):
    for arguments, words in [(["--workers", "two"], "'two' is not a number"), (["--wrong"], "unknown option '--wrong'")]:
        refused = start("unused", *arguments)
        assert refused.wait() == 2
        assert words in refused.text()
        assert not refused.data.exists()
