"""Data folders that a coordinator must not open: refused by a message that names the thing, and not touched."""
import hashlib
import shutil
import subprocess

import pytest

from cluster import Cluster
from journal import assert_sound, check
from processes import BIN, wait_until

ROUND = 'rsidiff_run_round{run="1"}'


def digests(folder):
    return {path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def refused(data, *arguments):
    """What a coordinator that has to refuse `data` says; nothing in there has changed."""
    before = digests(data)
    command = [BIN / "rsidiff-coordinator", "--data", data, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done
    assert done.stderr.count(" error ") == 1 and str(data) in done.stderr, done.stderr
    assert digests(data) == before
    return done.stderr


def write_database(*arguments):
    subprocess.run([BIN / "write_database", *map(str, arguments)], check=True)


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """The folder of cluster "ours", killed in the middle of a run, so that rows stand in its log alone."""
    folder = tmp_path_factory.mktemp("used")
    with Cluster(folder, arguments=["--cluster-id", "ours"]) as cluster:
        cluster.start_fake_worker("w", rounds=300)
        wait_until(lambda: cluster.metrics().get(ROUND, 0) >= 2, 60, "the second round")
        cluster.coordinator.kill()
        return cluster.data


@pytest.fixture
def data(used, tmp_path):
    return shutil.copytree(used, tmp_path / "data")


def test_another_cluster(data):
    assert "belongs to cluster ours, not theirs" in refused(data, "--cluster-id", "theirs")
    assert_sound(data)


def test_a_newer_schema(data):
    write_database("newer", data / "db")
    assert "was written by a newer version: schema" in refused(data)
    before = digests(data)
    code, told = check(data)
    assert code == 1 and "newer version" in told
    assert digests(data) == before


@pytest.mark.parametrize("table", ["default", "theirs"])
def test_a_database_of_another_program(tmp_path, table):
    write_database("foreign", tmp_path / "data/db", table)
    told = refused(tmp_path / "data")
    assert "is not one of rsidiff's" in told and table in told
    code, told = check(tmp_path / "data")
    assert code == 1 and "is not one of rsidiff's" in told


def test_a_file_is_missing(data):
    """Refused, and not begun anew."""
    for file in (data / "db").glob("MANIFEST-*"):
        file.unlink()
    assert "MANIFEST" in refused(data)


def test_a_second_coordinator(data, tmp_path):
    with Cluster(tmp_path, data=data, arguments=["--cluster-id", "ours"]) as cluster:
        assert "another coordinator uses" in refused(data)
        assert cluster.get("/readyz") == "ready\n"
        before = cluster.metrics()[ROUND]
        cluster.start_fake_worker("w")
        wait_until(lambda: cluster.metrics()[ROUND] > before, 60, "another round of the run")
        assert cluster.coordinator.terminate() == 0
    assert_sound(data)
