"""Starts and stops the real programs for the tests of this folder."""
import contextlib
import json
import os
import pathlib
import subprocess
import time
import urllib.request

BIN = pathlib.Path(os.environ["RSIDIFF_BIN"])
SOURCE = pathlib.Path(os.environ["RSIDIFF_SOURCE"])
DEADLINE = 60  # seconds; longer than anything takes, so that a test fails and does not hang


def wait_for(condition, what):
    """The condition's first value that is true."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"no {what} within {DEADLINE} s")


def get(address, path):
    with urllib.request.urlopen(f"http://{address}{path}", timeout=DEADLINE) as answer:
        return answer.read().decode()


class Coordinator:
    """rsidiff-coordinator on free ports."""

    def __init__(self, data, *arguments, **options):
        self.data = pathlib.Path(data)
        self.process = subprocess.Popen(
            [BIN / "rsidiff-coordinator", "--data", data, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the coordinator did not start: {self.process.stderr.read()}")
        addresses = json.loads((self.data / "coordinator.json").read_text())
        self.grpc, self.http = addresses["grpc"], addresses["http"]

    def metrics(self):
        return get(self.http, "/metrics")

    def stop(self):
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(DEADLINE)

    def kill(self):
        self.process.kill()
        self.process.wait(DEADLINE)


@contextlib.contextmanager
def running(process):
    """Kills the process (Popen or Coordinator) at the end, if it still runs."""
    try:
        yield process
    finally:
        process.kill()


def fake_worker(name, address, *rounds):
    return subprocess.Popen([BIN / "fake_worker", name, address, *map(str, rounds)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
