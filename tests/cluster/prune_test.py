"""rsidiff-coordinator prune: what it removes of a run's artifacts, and that nothing misses it."""
import json
import os
import shutil
import subprocess
import time

from cluster import Cluster, shapes_run, training_states
from journal import check
from processes import BIN, wait_until

STEPS = 30
EVERY = 5
SPEC = shapes_run("prune", rounds=2, train={"steps": STEPS, "global_batch": 6, "micro_batch": 1, "checkpoint_every": EVERY})


def artifacts(cluster):
    return {path.name: path for path in (cluster.data / "artifacts").glob("??/*")}


def states_of(cluster):
    """Digests of its training states."""
    return {path.name for _, path in training_states(cluster)}


def age(cluster, hours):
    then = time.time() - 3600 * hours
    for path in artifacts(cluster).values():
        os.utime(path, (then, then))


def prune(cluster, *arguments, folder=None):
    folder = folder or cluster.data / "artifacts"
    command = [BIN / "rsidiff-coordinator", "prune", "--data", cluster.data, "--artifacts", folder, *arguments]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60)


def pruned(cluster, *arguments):
    done = prune(cluster, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_sound(cluster):
    code, found = check(cluster.data, "--artifacts", cluster.data / "artifacts", "--hash")
    assert code == 0, found


def progress(cluster, run):
    return cluster.status(run).get("training") or {}


def test_states_of_trainings_that_are_over_go_and_nothing_misses_them(tmp_path):
    with Cluster(tmp_path) as cluster:
        worker = cluster.start_worker("a")
        run = cluster.submit(SPEC)
        # In round 2's training: round 1's states are over, two of its own are needed.
        wait_until(
            lambda: cluster.status(run)["run"]["newest_round"] == 2
            and int(progress(cluster, run).get("checkpoint_step", 0)) >= 2 * EVERY,
            240, "two checkpoints of round 2")
        cluster.run("backup", "--name", "in-training")
        cluster.coordinator.kill()
        before = artifacts(cluster)
        states = states_of(cluster)
        assert len(states) >= (STEPS // EVERY - 1) + 2

        kept = pruned(cluster)
        assert kept["removed"] == {"artifacts": 0, "bytes": 0} and kept["young"]["artifacts"] > 0, "a worker may yet report them"
        age(cluster, 30)
        planned = pruned(cluster, "--dry-run")
        assert planned["removed"]["artifacts"] > 0 and artifacts(cluster) == before
        assert pruned(cluster, "--older-than", 31)["removed"]["artifacts"] == 0
        done = pruned(cluster)
        assert done["removed"] == planned["removed"]
        gone = set(before) - set(artifacts(cluster))
        assert len(gone) == done["removed"]["artifacts"]
        assert 0 < len(states - gone) <= 3, "the newest of the training, and what it may give way to"
        assert len(gone - states) == 1, "the moments that the reference was fitted to"
        assert done["named"]["artifacts"] == len(artifacts(cluster))
        assert_sound(cluster)

        # The training goes on, from its checkpoint if need be, and the run ends.
        worker.kill()
        cluster.start_worker("b")
        cluster.start_coordinator()
        status = cluster.wait_for_run(run)
        assert status["run"]["state"] == "RUN_STATE_SUCCEEDED", status["run"]["reason"]
        assert cluster.worker_metrics("b")["rsidiff_worker_training_steps_total"] < STEPS
        cluster.coordinator.kill()
        assert_sound(cluster)

        # What the backup names stays as long as the backup.
        age(cluster, 30)
        pruned(cluster)
        named_by_backup = states_of(cluster)
        assert 0 < len(named_by_backup) <= 3
        code, found = check(cluster.data / "backups/in-training", "--artifacts", cluster.data / "artifacts", "--hash")
        assert code == 0, found
        shutil.rmtree(cluster.data / "backups" / "in-training")
        pruned(cluster)
        assert not states_of(cluster)
        assert_sound(cluster)
        text = prune(cluster, "--dry-run").stdout
        assert text.startswith("would remove 0 artifacts, 0.00 GiB; kept ") and "younger than 24h" in text, text


def test_it_refuses_what_it_cannot_judge(tmp_path):
    with Cluster(tmp_path) as cluster:
        assert "another coordinator uses" in prune(cluster).stderr
        cluster.coordinator.kill()
    stray = cluster.data / "artifacts" / "ab" / ("ab" * 32)
    stray.parent.mkdir()
    stray.write_text("nobody names it")
    age(cluster, 1000)

    def refused(*arguments, folder=None):
        done = prune(cluster, *arguments, folder=folder)
        assert stray.exists() and done.stdout == "", done.stdout
        return done.returncode, done.stderr

    code, told = refused(folder=tmp_path / "nowhere")
    assert code == 1 and "no folder of artifacts" in told, told
    code, told = refused("--backups", tmp_path / "nowhere")
    assert code == 1 and "cannot list the backups in" in told, told
    torn = tmp_path / "backups" / "torn"
    torn.mkdir(parents=True)
    (torn / "backup.json").write_text("{}")
    code, told = refused("--backups", tmp_path / "backups")
    assert code == 1 and f"nothing is removed: {torn}" in told, told
    for wrong in ("0", "-1", "soon"):
        assert refused("--older-than", wrong)[0] == 2
    assert pruned(cluster)["removed"]["artifacts"] == 1 and not stray.exists()


def test_a_damaged_database_is_not_believed(tmp_path):
    with Cluster(tmp_path) as cluster:
        # It reports results that it has not stored, and the run's model is no folder.
        cluster.start_fake_worker("fake", 1)
        wait_until(lambda: cluster.status(1)["run"]["state"] == "RUN_STATE_SUCCEEDED", 60, "the run")
        cluster.coordinator.kill()
    done = prune(cluster)
    assert done.returncode == 1 and f"nothing is removed: {cluster.data}: " in done.stderr, done.stderr
