"""Training over real processes: members come, leave, die and stand still; the coordinator is away; checkpoints are damaged.

The single steps of it, with every rank killed and stopped at every point, are in tests/unit/worker/train.
"""
import pytest

from cluster import Cluster, shapes_run, training_states
from processes import fetch, parse_metrics, wait_until
from scenario import Outcome

STEPS = 60
EVERY = 10  # steps between checkpoints
SPEC = shapes_run(
    "elastic",
    rounds=1,
    train={
        "steps": STEPS,
        "global_batch": 12,
        "micro_batch": 1,
        "checkpoint_every": EVERY,
        "operation_timeout": 4,
    },
)
PATIENCE = 120


class Training:
    """A cluster with one run; what its training is at."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.run = cluster.submit(SPEC)

    def progress(self):
        return self.cluster.status(self.run).get("training") or {}

    def await_members(self, number):
        wait_until(lambda: self.progress().get("members") == number, PATIENCE, f"{number} members")

    def await_step(self, step):
        wait_until(lambda: int(self.progress().get("step", 0)) >= step, PATIENCE, f"step {step}")

    def generation(self):
        return int(self.progress().get("generation", 0))

    def checkpoint_step(self):
        return int(self.progress().get("checkpoint_step", 0))

    def finish(self, reference):
        self.cluster.wait_for_run(self.run)
        outcome = Outcome(self.cluster, self.run)
        summary = next(r for r in outcome.status["rounds"] if r["round"] == 1)["train"]
        assert summary["steps"] == STEPS
        outcome.assert_same(reference, bits=False)
        return summary

    def worker_metric(self, name, metric):
        return self.cluster.worker_metrics(name)[f"rsidiff_worker_training_{metric}"]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """What one worker that nothing happens to makes of it."""
    with Cluster(tmp_path_factory.mktemp("reference")) as cluster:
        cluster.start_worker("lone")
        run = cluster.submit(SPEC)
        cluster.wait_for_run(run)
        return Outcome(cluster, run)


def test_planned_changes_lose_no_step(reference, tmp_path):
    """One member, three, one: first the founder leaves, who has rank 0, the store and the checkpoints."""
    with Cluster(tmp_path) as cluster:
        founder = cluster.start_worker("a")
        training = Training(cluster)
        training.await_step(1)
        cluster.start_worker("b")
        cluster.start_worker("c")
        training.await_members(3)
        for name in ("a", "b"):
            cluster.run("worker", "drain", name)
            assert cluster.workers[name].wait() == 0
        assert founder.text().count("registered as") == 1
        summary = training.finish(reference)
        assert summary["generations"] >= 4
        for worker in cluster.workers.values():
            assert "broke after step" not in worker.text()
        assert training.worker_metric("c", 'regroups_total{cause="failure"}') == 0
        assert training.worker_metric("c", 'regroups_total{cause="planned"}') >= 2


def test_a_stopped_founder_is_left_behind_and_fenced(reference, tmp_path):
    with Cluster(tmp_path) as cluster:
        founder = cluster.start_worker("a")
        training = Training(cluster)
        training.await_step(1)
        others = [cluster.start_worker(name) for name in ("b", "c")]
        training.await_members(3)
        # Before their first step they would not lose a member, but wait for one that never joins.
        for name in ("b", "c"):
            wait_until(lambda: training.worker_metric(name, "step") > 0, PATIENCE, f"a step of {name}")
        before = training.generation()
        founder.pause()
        # Its lease ends before the others' operation does, so the number of members tells nothing yet.
        wait_until(lambda: training.generation() > before, PATIENCE, "a generation without it")
        assert training.progress()["members"] == 2
        founder.resume()
        wait_until(lambda: "the lease was lost" in founder.text(), PATIENCE, "the lost lease in its log")
        training.finish(reference)
        assert all(worker.alive and worker.text().count("registered as") == 1 for worker in others)
        for name in ("b", "c"):
            assert training.worker_metric(name, 'regroups_total{cause="failure"}') == 1


def test_steps_go_on_without_the_coordinator_and_a_damaged_checkpoint_is_refused(reference, tmp_path):
    with Cluster(tmp_path) as cluster:
        members = [cluster.start_worker(name) for name in ("a", "b", "c")]
        training = Training(cluster)
        training.await_step(1)
        page = cluster.worker("b")["capabilities"]["http_address"]

        def step():
            return parse_metrics(fetch(page, "/metrics"))["rsidiff_worker_training_step"]

        cluster.coordinator.kill()
        before = step()
        wait_until(lambda: step() >= before + 5, PATIENCE, "steps without a coordinator")
        cluster.start_coordinator()
        wait_until(lambda: training.checkpoint_step() >= 2 * EVERY, PATIENCE, "two checkpoints")
        assert all("broke after step" not in member.text() for member in members)
        for member in members:
            member.kill()
        last = training.checkpoint_step()
        state = dict(training_states(cluster))[last]
        state.write_bytes(state.read_bytes()[:-1000])

        cluster.start_worker("d")
        training.finish(reference)
        assert f"the checkpoint of step {last} is refused" in cluster.workers["d"].text()
        assert cluster.metrics()["rsidiff_train_checkpoints_refused_total"] == 1
        resumed = STEPS - training.worker_metric("d", "steps_total")
        assert 0 < resumed < last and resumed % EVERY == 0
