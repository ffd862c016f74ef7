"""A backup is restored under living workers, which hold leases of the coordinator that is gone."""
import subprocess

from cluster import Cluster, shapes_run
from processes import BIN
from scenario import Outcome, Stage

SPEC = shapes_run("restored", rounds=1, workers={"train_max": 1})
FIRST_INCARNATION_AFTER = 1 << 20


def restore(cluster, backup):
    """The coordinator goes, and comes back as the backup has it; the artifacts stay where the workers write them."""
    cluster.coordinator.kill()
    artifacts, cluster.data = cluster.data / "artifacts", cluster.folder / "restored"
    command = [BIN / "rsidiff-coordinator", "restore", "--backup", backup, "--data", cluster.data]
    subprocess.run([str(part) for part in command], check=True, timeout=60)
    (cluster.data / "artifacts").symlink_to(artifacts)
    cluster.start_coordinator()


def test_living_workers_are_fenced_register_again_and_finish_the_run(tmp_path):
    with Cluster(tmp_path) as cluster:
        stage = Stage(cluster, cluster.submit(SPEC))
        stage.line("start known stopping at computed-generate")
        stage.line("wait stopped known")
        backup = cluster.json("backup")["path"]
        # Neither this one nor its lease is in the backup.
        stage.line("start unknown stopping at begin-generate")
        stage.line("wait stopped unknown")

        restore(cluster, backup)
        assert stage.drawn() == 0
        for name in ("known", "unknown"):
            stage.line(f"resume {name}")
        for name in ("known", "unknown"):
            stage.line(f"wait state {name} active")
            stage.line(f"wait outcome {name} generate fenced 1")
            assert int(cluster.worker(name)["incarnation"]) > FIRST_INCARNATION_AFTER

        cluster.wait_for_run(stage.run)
        restored = Outcome(cluster, stage.run)
        # The same run, submitted after it all.
        again = cluster.submit(SPEC)
        cluster.wait_for_run(again)
        restored.assert_same(Outcome(cluster, again), bits=True)
        assert all(worker.alive for worker in cluster.workers.values())
