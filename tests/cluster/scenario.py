"""Takes a cluster of real processes through a scenario file (scenarios/*.yaml).

A scenario names a workload and lists, a line each, what is done to whom and what is waited for; README.md beside
the files gives the lines. Whatever happens, the run has to finish with what one undisturbed worker makes of it.
"""
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import yaml
from safetensors.numpy import load_file

from cluster import SHAPES, Cluster, shapes_run
from network import Network, why_impossible
from processes import parse_metrics, wait_until
from scenario_churn import churn

FOLDER = Path(__file__).parent / "scenarios"
PATIENCE = 180
UNDER_WAY = ("RUN_STATE_ACTIVE", "RUN_STATE_PAUSED")

# `solo`: one member trains, so the weights, and with them every later picture, are the same bits however many workers
# there are. `gang`: every worker trains; what is drawn before the training is the same bits, the weights are close.
WORKLOADS = {
    "solo": shapes_run("solo", workers={"train_max": 1}),
    "gang": shapes_run(
        "gang", rounds=1, train={"steps": 40, "global_batch": 8, "micro_batch": 2, "checkpoint_every": 10}
    ),
    # As solo and as gang, for schedules of many acts.
    "long": shapes_run("long", rounds=5, workers={"train_max": 1}),
    "long-gang": shapes_run(
        "long-gang", rounds=1, train={"steps": 120, "global_batch": 8, "micro_batch": 2, "checkpoint_every": 10}
    ),
    # As solo, with every kind of task: the training prompts are filtered by their embeddings, and by nothing else.
    "filtered": shapes_run(
        "filtered",
        workers={"train_max": 1},
        prompts={"filter": {"clarity": 0, "specificity": 0, "diversity": 0, "embedding_distance": 0.02}},
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
GANGS = ("gang", "long-gang")


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

    def __init__(self, cluster, run=None, network=None):
        self.cluster = cluster
        self.network = network
        self.run = run
        self.whole_rounds = {}  # samples of the rounds that are done

    # --- what is done

    def line(self, text):
        """One line of a scenario: a method's name and its arguments."""
        verb, *words = text.split()
        getattr(self, "do_" + verb)(*words)

    def act(self, text):
        """A line that is only worth something while the run is under way."""
        # Without a coordinator the run does not end, and nobody tells its state.
        if self.cluster.coordinator.alive:
            state = self.status()["run"]["state"]
            assert state in UNDER_WAY, f"{state} before '{text}'"
        self.line(text)

    def do_start(self, name, *words):
        """`start W`; `apart` adds a network of its own, `stopping at POINT` a stop."""
        if name == "coordinator":
            return self.cluster.start_coordinator()
        environment, launcher, arguments = {}, [], []
        if words[:1] == ("apart",):
            launcher = self.network.launcher
            arguments = ["--artifacts", "stream", "--http", f"{self.network.inside}:0"]
            words = words[1:]
        if words[:2] == ("stopping", "at"):
            environment["RSIDIFF_FAULT"] = f"{words[2]}:1:stop"
            words = words[3:]
        assert not words, words
        self.cluster.start_worker(name, *arguments, environment=environment, launcher=launcher)

    def process(self, name):
        return self.cluster.coordinator if name == "coordinator" else self.cluster.workers[name]

    def do_kill(self, name):
        self.process(name).kill()

    def do_pause(self, name):
        """A process stands still; `pause run`: no new work is given out."""
        if name == "run":
            self.cluster.run("run", "pause", self.run)
        else:
            self.process(name).pause()

    def do_resume(self, name):
        if name == "run":
            self.cluster.run("run", "resume", self.run)
        else:
            self.process(name).resume()

    def do_terminate(self, name):
        self.process(name).send(signal.SIGTERM)

    def do_drain(self, name, *deadline):
        """`drain W`, `drain W 2s`: by the command line, once the coordinator knows W."""
        wait_until(lambda: self.state(name), PATIENCE, f"{name}'s registration")
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
        wait_until(lambda: self.state(name) == wanted, PATIENCE, f"{name} to be {state}")

    def wait_log(self, name, *words):
        """Until the process has written the words."""
        text = " ".join(words)
        wait_until(lambda: text in self.process(name).text(), PATIENCE, f"{text!r} in {name}'s log")

    def wait_samples(self, number):
        """Until so many samples of the run have been drawn; some have to be left."""
        wait_until(lambda: self.drawn() >= int(number), PATIENCE, f"{number} samples")

    def wait_step(self, number):
        """Until the first training has applied so many steps; some have to be left."""
        wait_until(lambda: int(self.training().get("step", 0)) >= int(number), PATIENCE, f"training step {number}")

    def wait_members(self, number):
        """Until so many workers, no more, are in the first training, which has to be under way."""
        wait_until(lambda: self.training().get("members") == int(number), PATIENCE, f"{number} members")

    def wait_outcome(self, name, kind, outcome, number):
        """`wait outcome W generate fenced 1`: so many of W's leases on such tasks have ended so, as W has it."""
        wait_until(
            lambda: self.outcomes(name, kind, outcome) >= int(number), PATIENCE, f"{number} {outcome} {kind} of {name}"
        )

    def wait_seconds(self, number):
        time.sleep(float(number))

    def wait_end(self, name, code):
        """`wait end W 0`: the process ends by itself, with that exit code."""
        ended = self.process(name).wait(PATIENCE)
        assert ended == int(code), f"{name} ended with {ended}, not {code}: {self.process(name).text()[-2000:]}"

    # --- what has to hold

    def do_expect(self, what, *words):
        getattr(self, "expect_" + what)(*words)

    def expect_lost(self, number):
        """Just so many leases ran out since the coordinator's start."""
        assert self.cluster.metrics()["rsidiff_lease_expirations_total"] == int(number)

    def expect_returned(self, number):
        """At least so many tasks were given back by workers since the coordinator's start."""
        assert self.cluster.metrics()["rsidiff_tasks_returned_total"] >= int(number)

    def expect_generations(self, number):
        """The first training had at least so many memberships."""
        summary = next(r for r in self.status()["rounds"] if r["round"] == 1)["train"]
        assert summary["generations"] >= int(number), summary

    def expect_once(self, kind):
        """`expect once generate`: every chunk was drawn once, by the workers that are there, and no result refused."""
        assert kind == "generate", kind
        spec = self.status()["run"]["spec"]
        sizes = [len(self.cluster.samples(self.run, *which)) for which in drawings(spec["rounds"])]
        chunks = sum(-(-size // spec["sampling"]["chunk"]) for size in sizes)
        names = [name for name, worker in self.cluster.workers.items() if worker.alive]
        outcomes = {name: [self.outcomes(name, kind, of) for of in ("done", "fenced")] for name in names}
        assert all(fenced == 0 for _, fenced in outcomes.values()), outcomes
        assert sum(done for done, _ in outcomes.values()) == chunks, (chunks, outcomes)

    # --- what the run and its workers are at

    def status(self):
        return self.cluster.status(self.run)

    def state(self, name):
        """A worker's state as the coordinator has it; None before it has registered."""
        workers = self.cluster.json("worker", "list")["workers"]
        return next((w["state"] for w in workers if w["name"] == name), None)

    def outcomes(self, name, kind, outcome):
        """How many of the worker's leases on tasks of the kind ended so, by its own metrics."""
        metrics = parse_metrics(self.cluster.worker_page(name, "/metrics") or "")
        return metrics.get(f'rsidiff_worker_tasks_total{{kind="{kind}",outcome="{outcome}"}}', 0)

    def drawn(self):
        """Samples drawn so far; the run has to be under way."""
        status = self.status()
        assert status["run"]["state"] in UNDER_WAY, status["run"]["state"]
        for number in (r["round"] for r in status["rounds"] if r["phase"] == "ROUND_PHASE_DONE"):
            if number not in self.whole_rounds:
                which = [which for which in drawings(number) if which[0] == number]
                self.whole_rounds[number] = sum(len(self.cluster.samples(self.run, *one)) for one in which)
        open_rounds = sum(t["samples_done"] for t in status["tasks"] if t["kind"] == "TASK_KIND_GENERATE")
        return sum(self.whole_rounds.values()) + open_rounds

    def training(self):
        """What the first training is at, {} before its first membership. It must not be over."""
        status = self.status()
        over = any(r["round"] == 1 and r["checkpoint"] for r in status["rounds"])
        assert not over, "the first training is over"
        return status.get("training") or {}


def drawings(rounds):
    """(round, evaluation) of everything that a run of so many rounds draws."""
    return [(n, evaluation) for n in range(rounds + 1) for evaluation in (False, True) if n > 0 or evaluation]


def steps_of(scenario):
    """Its lines, with those of its churn, while the run is under way."""
    return [*scenario.get("steps", []), *(churn(**scenario["churn"]) if "churn" in scenario else [])]


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
        stage = Stage(cluster, cluster.submit(WORKLOADS[scenario["run"]]), network)
        for text in steps_of(scenario):
            stage.act(text)
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
        for which in drawings(self.rounds):
            records = cluster.samples(run, *which)
            assert [s["index"] for s in records] == list(range(len(records))), "a sample is missing or doubled"
            self.samples[which] = [self.essence(sample) for sample in records]
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
