"""Bad input that a user can give, through real processes: the error names the thing and the place, a process that it
ends exits with a code of its own, and a run that ended before keeps every result."""
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from cluster import SHAPES, Cluster, shapes_run
from processes import BIN

UNET = "unet/diffusion_pytorch_model.safetensors"
LONG_PROMPT = "a red circle " + "very " * 2000
# Steps as long as the weights themselves: the activations soon leave single precision.
NAN_LOSS = {"learning_rate": 1.0, "max_grad_norm": 1.0e+6, "steps": 8}


def results(cluster, run):
    samples = {(n, e): cluster.samples(run, n, e) for n in (0, 1) for e in (False, True) if n > 0 or e}
    return cluster.status(run), samples


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """One worker and a run that has ended, one of its prompts of 10,000 characters."""
    folder = tmp_path_factory.mktemp("cluster")
    prompts = folder / "prompts.txt"
    prompts.write_text(f"{LONG_PROMPT}\na blue square\na green triangle\n")
    with Cluster(folder) as cluster:
        cluster.start_worker("w1")
        spec = shapes_run("before", rounds=1, prompts={"train": [str(prompts)], "evaluation": [str(prompts)], "per_round": 3})
        cluster.before = cluster.submit(spec)
        assert cluster.wait_for_run(cluster.before)["run"]["state"] == "RUN_STATE_SUCCEEDED"
        yield cluster


@pytest.fixture(autouse=True)
def nothing_lost(cluster):
    before = results(cluster, cluster.before)
    yield
    assert results(cluster, cluster.before) == before


def submit(cluster, folder, spec):
    """The finished `run submit` of a run file, and that file's path."""
    path = folder / "run.yaml"
    path.write_text(spec if isinstance(spec, str) else json.dumps(spec, indent=1))
    return cluster.run("run", "submit", path, check=False), path


def refused(cluster, folder, spec):
    """What a run file that is refused is refused with; no run comes of it."""
    runs = cluster.json("run", "list")
    done, path = submit(cluster, folder, spec)
    assert (done.returncode, done.stdout) == (2, "")  # as wrong usage
    assert cluster.json("run", "list") == runs
    return done.stderr.replace(str(path), "run.yaml")


def failed(cluster, spec):
    """Why a run failed, as `run watch` ends with it."""
    run = cluster.submit(spec)
    assert cluster.wait_for_run(run)["run"]["state"] == "RUN_STATE_FAILED"
    watched = cluster.run("run", "watch", run, check=False)
    assert watched.returncode == 3
    assert "w1" in {w["name"] for w in cluster.json("worker", "list")["workers"] if w["state"] == "WORKER_STATE_ACTIVE"}
    return watched.stdout + watched.stderr


def worker_alone(*arguments):
    """Exit code and standard error of rsidiff-worker."""
    done = subprocess.run([BIN / "rsidiff-worker", *map(str, arguments)], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr


def model_with(folder, change):
    """A copy of the shapes model whose UNet weights `change` has rewritten."""
    model = folder / "model"
    shutil.copytree(SHAPES / "base", model)
    change(model / UNET)
    return model


def test_every_wrong_key_is_told_with_its_place(cluster, tmp_path):
    spec = shapes_run("keys")
    spec["sampling"] = {"sample_per_prompt": 2, "steps": "many"}
    spec["nonsense"] = 1
    text = json.dumps(spec, indent=1)
    lines = {key: next(i for i, line in enumerate(text.splitlines(), 1) if f'"{key}"' in line) for key in ("sample_per_prompt", "nonsense")}
    told = refused(cluster, tmp_path, text)
    assert f'run.yaml:{lines["sample_per_prompt"]}:3: unknown key "sample_per_prompt" in sampling; did you mean "samples_per_prompt"?' in told
    assert "sampling.steps has to be a whole number" in told
    assert f'run.yaml:{lines["nonsense"]}:2: unknown key "nonsense"' in told


def test_missing_folders_and_files_are_named(cluster, tmp_path):
    spec = shapes_run("missing", model={"path": "/nowhere/model"}, prompts={"train": ["/nowhere/prompts.txt"]})
    told = refused(cluster, tmp_path, spec)
    assert "model.path: no such folder: /nowhere/model" in told
    assert "prompts.train: no such file: /nowhere/prompts.txt" in told
    code, told = worker_alone("generate", "--model", "/nowhere/model", "--prompt", "x", "--out", tmp_path / "out")
    assert code == 2 and "/nowhere/model" in told


def test_an_empty_prompt_file_is_named(cluster, tmp_path):
    empty = tmp_path / "empty.txt"
    empty.write_text("\n \n")
    told = refused(cluster, tmp_path, shapes_run("empty", prompts={"train": [str(empty)]}))
    assert f"{empty}: no prompt in the file" in told
    code, told = worker_alone("generate", "--model", SHAPES / "base", "--prompts", empty, "--out", tmp_path / "out")
    assert code == 1 and str(empty) in told


def test_a_prompt_of_10000_characters_is_warned_of_and_drawn(cluster, tmp_path):
    assert len(LONG_PROMPT) > 10_000
    prompts = cluster.folder / "prompts.txt"
    warned = cluster.run("run", "submit", cluster.folder / "before.yaml", "--dry-run").stderr
    assert f"{prompts}:1: the prompt has {len(LONG_PROMPT.strip())} characters" in warned
    drawn = {sample["prompt"] for sample in cluster.samples(cluster.before, 1)}
    assert LONG_PROMPT.strip() in drawn
    cut = 'the prompt is longer than the text encoder takes and was truncated: "a red circle very very'
    generate = ["generate", "--model", SHAPES / "base", "--steps", 2, "--samples", 2, "--out", tmp_path / "out"]
    code, told = worker_alone(*generate, "--prompt", LONG_PROMPT)
    assert code == 0 and f"--prompt: {cut}" in told, told
    code, told = worker_alone(*generate, "--prompts", prompts)
    assert code == 0 and f"{prompts}:1: {cut}" in told, told
    assert told.count("truncated") == 1 and len(told) < 1000


def test_a_prompt_that_is_no_prompt_is_refused(cluster, tmp_path):
    endless = tmp_path / "endless.txt"
    endless.write_text("a circle\n" + "x" * 100_000)
    told = refused(cluster, tmp_path, shapes_run("endless", prompts={"train": [str(endless)]}))
    assert f"{endless}:2: the prompt has 100000 bytes; the limit is" in told


def wrong_shape(file):
    tensors = load_file(file)
    tensors["conv_in.bias"] = np.zeros(3, np.float32)
    save_file(tensors, file)


def truncated(file):
    file.write_bytes(file.read_bytes()[:-1000])


@pytest.mark.parametrize("change, words", [(wrong_shape, ["conv_in.bias", "[3]"]), (truncated, ["truncated"])])
def test_damaged_weights_are_named(cluster, tmp_path, change, words):
    model = model_with(tmp_path, change)
    code, told = worker_alone("generate", "--model", model, "--prompt", "x", "--out", tmp_path / "out")
    assert code == 1
    assert all(word in told for word in [str(model / UNET), *words]), told
    told = failed(cluster, shapes_run(change.__name__.replace("_", "-"), model={"path": str(model)}))
    assert all(word in told for word in [UNET, *words]), told


def test_a_loss_that_is_no_number_fails_the_run_and_names_the_step(cluster):
    told = failed(cluster, shapes_run("nan-loss", rounds=1, train=NAN_LOSS))
    assert "training step" in told and "not finite" in told
    # What came before the training is there, and can be exported.
    run = cluster.json("run", "show", "nan-loss")["run"]["id"]
    assert len(cluster.samples(run, 1)) == 12


def test_a_score_that_is_no_number_fails_the_run_and_names_the_scorer(cluster, tmp_path):
    scorer = tmp_path / "clip"
    shutil.copytree(SHAPES / "clip", scorer)
    tensors = load_file(scorer / "model.safetensors")
    tensors["visual_projection.weight"][:] = np.nan
    save_file(tensors, scorer / "model.safetensors")
    spec = shapes_run("nan-score", rounds=1)
    spec["scorers"][0]["path"] = str(scorer)
    told = failed(cluster, spec)
    named = re.search(r'scorer clip: sample (\d+): score is not finite: nan, prompt "([^"]+)"', told)
    assert named, told
    # What was drawn is there, the named sample too, and can be fetched.
    run = cluster.json("run", "show", "nan-score")["run"]["id"]
    kept = {sample["index"]: sample for sample in cluster.samples(run, 1)}
    assert kept[int(named[1])]["prompt"] == named[2]
    cluster.run("samples", run, "--round", 1, "--out", tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.png"))) == len(kept)


def test_a_worker_of_another_protocol_version_is_refused(cluster):
    told = subprocess.run([BIN / "fake_worker", "other", cluster.address, "--protocol-version", "999"], capture_output=True, text=True, timeout=60)
    assert told.returncode == 1
    assert "other" in told.stderr and "protocol version 999" in told.stderr
    assert "other" not in {w["name"] for w in cluster.json("worker", "list")["workers"]}
