"""A training's members as processes of train_member (Gloo over loopback); this file plays the coordinator through
files. Nothing here depends on time: a scenario waits for states, and gates hold the members where it needs them.
"""
import os
import signal
import subprocess
import time
from pathlib import Path

from safetensors.numpy import load_file

BIN = Path(os.environ["RSIDIFF_BIN"])
STEPS = 12
DEADLINE = 120  # seconds; only so that a broken build does not hang the suite


def close(a, b):
    return abs(a - b) <= 1e-5 * max(abs(a), abs(b))


class Fleet:
    """Starts members and forms generations out of those that have joined."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.generation = 0
        self.processes = {}
        self.joins = {}

    def start(self, name, *acts, fault=""):
        """`fault`: see common/base/fault_point.h."""
        args = [str(BIN / "train_member"), str(self.folder), name, str(STEPS), *map(str, acts)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "RSIDIFF_FAULT": fault}
        self.processes[name] = subprocess.Popen(args, env=environment)
        self.joins[name] = 0

    def await_true(self, what, condition):
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, f"timed out: {what}; {sorted(p.name for p in self.folder.iterdir())}"
            time.sleep(0.01)

    def await_file(self, name):
        self.await_true(name, (self.folder / name).exists)
        return (self.folder / name).read_text().split()

    def form(self, *names):
        """The next generation, in rank order, once all of them have joined again."""
        port = None
        for name in names:
            self.joins[name] += 1
            joined = self.await_file(f"join.{name}.{self.joins[name]}")
            port = port or joined[0]
        self.generation += 1
        partial = self.folder / "generation.tmp"
        partial.write_text(" ".join([str(self.generation), port, *names]))
        partial.rename(self.folder / f"generation.{self.generation}")

    def drive(self, *names):
        """Forms generations of all members that are left, as often as they ask, until all have ended."""

        def left():
            return [name for name in names if self.processes[name].poll() is None]

        def all_ask():
            waiting = left()
            asked = all((self.folder / f"join.{name}.{self.joins[name] + 1}").exists() for name in waiting)
            return not waiting or (asked and waiting == left())

        while left():
            self.await_true("an end or a regroup", all_ask)
            if left():
                self.form(*left())

    def pids(self, name):
        """The process ids under which the member ever asked to join."""
        return {int(path.read_text().split()[3]) for path in self.folder.glob(f"join.{name}.*")}

    def await_stop(self, name):
        stat = Path(f"/proc/{self.processes[name].pid}/stat")
        self.await_true(f"{name} to stop", lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")

    def close(self):
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()

    def touch(self, name):
        (self.folder / name).touch()

    def await_step(self, name, step):
        self.await_true(f"{name} at step {step}", lambda: any(s == step for _, s, _ in self.steps(name)))

    def await_death(self, name):
        assert self.processes[name].wait(timeout=DEADLINE) == -signal.SIGKILL

    def steps(self, name):
        path = self.folder / f"steps.{name}"
        lines = path.read_text().splitlines() if path.exists() else []
        fields = [line.split() for line in lines]
        return [(int(f[0]), int(f[1]), float(f[2])) for f in fields if len(f) == 3]

    def finish(self, *names):
        """Fingerprints of the members, which all must have finished."""
        results = {}
        for name in names:
            assert self.processes[name].wait(timeout=DEADLINE) == 0
            results[name] = self.await_file(f"result.{name}")
            assert results[name][:2] == ["finished", str(STEPS)]
        return {r[2] for r in results.values()}

    def weights(self, name):
        return load_file(self.folder / f"{name}.safetensors")


def check_same_training(fleet, name, alone):
    losses, weights = alone
    for _, step, loss in fleet.steps(name):
        assert close(loss, losses[step]), (name, step)
    state = fleet.weights(name)
    assert state.keys() == weights.keys()
    for key in weights:
        # Sums over the batch are taken in another order: fp32 rounding, amplified by Adam where a second
        # moment is tiny.
        assert abs(state[key] - weights[key]).max() <= 2e-4 * abs(weights[key]).max() + 1e-7, key
