"""The coordinator dies at every durable step, at several passes each; what was acknowledged is there afterwards.

The points are read from the sources, so a new one is tested from the day it is made. Needs a build with
RSIDIFF_FAULT_POINTS.
"""
import re
import signal
import subprocess

from cluster import Cluster
from journal import JournalLoad, assert_sound, check
from processes import BIN, SOURCE, wait_until

POINT = re.compile(r'FaultPoint\("([a-z_]+\.[a-z_]+)"\)')
PASSES = {"commit": [1, 2, 9, 31], "start": [1], "recovery": [1], "artifact": [1, 4], "backup": [1], "restore": [1]}


def points():
    folders = [SOURCE / "coordinator", SOURCE / "common/artifact"]
    found = {point for folder in folders for file in folder.rglob("*.cc") for point in POINT.findall(file.read_text())}
    return sorted(found)


def passes(group):
    return [(point, n) for point in points() if point.split(".")[0] == group for n in PASSES[group]]


def killing(point, n):
    return ["env", f"RSIDIFF_FAULT={point}:{n}:kill"]


def coordinator(*arguments, launcher=()):
    command = [*launcher, BIN / "rsidiff-coordinator", *arguments]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60)


def backup(cluster, check=True):
    return cluster.run("backup", check=check)


def test_every_point_belongs_to_a_group():
    groups = {point.split(".")[0] for point in points()}
    assert groups == set(PASSES), f"say in PASSES how often to pass the points of {groups ^ set(PASSES)}"


def test_while_it_works(tmp_path):
    with Cluster(tmp_path, lease_ttl=15) as cluster, JournalLoad(cluster, seed=5) as load:
        for point, n in passes("commit") + passes("artifact"):
            assert cluster.coordinator.terminate() == 0
            cluster.launcher = killing(point, n)
            try:
                cluster.start_coordinator()
            except AssertionError:
                pass  # died before it was ready
            assert cluster.coordinator.wait() == -signal.SIGKILL, point
            assert_sound(cluster.data)
            cluster.launcher = []
            cluster.start_coordinator()
        figures = load.verdict()
        assert figures["granted"] == figures["acknowledged"] > 0


def test_while_it_starts(tmp_path):
    with Cluster(tmp_path, lease_ttl=15) as cluster, JournalLoad(cluster, seed=6) as load:
        for point, n in passes("start") + passes("recovery"):
            wait_until(lambda: load.journal.exists() and load.alive, 30, "work")
            cluster.coordinator.kill()
            died = coordinator("--data", cluster.data, "--listen", cluster.address, "--http", cluster.http,
                               launcher=killing(point, n))
            assert died.returncode == -signal.SIGKILL, (point, died.stderr)
            assert_sound(cluster.data)
            cluster.start_coordinator()
        figures = load.verdict()
        assert figures["granted"] == figures["acknowledged"] > 0


def test_while_it_backs_up(tmp_path):
    with Cluster(tmp_path, lease_ttl=15) as cluster, JournalLoad(cluster, seed=7) as load:
        for point, n in passes("backup"):
            cluster.coordinator.kill()
            cluster.launcher = killing(point, n)
            cluster.start_coordinator()
            assert backup(cluster, check=False).returncode == 4
            assert cluster.coordinator.wait() == -signal.SIGKILL, point
            cluster.launcher = []
            cluster.start_coordinator()
            whole = [folder for folder in (cluster.data / "backups").iterdir()]
            assert all((folder / "backup.json").exists() for folder in whole), whole
            for folder in whole:
                assert_sound(folder)
        path = backup(cluster).stdout.strip()
        assert_sound(path)
        load.verdict()


def test_while_it_restores(tmp_path):
    with Cluster(tmp_path, lease_ttl=15) as cluster, JournalLoad(cluster, seed=8) as load:
        wait_until(lambda: load.journal.exists(), 30, "work")
        path = backup(cluster).stdout.strip()
        load.verdict()
    for point, n in passes("restore"):
        data = tmp_path / point
        died = coordinator("restore", "--backup", path, "--data", data, launcher=killing(point, n))
        assert died.returncode == -signal.SIGKILL, point
        if (data / "db").exists():
            assert point == "restore.named"
        else:
            refused = coordinator("--data", data, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0")
            assert refused.returncode == 1 and "restore it again" in refused.stderr
            assert check(data)[0] == 1
            assert coordinator("restore", "--backup", path, "--data", data).returncode == 0
        assert_sound(data)
