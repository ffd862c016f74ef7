"""Real programs for tests: starting and ending them, waiting for what they do, reading what they serve."""
import http.client
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

BIN = Path(os.environ["RSIDIFF_BIN"])
SOURCE = Path(os.environ["RSIDIFF_SOURCE"])


class Process:
    """A running program whose output goes to the end of a file. Leaving a `with` block kills it, if it still runs."""

    def __init__(self, name, command, log, environment=None):
        self.name = name
        self.log = Path(log)
        with open(self.log, "ab") as stream:
            self.popen = subprocess.Popen(
                [str(part) for part in command],
                stdout=stream,
                stderr=stream,
                env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    @property
    def alive(self):
        return self.popen.poll() is None

    def send(self, number):
        if self.alive:
            self.popen.send_signal(number)

    def kill(self):
        """As the kernel or a power cut would end it; also a paused one."""
        self.send(signal.SIGKILL)
        self.popen.wait()

    def pause(self):
        self.send(signal.SIGSTOP)

    def resume(self):
        self.send(signal.SIGCONT)

    def terminate(self, timeout=60):
        """Asks politely; returns the exit code."""
        self.send(signal.SIGTERM)
        return self.wait(timeout)

    def wait(self, timeout=60):
        """Waits for the end; returns the exit code."""
        return self.popen.wait(timeout)

    def text(self):
        """Everything written so far."""
        return self.log.read_text(errors="replace")


def wait_until(condition, timeout, what):
    """Waits for the condition's first value that is true; returns it."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        time.sleep(0.1)
    return value


def fetch(address, path):
    """The body of an HTTP answer; None unless there is one and it is 200."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return answer.read().decode()
    except (OSError, http.client.HTTPException):  # the latter: it died in the middle of its answer
        return None


def parse_metrics(text):
    """The samples of a /metrics page as {"name{labels}": value}."""
    found = re.findall(r"^([a-zA-Z_:][^ \n]*(?:\{[^\n]*\})?) ([^ \n]+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found if not name.startswith("#")}


def free_port():
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
