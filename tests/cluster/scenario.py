"""Takes a cluster of real processes through a scenario file (scenarios/*.yaml).

A scenario names a workload and lists, a line each, what is done to whom and what is waited for; README.md beside
the files gives the lines. Whatever happens, the run has to finish with what one undisturbed worker makes of it.
"""
import random
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import yaml
from safetensors.numpy import load_file

from cluster import SHAPES, Cluster, shapes_run
from network import Network, why_impossible
from processes import wait_until
from processes import wait_until

FOLDER = Path(__file__).parent / "scenarios"
PATIENCE = 180

# `solo`: one member trains, so the weights, and with them every later picture, are the same bits however many workers
# there are. `gang`: every worker trains; what is drawn before the training is the same bits, the weights are close.
WORKLOADS = {
    "solo": shapes_run("solo", workers={"train_max": 1}),
    "gang": shapes_run(
        "gang", rounds=1, train={"steps": 40, "global_batch": 8, "micro_batch": 2, "checkpoint_every": 10}
    ),
    # As solo, with tasks that last long enough to be interrupted.
    "slow": shapes_run(
        "slow", rounds=1, workers={"train_max": 1}, sampling={"steps": 60}, train={"steps": 120, "micro_batch": 1}
    ),
}
# Of a gang's change of the weights: how far, as a share of the change's norm, another order of the fp32 sums may
# lead it from the change that one worker makes. AdamW divides by the gradient's own size, so the error of a sum near
# zero grows to a whole step of that parameter; over all parameters it stays far below this.
WEIGHT_TOLERANCE = 0.02


class Skipped(Exception):
    """This machine cannot play the scenario; the text says why."""


def load(path):
    scenario = yaml.safe_load(Path(path).read_text())
    unknown = set(scenario) - {"about", "set", "run", "steps", "churn", "then", "network"}
    assert not unknown, f"{path}: unknown keys {sorted(unknown)}"
    assert scenario["run"] in WORKLOADS and scenario["set"] in ("default", "long"), path
    return scenario


class Stage:
    """A running cluster, its run, and the lines of a scenario as methods."""

    def __init__(self, cluster, network=None):
        self.cluster = cluster
        self.network = network
        self.run = None

    # --- what is done

    def line(self, text):
        """One line of a scenario: a method's name and its arguments."""
        verb, *words = text.split()
        getattr(self, "do_" + verb)(*words)

    def do_start(self, name, *rest):
        """`start W`, `start W stopping at POINT`, `start W apart` (in a network of its own)."""
        if name == "coordinator":
            return self.cluster.start_coordinator()
        environment, launcher = {}, []
        if rest[:2] == ("stopping", "at"):
            environment["RSIDIFF_FAULT"] = f"{rest[2]}:1:stop"
        elif rest == ("apart",):
            launcher = self.network.launcher
        else:
            assert not rest, rest
        arguments = ["--artifacts", "stream"] if launcher else []
        self.cluster.start_worker(name, *arguments, environment=environment, launcher=launcher)

    def process(self, name):
        return self.cluster.coordinator if name == "coordinator" else self.cluster.workers[name]

    def do_kill(self, name):
        self.process(name).kill()

    def do_pause(self, name):
        self.process(name).pause()

    def do_resume(self, name):
        self.process(name).resume()

    def do_terminate(self, name):
        self.process(name).send(signal.SIGTERM)

    def do_drain(self, name, *deadline):
        """`drain W`, `drain W 2s`: by the command line, once the coordinator knows W."""
        wait_until(lambda: any(w["name"] == name for w in self.cluster.json("worker", "list")["workers"]), 60, f"{name}'s registration")
        self.cluster.run("worker", "drain", name, *(["--deadline", *deadline] if deadline else []))

    def do_cut(self, _name):
        self.network.cut()

    def do_mend(self, _name):
        self.network.mend()

    # --- what is waited for

    def do_wait(self, what, *words):
        getattr(self, "wait_" + what)(*words)

    def wait_stopped(self, name):
        """Until the process stands at its `stopping at` point."""
        stat = Path(f"/proc/{self.process(name).popen.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", PATIENCE, f"{name} to stop")

    def wait_state(self, name, state):
        """`wait state W lost`: as the coordinator has it."""
        wanted = f"WORKER_STATE_{state.upper()}"
        wait_until(lambda: self.cluster.worker(name)["state"] == wanted, PATIENCE, f"{name} to be {state}")

    def wait_log(self, name, *words):
        """Until the process has written the words."""
        text = " ".join(words)
        wait_until(lambda: text in self.process(name).text(), PATIENCE, f"{text!r} in {name}'s log")

    def wait_samples(self, number):
        """Until so many samples of the run have been drawn."""
        wait_until(lambda: self.ended() or self.drawn() >= int(number), PATIENCE, f"{number} samples")

    def wait_step(self, number):
        """Until the first training has applied so many steps, or is over."""
        wait_until(lambda: self.step() >= int(number), PATIENCE, f"training step {number}")

    def wait_seconds(self, number):
        time.sleep(float(number))

    def wait_end(self, name, code):
        """`wait end W 0`: the process ends by itself, with that exit code."""
        ended = self.process(name).wait(PATIENCE)
        assert ended == int(code), f"{name} ended with {ended}, not {code}: {self.process(name).text()[-2000:]}"

    def do_expect(self, what, number):
        """`expect fenced 1`: at least so many results were refused; `expect lost 0`: just so many leases ran out."""
        metrics = self.cluster.metrics()
        if what == "fenced":
            assert metrics["rsidiff_completions_fenced_total"] >= int(number)
        else:
            assert metrics["rsidiff_lease_expirations_total"] == int(number)

    # --- what the run is at

    def status(self):
        return self.cluster.status(self.run)

    def ended(self):
        return self.status()["run"]["state"] not in ("RUN_STATE_ACTIVE", "RUN_STATE_PAUSED")

    def drawn(self):
        return sum(t["samples_done"] for t in self.status()["tasks"] if t["kind"] == "TASK_KIND_GENERATE")

    def step(self):
        status = self.status()
        if any(r["round"] == 1 and r["checkpoint"] for r in status["rounds"]):
            return status["run"]["spec"]["train"]["steps"]
        return int((status.get("training") or {}).get("step", 0))


class Churn:
    """A seeded schedule of faults: the same seed gives the same acts in the same order."""

    FLEET = 5

    def __init__(self, stage, seed, acts, pause):
        self.stage = stage
        self.random = random.Random(seed)
        self.acts = acts
        self.pause = pause
        self.started = 0

    def play(self):
        while len(self.alive()) < self.FLEET:
            self.join()
        for _ in range(self.acts):
            time.sleep(self.random.uniform(*self.pause))
            getattr(self, self.random.choice(["kill", "stand_still", "drain", "terminate", "restart_coordinator"]))()
            while len(self.alive()) < self.random.randint(2, self.FLEET):
                self.join()

    def alive(self):
        return [name for name, worker in self.stage.cluster.workers.items() if worker.alive]

    def join(self):
        self.started += 1
        self.stage.do_start(f"w{self.started}")

    def victim(self):
        return self.random.choice(self.alive())

    def kill(self):
        self.stage.do_kill(self.victim())

    def stand_still(self):
        """Longer than its leases last, or shorter."""
        name = self.victim()
        self.stage.do_pause(name)
        time.sleep(self.random.choice([0.5, self.stage.cluster.lease_ttl + 1.5]))
        self.stage.do_resume(name)

    def drain(self):
        name = self.victim()
        registered = any(w["name"] == name for w in self.stage.cluster.json("worker", "list")["workers"])
        if registered:
            self.stage.do_drain(name, f"{self.random.randint(1, 4)}s")

    def terminate(self):
        self.stage.do_terminate(self.victim())

    def restart_coordinator(self):
        self.stage.do_kill("coordinator")
        time.sleep(self.random.uniform(0, 1))
        self.stage.do_start("coordinator")


def play(scenario, folder):
    """Plays the scenario to the run's end; returns what the run came to. Raises Skipped."""
    reason = why_impossible() if scenario.get("network") else None
    if reason:
        raise Skipped(reason)
    with ExitStack() as stack:
        network = stack.enter_context(Network("worker")) if scenario.get("network") else None
        cluster = Cluster(folder)
        if network:
            cluster.address = f"{network.outside}:0"
        stack.enter_context(cluster)
        stage = Stage(cluster, network)
        stage.run = cluster.submit(WORKLOADS[scenario["run"]])
        for text in scenario.get("steps", []):
            stage.line(text)
        if "churn" in scenario:
            Churn(stage, **scenario["churn"]).play()
        cluster.wait_for_run(stage.run)
        for text in scenario.get("then", []):
            stage.line(text)
        return Outcome(cluster, stage.run)


class Outcome:
    """What a run came to, read while its cluster still runs."""

    def __init__(self, cluster, run):
        self.status = cluster.status(run)
        assert self.status["run"]["state"] == "RUN_STATE_SUCCEEDED", (self.status["run"], self.status["last_error"])
        self.rounds = self.status["run"]["spec"]["rounds"]
        self.samples = {}
        for number in range(self.rounds + 1):
            for evaluation in (False, True):
                if number > 0 or evaluation:
                    records = cluster.samples(run, number, evaluation)
                    assert [s["index"] for s in records] == list(range(len(records))), "a sample is missing or doubled"
                    self.samples[number, evaluation] = [self.essence(sample) for sample in records]
        last = next(r for r in self.status["rounds"] if r["round"] == self.rounds)
        self.checkpoints = [r["checkpoint"] for r in self.status["rounds"]]
        self.weights = load_file(cluster.data / "artifacts" / last["checkpoint"][:2] / last["checkpoint"])

    @staticmethod
    def essence(sample):
        """All of a sample but who drew it, where, and under which run's id."""
        return {key: value for key, value in sample.items() if key not in ("id", "worker", "environment")}

    def assert_same(self, reference, bits):
        """`bits`: every round's; else those drawn before the training, and weights within WEIGHT_TOLERANCE."""
        compared = [key for key in reference.samples if bits or key in ((0, True), (1, False))]
        for key in compared:
            assert self.samples[key] == reference.samples[key], f"samples of (round, evaluation) {key} differ"
        if bits:
            assert self.checkpoints == reference.checkpoints
        else:
            assert self.distance(reference) <= WEIGHT_TOLERANCE

    def distance(self, reference):
        """How far the weights are from the reference's, as a share of the norm of the reference's change."""
        base = load_file(SHAPES / "base/unet/diffusion_pytorch_model.safetensors")
        square = lambda a, b: sum(float(np.square(a[n].astype(np.float64) - b[n]).sum()) for n in base)
        return (square(self.weights, reference.weights) / square(reference.weights, base)) ** 0.5
