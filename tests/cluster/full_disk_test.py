"""A full disk, wherever the system writes: it is told with the file's name, and the run goes on when there is room."""
import json
import subprocess
from contextlib import ExitStack

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from cluster import SHAPES, Cluster, shapes_run
from processes import BIN, fetch, wait_until
from small_disk import SmallDisk

ROUND = 'rsidiff_run_round{run="1"}'
TOLD = ("No space left on device", "File too large")


def tells(text):
    return any(words in text for words in TOLD)


def test_the_coordinators_data(tmp_path):
    artifacts = ["--artifacts", tmp_path / "artifacts"]
    # So small that the database cannot take room for its log ahead of writing it.
    with SmallDisk(tmp_path / "disk", 8 << 20) as disk, Cluster(tmp_path / "cluster", data=disk.folder / "data", arguments=artifacts) as cluster:
        worker = cluster.start_fake_worker("w1", rounds=2000)
        wait_until(lambda: cluster.metrics().get(ROUND, 0) >= 2, 60, "the second round")
        disk.fill(cluster.coordinator)
        assert cluster.coordinator.wait() == 1
        told = cluster.coordinator.text()
        assert "nothing unwritten was acknowledged" in told and tells(told), told
        worker.wait()
        disk.free()
        cluster.start_coordinator()
        before = cluster.metrics()[ROUND]
        assert before >= 2
        cluster.start_fake_worker("w1")  # under its old name, so that nobody waits for its old lease
        wait_until(lambda: cluster.metrics()[ROUND] > before, 60, "another round")


def pictures(cluster, run):
    samples = cluster.samples(run, 0, evaluation=True) + cluster.samples(run, 1) + cluster.samples(run, 1, evaluation=True)
    return [(sample["seed"], sample["image"], sample["selected"]) for sample in samples]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("undisturbed")) as cluster:
        cluster.start_worker("w1")
        run = cluster.submit(shapes_run("whole", rounds=1))
        assert cluster.wait_for_run(run)["run"]["state"] == "RUN_STATE_SUCCEEDED"
        return pictures(cluster, run)


@pytest.mark.parametrize("kind", ["artifacts", "cache"])
def test_what_a_worker_writes(tmp_path, undisturbed, kind):
    with ExitStack() as stack:
        disk = stack.enter_context(SmallDisk(tmp_path / kind))
        cluster = stack.enter_context(Cluster(tmp_path, arguments=["--artifacts", tmp_path / "artifacts"]))
        worker = cluster.start_worker("w1", "--artifacts", "auto" if kind == "artifacts" else "stream")
        wait_until(lambda: "registered as 'w1'" in worker.text(), 30, "the registration")
        run = cluster.submit(shapes_run("whole", rounds=1))
        wait_until(lambda: cluster.worker_metrics("w1")['rsidiff_worker_samples_total{kind="generate"}'] > 0, 60, "a sample")
        http = cluster.worker("w1")["capabilities"]["http_address"]
        disk.fill(worker)
        wait_until(lambda: tells(worker.text()), 60, "the worker's message")
        line = next(line for line in worker.text().splitlines() if tells(line))
        assert "given back" in line and str(disk.folder) in line, line
        wait_until(lambda: fetch(http, "/readyz") is None, 30, "a worker that is not ready")
        status = cluster.status(run)
        assert status["run"]["state"] == "RUN_STATE_ACTIVE"
        disk.free(worker)
        assert cluster.wait_for_run(run)["run"]["state"] == "RUN_STATE_SUCCEEDED"
        assert fetch(http, "/readyz") is not None
        assert pictures(cluster, run) == undisturbed


def rsidiff(cluster, disk, *arguments):
    """Exit code, standard output and standard error of a command that writes on the disk."""
    command = [*disk.launcher, BIN / "rsidiff", *arguments, "--coordinator", cluster.address]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_what_the_command_line_writes(tmp_path):
    """Submitting, which stores the models, and exporting."""
    run_file = tmp_path / "run.yaml"
    run_file.write_text(json.dumps(shapes_run("stored")))
    small, room = 8 << 20, 256 << 20  # the model has 19 MB
    with SmallDisk(tmp_path / "store", small) as store, SmallDisk(tmp_path / "out", small) as out:
        with Cluster(tmp_path / "cluster", arguments=["--artifacts", store.folder / "artifacts"]) as cluster:
            code, _, told = rsidiff(cluster, store, "run", "submit", run_file)
            assert code == 1 and tells(told) and str(store.folder) in told, told
            assert cluster.json("run", "list").get("runs", []) == []
            store.grow(room)
            code, run, _ = rsidiff(cluster, store, "run", "submit", run_file)
            assert code == 0
            export = ["export", run.strip(), "--round", 0, "--out", out.folder / "model"]
            code, _, told = rsidiff(cluster, out, *export)
            assert code == 1 and tells(told) and str(out.folder) in told, told
            assert list(out.folder.iterdir()) == []
            out.grow(room)
            assert rsidiff(cluster, out, *export)[0] == 0
            assert (out.folder / "model/model_index.json").exists()


def worker_alone(launcher, *arguments):
    """Exit code and standard error of rsidiff-worker, started by `launcher`."""
    command = [*launcher, BIN / "rsidiff-worker", *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr


def test_what_generating_alone_writes(tmp_path):
    with SmallDisk(tmp_path / "disk", 32 << 10) as disk:
        out = disk.folder / "out"
        generate = ["generate", "--model", SHAPES / "base", "--prompt", "a red circle", "--samples", 16, "--steps", 1, "--save-latents", "--out", out]
        code, told = worker_alone(disk.launcher, *generate)  # the latents alone have 64 KiB
        assert code == 1 and tells(told) and str(out) in told, told
        # Pictures that are there are whole; the files that tell of all pictures are not there.
        left = list(out.iterdir())
        assert {path.suffix for path in left} <= {".png"}, left
        for path in left:
            Image.open(path).load()
        disk.grow(8 << 20)
        code, told = worker_alone(disk.launcher, *generate)
        assert code == 0, told
        assert len(list(out.iterdir())) == 18
        assert len((out / "samples.jsonl").read_text().splitlines()) == 16 and load_file(out / "latents.safetensors")["latents"].shape[0] == 16


@pytest.fixture
def latents(tmp_path):
    """A manifest of one sample."""
    save_file({"latents": np.zeros((1, 4, 16, 16), np.float32)}, tmp_path / "latents.safetensors")
    path = tmp_path / "manifest.jsonl"
    path.write_text('{"prompt": "a red circle", "latent": "latents.safetensors"}\n')
    return path


def finetune(manifest, out):
    return ["finetune", "--model", SHAPES / "base", "--manifest", manifest, "--steps", 3, "--batch", 1, "--out", out]


def test_what_fine_tuning_alone_writes(tmp_path, latents):
    with SmallDisk(tmp_path / "disk", 8 << 20) as disk:  # the UNet has 13 MB, the training state three times that
        out = disk.folder / "out"
        code, told = worker_alone(disk.launcher, *finetune(latents, out))
        assert code == 1 and tells(told) and str(out / "training_state.safetensors") in told, told
        assert [path.name for path in out.iterdir()] == ["losses.jsonl"]
        disk.grow(256 << 20)
        code, told = worker_alone(disk.launcher, *finetune(latents, out))
        assert code == 0, told
        assert (out / "unet/diffusion_pytorch_model.safetensors").exists()


def test_a_log_that_lacks_a_line_ends_the_training(tmp_path, latents):
    """Room for one line of losses.jsonl and a part of the second."""
    out = tmp_path / "out"
    code, told = worker_alone(["prlimit", "--fsize=150", "--"], *finetune(latents, out))
    assert code == 1 and f"cannot write {out / 'losses.jsonl'}: File too large" in told, told
    assert [path.name for path in out.iterdir()] == ["losses.jsonl"]
    assert json.loads((out / "losses.jsonl").read_text().splitlines()[0])["step"] == 1
    # Once there is room the same command trains from the start.
    code, told = worker_alone([], *finetune(latents, out))
    assert code == 0, told
    assert [json.loads(line)["step"] for line in (out / "losses.jsonl").read_text().splitlines()] == [1, 2, 3]
