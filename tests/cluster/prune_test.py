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


def make_older(path, hours):
    then = time.time() - 3600 * hours
    os.utime(path, (then, then))


def age(cluster, hours):
    for path in artifacts(cluster).values():
        make_older(path, hours)


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
        worker.kill()  # it would store states while they are counted
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
        copy = shutil.move(cluster.data / "backups/in-training", tmp_path / "copy")
        kept = pruned(cluster, "--backups", copy)
        assert kept["backups"] == 1 and kept["removed"]["artifacts"] == 0
        assert pruned(cluster)["backups"] == 0
        assert not states_of(cluster)
        assert_sound(cluster)
        text = prune(cluster, "--dry-run").stdout
        assert text.startswith("would remove 0 artifacts, 0.00 GiB; kept ") and "younger than 24h at 2" in text, text
        assert text.endswith("backups read: 0\n"), text


def test_what_workers_have_yet_to_report_stays_however_long_the_coordinator_was_away(tmp_path):
    with Cluster(tmp_path) as cluster:
        cluster.start_worker("a")
        run = cluster.submit(shapes_run("unreported", rounds=1, train=SPEC["train"]))
        wait_until(lambda: int(progress(cluster, run).get("checkpoint_step", 0)) >= EVERY, 240, "a checkpoint")
        cluster.coordinator.kill()
        before = set(artifacts(cluster))
        # The training goes on to its end, which nobody takes notice of.
        weights = wait_until(lambda: set(artifacts(cluster)) - before - states_of(cluster), 240, "the trained weights")
        unreported = set(artifacts(cluster)) - before
        stray = cluster.data / "artifacts" / "ab" / ("ab" * 32)
        stray.parent.mkdir(exist_ok=True)
        stray.write_text("older than the training")

        age(cluster, 30)
        make_older(stray, 60)
        assert pruned(cluster, "--dry-run")["removed"]["artifacts"] > len(unreported), "were the tasks as young as they are"
        subprocess.run([BIN / "write_database", "age", cluster.data / "db", "30"], check=True)
        assert pruned(cluster)["removed"]["artifacts"] == 1 and not stray.exists()
        assert unreported <= set(artifacts(cluster))

        cluster.start_coordinator()
        status = cluster.wait_for_run(run)
        assert status["run"]["state"] == "RUN_STATE_SUCCEEDED", status["run"]["reason"]
        cluster.coordinator.kill()
        age(cluster, 1000)
        pruned(cluster)
        assert weights <= set(artifacts(cluster)), "the weights that were reported late"
        assert_sound(cluster)


def test_the_prompts_that_a_filter_rejected_are_still_listed(tmp_path):
    prompts = ["a turquoise cross on a beige background", "the turquoise cross on a beige background", "two green rings beside a black circle"]
    (tmp_path / "prompts.txt").write_text("\n".join(prompts) + "\n")
    section = {"train": [str(tmp_path / "prompts.txt")], "per_round": 0, "filter": {"clarity": 0, "specificity": 0, "diversity": 0.1}}
    with Cluster(tmp_path) as cluster:
        run = cluster.submit(shapes_run("filtered", prompts=section))
        rejected = cluster.json("prompts", "list", run, "--rejected")
        assert len(rejected) == 1 and rejected[0]["rejected_by"] == "diversity", rejected
        cluster.coordinator.kill()
        age(cluster, 30)
        pruned(cluster)
        cluster.start_coordinator()
        assert cluster.json("prompts", "list", run, "--rejected") == rejected


def test_looking_changes_nothing(tmp_path):
    with Cluster(tmp_path) as cluster:
        cluster.coordinator.kill()
    # Not the folder that was meant.
    other, empty = tmp_path / "other", tmp_path / "empty"
    old = other / "tmp" / "of-another-program"
    old.parent.mkdir(parents=True)
    old.write_text("needed")
    make_older(old, 25)
    empty.mkdir()
    for folder in (other, empty):
        code, found = check(cluster.data, "--artifacts", folder)
        assert code == 0, found
        for arguments in (["--dry-run"], []):
            assert prune(cluster, *arguments, folder=folder).returncode == 0
    assert old.read_text() == "needed" and list(other.iterdir()) == [old.parent]
    assert list(empty.iterdir()) == []


def test_it_refuses_what_it_cannot_judge(tmp_path):
    with Cluster(tmp_path) as cluster:
        assert "another coordinator uses" in prune(cluster).stderr
        cluster.run("backup", "--name", "whole")
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
    (tmp_path / "backups").mkdir()
    code, told = refused("--backups", tmp_path / "backups")
    assert code == 1 and f"nothing is removed: {tmp_path / 'backups'}: there is no backup in it" in told, told
    loop = tmp_path / "backups" / "loop"  # stands for a folder that cannot be read, which root always can
    loop.symlink_to("loop")
    code, told = refused("--backups", tmp_path / "backups")
    assert code == 1 and f"nothing is removed: {loop}: cannot look for a backup: " in told, told
    loop.unlink()
    torn = tmp_path / "backups" / "torn"
    torn.mkdir()
    (torn / "backup.json").write_text("{}")
    code, told = refused("--backups", tmp_path / "backups")
    assert code == 1 and f"nothing is removed: {torn}" in told, told
    for wrong in ("0", "-1", "soon"):
        assert refused("--older-than", wrong)[0] == 2
    for backups in (["--backups", cluster.data / "backups"], ["--backups", cluster.data / "backups/whole"], []):
        planned = pruned(cluster, "--dry-run", *backups)
        assert planned["backups"] == 1 and planned["removed"]["artifacts"] == 1
    assert pruned(cluster)["removed"]["artifacts"] == 1 and not stray.exists()


def test_a_damaged_database_is_not_believed(tmp_path):
    with Cluster(tmp_path) as cluster:
        # It reports results that it has not stored, and the run's model is no folder.
        cluster.start_fake_worker("fake", 1)
        wait_until(lambda: cluster.status(1)["run"]["state"] == "RUN_STATE_SUCCEEDED", 60, "the run")
        cluster.coordinator.kill()
    done = prune(cluster)
    assert done.returncode == 1 and f"nothing is removed: {cluster.data}: " in done.stderr, done.stderr
