"""A cluster of real processes for tests: one coordinator, any number of workers, and the command line.

Every process listens on a free port of 127.0.0.1 and writes into one folder. Leaving the `with` block ends
whatever still runs; a test that fails shows the processes' logs.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from processes import BIN, SOURCE, Process, fetch, parse_metrics, wait_until

SHAPES = SOURCE / "deploy/examples/shapes"
ENDED = ("RUN_STATE_SUCCEEDED", "RUN_STATE_FAILED", "RUN_STATE_CANCELLED")


class Cluster:
    """The coordinator starts with the `with` block.

    `data` is its folder, `arguments` are added to its command line, `launcher` is a command that starts it
    (prlimit, say). All of them may be changed before it is started again.
    """

    def __init__(self, folder, *, lease_ttl=3, data=None, arguments=(), launcher=()):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data = Path(data or self.folder / "data")
        self.lease_ttl = lease_ttl
        self.arguments = [*arguments, "--lease-ttl", lease_ttl]
        self.launcher = list(launcher)
        self.coordinator = None
        self.workers = {}
        self.address = "127.0.0.1:0"
        self.http = "127.0.0.1:0"

    def __enter__(self):
        self.start_coordinator()
        return self

    def __exit__(self, kind, value, traceback):
        for process in self.processes():
            process.kill()
        if kind is not None:
            for process in self.processes():
                print(f"--- {process.name}\n{process.text()[-6000:]}", file=sys.stderr)

    def processes(self):
        """The workers, then the coordinator."""
        return [*self.workers.values(), *filter(None, [self.coordinator])]

    def start_coordinator(self):
        """Starts it, the second time on the same ports, and waits until it is ready."""
        told = self.data / "coordinator.json"
        told.unlink(missing_ok=True)
        self.coordinator = Process(
            "coordinator",
            [*self.launcher, BIN / "rsidiff-coordinator", "--data", self.data]
            + ["--listen", self.address, "--http", self.http, *self.arguments],
            self.folder / "coordinator.log",
        )
        wait_until(lambda: told.exists() or not self.coordinator.alive, 30, "the coordinator's address file")
        assert self.coordinator.alive, self.coordinator.text()
        addresses = json.loads(told.read_text())
        self.address, self.http = addresses["grpc"], addresses["http"]
        wait_until(lambda: self.get("/readyz") or not self.coordinator.alive, 30, "the coordinator's readiness")
        assert self.coordinator.alive, self.coordinator.text()

    def start_worker(self, name, *arguments, environment=None, launcher=()):
        worker = Process(
            name,
            [*launcher, BIN / "rsidiff-worker", "serve", "--coordinator", self.address, "--name", name]
            + ["--device", "cpu", "--cache", self.folder / "cache", *arguments],
            self.folder / f"{name}.log",
            environment,
        )
        self.workers[name] = worker
        return worker

    def start_fake_worker(self, name, rounds=None):
        """A worker without an engine; with `rounds` it first submits a run of so many, which gets id 1 if it is the first."""
        command = [BIN / "fake_worker", name, self.address, *([] if rounds is None else [rounds])]
        worker = Process(name, command, self.folder / f"{name}.log")
        self.workers[name] = worker
        if rounds is not None:
            wait_until(lambda: worker.text().startswith("run "), 30, f"{name}'s run")
        return worker

    def get(self, path):
        """A page of the coordinator; None unless the answer is 200."""
        return fetch(self.http, path)

    def metrics(self):
        """The samples of the coordinator's /metrics as {"name{labels}": value}."""
        return parse_metrics(self.get("/metrics") or "")

    def run(self, *arguments, check=True, environment=None):
        """Runs the command line; returns the finished process."""
        done = subprocess.run(
            [str(BIN / "rsidiff"), *map(str, arguments), "--coordinator", self.address],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, **(environment or {})},
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

    def worker(self, name):
        """The coordinator's record of a worker."""
        return next(w for w in self.json("worker", "list")["workers"] if w["name"] == name)

    def worker_page(self, name, path):
        """A page of a worker; None unless the answer is 200."""
        return fetch(self.worker(name)["capabilities"]["http_address"], path)

    def worker_metrics(self, name):
        return parse_metrics(self.worker_page(name, "/metrics"))


def training_states(cluster):
    """(step, file) of each training state among the artifacts, read with safetensors itself."""
    from safetensors import safe_open

    for path in (cluster.data / "artifacts").glob("??/*"):
        try:
            with safe_open(path, "np") as file:
                metadata = file.metadata() or {}
        except Exception:
            continue
        if metadata.get("kind") == "rsidiff training state":
            yield int(metadata["step"]), path


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
