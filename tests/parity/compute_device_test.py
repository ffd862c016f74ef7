"""A device that is not there is named, whichever tool runs on it; none runs on another one instead."""
import json
import os
import subprocess
from pathlib import Path

import pytest

from compute_device import DEVICE

BIN = Path(os.environ["RSIDIFF_BIN"])
ABSENT = "cuda:99"


def run(command, device):
    environment = {**os.environ, "RSIDIFF_TEST_DEVICE": device}
    return subprocess.run([BIN / command[0], *command[1:]], input="", capture_output=True, text=True, env=environment)


@pytest.fixture(params=["model_parity", "run_clip", "run_scheduler", "finetune_steps"])
def command(request, tmp_path):
    (tmp_path / "spec.json").write_text(json.dumps({"unet": "", "scheduler": "", "draws": "", "out": "", "steps": 1}))
    arguments = {"model_parity": ["noise", tmp_path / "noise.safetensors", "1"], "run_clip": ["text", "folder", "in", "out"],
                 "run_scheduler": ["given", "result"], "finetune_steps": [tmp_path / "spec.json"]}
    return [request.param, *arguments[request.param]]


def test_absent_device_is_named(command):
    done = run(command, ABSENT)
    assert done.returncode != 0
    assert f"RSIDIFF_TEST_DEVICE: no such CUDA device: {ABSENT}" in done.stderr


def test_unknown_device_is_named(command):
    done = run(command, "gpu")
    assert done.returncode != 0
    assert "RSIDIFF_TEST_DEVICE: unknown device: gpu" in done.stderr


def test_the_device_of_this_run_is_there(command):
    assert "RSIDIFF_TEST_DEVICE" not in run(command, DEVICE).stderr
