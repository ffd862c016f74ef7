"""Backups of a running coordinator, and restoring them."""
import json
import subprocess
import time

from cluster import Cluster
from journal import JournalLoad, assert_sound, check
from processes import BIN, wait_until


def coordinator(*arguments):
    command = [str(part) for part in (BIN / "rsidiff-coordinator", *arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def backup(cluster, *arguments):
    return cluster.json("backup", *arguments)


def test_backup_under_load_restores_and_the_runs_go_on(tmp_path):
    with Cluster(tmp_path, lease_ttl=3) as cluster, JournalLoad(cluster, seed=3) as load:
        for number in range(3):
            time.sleep(0.7)
            written = backup(cluster, "--name", f"number-{number}")
            assert_sound(written["path"])
        again = cluster.run("backup", "--name", "number-1", check=False)
        assert again.returncode == 1 and "there is a backup" in again.stderr
        outside = cluster.run("backup", "--name", "../escape", check=False)
        assert outside.returncode == 2 and not (cluster.data / "escape").exists()
        # What happens now is not in the backup; and the coordinator starts twice more.
        cluster.coordinator.kill()
        cluster.start_coordinator()
        load.verdict()
        newest = backup(cluster, "--name", "newest")
        cluster.coordinator.kill()
        epoch = 2

        restored = coordinator("restore", "--backup", newest["path"], "--data", tmp_path / "new", "--json")
        assert restored.returncode == 0, restored.stderr
        told = json.loads(restored.stdout)
        assert told["backup_epoch"] == epoch and told["epoch"] > 1000
        assert_sound(tmp_path / "new")
        before = cluster.data
        cluster.data = tmp_path / "new"
        cluster.arguments += ["--artifacts", before / "artifacts", "--cluster-id", newest["manifest"]["cluster_id"]]
        cluster.start_coordinator()
        assert cluster.metrics()["rsidiff_coordinator_epoch"] == told["epoch"] + 1
        runs = cluster.json("run", "list")["runs"]
        assert runs and all(run["run"]["state"] == "RUN_STATE_SUCCEEDED" for run in runs)
        # New work goes on from there, under new numbers.
        cluster.start_fake_worker("after", 1)
        wait_until(lambda: any(int(run["run"]["id"]) > 1000 and run["run"]["state"] == "RUN_STATE_SUCCEEDED"
                               for run in cluster.json("run", "list")["runs"]), 60, "a run after the restore")


def test_a_restored_run_goes_on_from_its_backup(tmp_path):
    with Cluster(tmp_path, lease_ttl=3) as cluster:
        worker = cluster.start_fake_worker("before", 300)
        wait_until(lambda: cluster.metrics().get('rsidiff_run_round{run="1"}', 0) >= 2, 60, "round 2")
        path = backup(cluster)["path"]
        newest = cluster.metrics()['rsidiff_run_round{run="1"}']
        wait_until(lambda: cluster.metrics()['rsidiff_run_round{run="1"}'] > newest, 60, "a round that the backup lacks")
        cluster.coordinator.kill()
        worker.kill()
        done = coordinator("restore", "--backup", path, "--data", tmp_path / "new")
        assert done.returncode == 0, done.stderr
        cluster.data = tmp_path / "new"
        cluster.start_coordinator()
        restored = cluster.metrics()['rsidiff_run_round{run="1"}']
        assert 2 <= restored <= newest
        cluster.start_fake_worker("after")
        wait_until(lambda: cluster.metrics()['rsidiff_run_round{run="1"}'] > restored, 60, "progress after the restore")
        cluster.coordinator.terminate()
        assert_sound(tmp_path / "new")


def test_torn_backup_and_used_folder_are_refused(tmp_path):
    with Cluster(tmp_path) as cluster:
        path = backup(cluster)["path"]
    manifest = next(file for file in (tmp_path / "data/backups").rglob("MANIFEST-*"))
    with open(manifest, "ab") as stream:
        stream.write(b"x")
    done = coordinator("restore", "--backup", path, "--data", tmp_path / "new")
    assert done.returncode == 1 and str(manifest) in done.stderr
    done = coordinator("restore", "--backup", path, "--data", tmp_path / "data")
    assert done.returncode == 1
    assert coordinator("restore", "--backup", tmp_path, "--data", tmp_path / "new").stderr.count("no backup in") == 1


def test_check_is_refused_while_a_coordinator_runs(tmp_path):
    with Cluster(tmp_path) as cluster:
        code, error = check(cluster.data)
        assert code == 1 and "another coordinator uses" in error
        cluster.coordinator.kill()
        assert_sound(cluster.data)
    assert check(tmp_path / "nothing")[0] == 1


def test_check_names_missing_and_damaged_artifacts(tmp_path):
    with Cluster(tmp_path) as cluster:
        cluster.start_fake_worker("w", 1)
        wait_until(lambda: cluster.metrics().get('rsidiff_runs{state="succeeded"}') == 1, 60, "the run's end")
        cluster.coordinator.terminate()
    # The fake worker stores nothing; the coordinator itself stored the training manifest.
    code, found = check(tmp_path / "data", "--artifacts", tmp_path / "data/artifacts")
    missing = [violation["what"] for violation in found["violations"]]
    assert code == 1 and any(what.startswith("latents of sample 0 of round 1 of run 1") for what in missing)
    assert not any("training manifest" in what for what in missing)
    manifest = next(file for file in (tmp_path / "data/artifacts").glob("??/*"))
    manifest.write_bytes(manifest.read_bytes() + b"x")
    code, found = check(tmp_path / "data", "--artifacts", tmp_path / "data/artifacts", "--hash")
    assert any("training manifest" in violation["what"] for violation in found["violations"])
