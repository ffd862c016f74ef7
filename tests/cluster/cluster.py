"""A cluster of real processes for tests: one coordinator, any number of workers, and the command line.

Every process listens on a free port of 127.0.0.1 and writes into one folder. Leaving the `with` block ends
whatever still runs; a test that fails shows the processes' logs.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

BIN = Path(os.environ["RSIDIFF_BIN"])
SOURCE = Path(os.environ["RSIDIFF_SOURCE"])
SHAPES = SOURCE / "deploy/examples/shapes"
ENDED = ("RUN_STATE_SUCCEEDED", "RUN_STATE_FAILED", "RUN_STATE_CANCELLED")


class Process:
    """A running program whose output goes to a file."""

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

    @property
    def alive(self):
        return self.popen.poll() is None

    def send(self, number):
        if self.alive:
            self.popen.send_signal(number)

    def kill(self):
        """As the kernel or a power cut would end it."""
        self.send(signal.SIGKILL)
        self.popen.wait()

    def pause(self):
        self.send(signal.SIGSTOP)

    def resume(self):
        self.send(signal.SIGCONT)

    def terminate(self, timeout=60):
        """Asks politely; returns the exit code."""
        self.send(signal.SIGTERM)
        return self.popen.wait(timeout)

    def wait(self, timeout=60):
        return self.popen.wait(timeout)

    def text(self):
        return self.log.read_text(errors="replace")


class Cluster:
    def __init__(self, folder, lease_ttl=3):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lease_ttl = lease_ttl
        self.coordinator = None
        self.workers = {}
        self.address = "127.0.0.1:0"
        self.http = "127.0.0.1:0"

    def __enter__(self):
        self.start_coordinator()
        return self

    def __exit__(self, kind, value, traceback):
        for process in [*self.workers.values(), self.coordinator]:
            if process is not None:
                process.resume()
                process.kill()
        if kind is not None:
            for process in [self.coordinator, *self.workers.values()]:
                print(f"--- {process.name}\n{process.text()[-6000:]}", file=sys.stderr)

    @property
    def data(self):
        return self.folder / "data"

    def start_coordinator(self):
        """Starts it, the second time on the same ports, and waits until it is ready."""
        told = self.data / "coordinator.json"
        told.unlink(missing_ok=True)
        self.coordinator = Process(
            "coordinator",
            [BIN / "rsidiff-coordinator", "--data", self.data, "--listen", self.address, "--http", self.http]
            + ["--lease-ttl", self.lease_ttl],
            self.folder / "coordinator.log",
        )
        wait_until(lambda: told.exists() or not self.coordinator.alive, 30, "the coordinator's address file")
        assert self.coordinator.alive, self.coordinator.text()
        addresses = json.loads(told.read_text())
        self.address = addresses["grpc"].removeprefix("http://")
        self.http = addresses["http"].removeprefix("http://")
        wait_until(lambda: self.get("/readyz") is not None, 30, "the coordinator's readiness")

    def start_worker(self, name, *arguments):
        worker = Process(
            name,
            [BIN / "rsidiff-worker", "serve", "--coordinator", self.address, "--name", name, "--device", "cpu"]
            + ["--cache", self.folder / "cache", *arguments],
            self.folder / f"{name}.log",
        )
        self.workers[name] = worker
        return worker

    def get(self, path, address=None):
        """The body of an HTTP answer, None unless it is 200."""
        try:
            with urllib.request.urlopen(f"http://{address or self.http}{path}", timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            return None

    def run(self, *arguments, check=True):
        """Runs the command line; returns the finished process."""
        done = subprocess.run(
            [str(BIN / "rsidiff"), *map(str, arguments), "--coordinator", self.address],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert not check or done.returncode == 0, f"rsidiff {arguments}: {done.stdout}{done.stderr}"
        return done

    def json(self, *arguments):
        return json.loads(self.run(*arguments, "--json").stdout)

    def submit(self, spec):
        """Submits a run file given as a dictionary; returns the run's id."""
        path = self.folder / f"{spec['name']}.yaml"
        path.write_text(json.dumps(spec, indent=1))  # JSON is YAML
        return int(self.json("run", "submit", path)["run_id"])

    def status(self, run):
        return self.json("run", "show", run)

    def wait_for_run(self, run, timeout=240):
        """Waits for the run's end; returns its status."""
        wait_until(lambda: self.status(run)["run"]["state"] in ENDED, timeout, f"the end of run {run}")
        return self.status(run)

    def samples(self, run, number, evaluation=False):
        purpose = ["--evaluation"] if evaluation else []
        return self.json("samples", run, "--round", number, *purpose)["samples"]

    def worker_metrics(self, name):
        """The samples of a worker's /metrics as {"name{labels}": value}."""
        record = next(w for w in self.json("worker", "list")["workers"] if w["name"] == name)
        return parse_metrics(self.get("/metrics", record["capabilities"]["http_address"]))


def parse_metrics(text):
    found = re.findall(r"^([a-zA-Z_:][^ \n]*(?:\{[^\n]*\})?) ([^ \n]+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found if not name.startswith("#")}


def wait_until(condition, timeout, what):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        time.sleep(0.1)


def shapes_run(name, **changes):
    """A small run on the shapes model; `changes` replaces or adds keys of the run file's sections."""
    clip = {"path": str(SHAPES / "clip"), "tokenizer": str(SHAPES / "base/tokenizer"), "type": "clipscore"}
    spec = {
        "name": name,
        "seed": 7,
        "rounds": 2,
        "model": {"path": str(SHAPES / "base")},
        "prompts": {
            "train": [str(SHAPES / "prompts/train.txt")],
            "evaluation": [str(SHAPES / "prompts/eval.txt")],
            "per_round": 6,
            "evaluation_limit": 6,
        },
        "sampling": {"samples_per_prompt": 2, "steps": 4, "guidance_scale": 2.5, "scheduler": "ddim", "chunk": 4},
        "scorers": [
            {"name": "clip", **clip},
            {"name": "heldout", **clip, "path": str(SHAPES / "clip-heldout"), "role": "held_out"},
        ],
        "train": {"steps": 4, "global_batch": 4, "micro_batch": 2, "learning_rate": 1.0e-4, "checkpoint_every": 2},
    }
    for section, value in changes.items():
        spec[section] = {**spec[section], **value} if isinstance(spec.get(section), dict) else value
    return spec
