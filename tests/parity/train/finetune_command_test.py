"""`rsidiff-worker finetune` as a user runs it: what it writes, resumes and refuses."""
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

from compute_device import DEVICE, bound, same

torch.set_num_threads(1)
WORKER = Path(os.environ["RSIDIFF_BIN"]) / "rsidiff-worker"
SHAPES = Path(os.environ["RSIDIFF_SOURCE"]) / "deploy/examples/shapes/base"


def finetune(manifest, out, *options, code=0, lr=1e-4, model=SHAPES):
    args = [WORKER, "finetune", "--model", model, "--manifest", manifest, "--out", out, "--batch", "4", "--lr", lr,
            "--seed", "3", "--device", DEVICE, *options]
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def manifest(tmp_path):
    """Two pictures and two rows of latents."""
    pipe = StableDiffusionPipeline.from_pretrained(SHAPES, safety_checker=None)
    side = pipe.unet.config.sample_size * pipe.vae_scale_factor
    torch.manual_seed(0)
    for i in range(2):
        Image.fromarray((torch.rand(side, side, 3) * 255).byte().numpy()).save(tmp_path / f"{i}.png")
    size = pipe.unet.config.sample_size
    save_file({"latents": torch.randn(3, 4, size, size)}, tmp_path / "latents.safetensors")
    lines = [
        {"prompt": "a red circle", "file": "0.png", "index": 0, "seed": 5},
        {"prompt": "a blue square", "file": "1.png", "weight": 0.5},
        {"prompt": "a red circle", "latent": "latents.safetensors", "row": 0, "weight": 1.5},
        {"prompt": "a green triangle", "latent": "latents.safetensors", "row": 2, "replay": True},
    ]
    path = tmp_path / "manifest.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def losses(out):
    return [json.loads(line) for line in (out / "losses.jsonl").read_text().splitlines()]


def test_full_model_loads_in_diffusers_and_resume_changes_nothing(tmp_path, manifest):
    finetune(manifest, tmp_path / "whole", "--steps", 6, "--ema", 0.9)
    log = losses(tmp_path / "whole")
    assert [line["step"] for line in log] == [1, 2, 3, 4, 5, 6]
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "whole", safety_checker=None)
    base = load_file(SHAPES / "unet/diffusion_pytorch_model.safetensors")
    tuned = {n: p for n, p in pipe.unet.state_dict().items()}
    assert tuned.keys() == base.keys()
    assert any(not torch.equal(tuned[n], base[n]) for n in base)
    assert all((tuned[n] - base[n]).abs().max() < 1e-2 for n in base)

    # A training that was cut off after its checkpoint of step 4: the state of that step, a longer log.
    part = tmp_path / "part"
    finetune(manifest, part, "--steps", 4, "--ema", 0.9)
    shutil.copy(tmp_path / "whole/losses.jsonl", part / "losses.jsonl")
    finetune(manifest, part, "--steps", 6, "--ema", 0.9, "--resume")
    for line, first in zip(losses(part), log, strict=True):
        assert line == pytest.approx(first, rel=bound(0, 1e-4), abs=0)
    again = load_file(part / "unet/diffusion_pytorch_model.safetensors")
    whole = load_file(tmp_path / "whole/unet/diffusion_pytorch_model.safetensors")
    assert all(same(again[n], whole[n]) for n in whole)


def test_summary_as_json(tmp_path, manifest):
    out = tmp_path / "out"
    summary = json.loads(finetune(manifest, out, "--steps", 2, "--json").stdout)
    assert list(summary) == ["out", "steps", "loss", "seconds", "environment"]
    assert (summary["out"], summary["steps"], summary["loss"]) == (str(out), 2, losses(out)[-1]["loss"])
    assert summary["seconds"] > 0 and "torch" in summary["environment"]
    # Nothing is left to do: the model is written again, and no step has a loss.
    summary = json.loads(finetune(manifest, out, "--steps", 2, "--json", "--resume").stdout)
    assert (summary["steps"], summary["loss"]) == (2, None)


def test_it_does_not_matter_which_files_latents_lie_in(tmp_path, manifest):
    """One file, or two that take turns."""
    rows = load_file(tmp_path / "latents.safetensors")["latents"]
    save_file({"latents": rows[[1]].double()}, tmp_path / "odd.safetensors")
    save_file({"latents": rows[[0, 2]].clone()}, tmp_path / "even.safetensors")
    places = {"one": [("latents", 0), ("latents", 1), ("latents", 2)], "two": [("even", 0), ("odd", 0), ("even", 1)]}
    for name, files in places.items():
        lines = [{"prompt": f"a circle, {i}", "latent": f"{file}.safetensors", "row": row} for i, (file, row) in enumerate(files)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        finetune(tmp_path / f"{name}.jsonl", tmp_path / name, "--steps", 3)
    for two, one in zip(losses(tmp_path / "two"), losses(tmp_path / "one"), strict=True):
        assert two == pytest.approx(one, rel=bound(0, 1e-4), abs=0)


def test_a_tuned_model_is_tuned_again(tmp_path, manifest):
    first, second = tmp_path / "first", tmp_path / "second"
    finetune(manifest, first, "--steps", 1)
    finetune(manifest, second, "--steps", 2, model=first)
    # Log and state are the second training's, not copies of what lies beside its model.
    assert [line["step"] for line in losses(first)] == [1] and [line["step"] for line in losses(second)] == [1, 2]
    shutil.copytree(second, tmp_path / "third")
    finetune(manifest, tmp_path / "third", "--steps", 3, "--resume", model=first)
    assert losses(tmp_path / "third")[:2] == losses(second) and len(losses(tmp_path / "third")) == 3


def test_bf16_follows_fp32_and_fp16_is_refused(tmp_path, manifest):
    finetune(manifest, tmp_path / "fp32", "--steps", 4)
    finetune(manifest, tmp_path / "bf16", "--steps", 4, "--dtype", "bf16")
    for whole, half in zip(losses(tmp_path / "fp32"), losses(tmp_path / "bf16"), strict=True):
        assert half["loss"] != whole["loss"] and half["loss"] == pytest.approx(whole["loss"], rel=0.05)
    base, whole, half = (load_file(folder / "unet/diffusion_pytorch_model.safetensors")
                         for folder in (SHAPES, tmp_path / "fp32", tmp_path / "bf16"))
    # fp32 master weights: steps far below a bf16's last place are kept, and point the same way.
    assert all(tensor.dtype == torch.float32 for tensor in half.values())
    moved = torch.cat([(whole[name] - base[name]).flatten() for name in base])
    moved_half = torch.cat([(half[name] - base[name]).flatten() for name in base])
    assert torch.nn.functional.cosine_similarity(moved, moved_half, dim=0) > 0.8
    refused = finetune(manifest, tmp_path / "fp16", "--steps", 1, "--dtype", "fp16", code=2)
    assert "--dtype" in refused.stderr and not (tmp_path / "fp16").exists()


def test_adapter_loads_in_diffusers(tmp_path, manifest):
    out = tmp_path / "adapter"
    finetune(manifest, out, "--steps", 3, "--lora-rank", 2, "--lora-alpha", 4)
    pipe = StableDiffusionPipeline.from_pretrained(SHAPES, safety_checker=None)
    pipe.load_lora_weights(out, weight_name="pytorch_lora_weights.safetensors")
    config = next(iter(pipe.unet.peft_config.values()))
    assert (config.r, config.lora_alpha) == (2, 4)
    assert not (out / "unet").exists()


def test_refuses_what_it_cannot_train_on(tmp_path, manifest):
    out = tmp_path / "out"
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    assert f"{empty}: the manifest is empty" in finetune(empty, out, "--steps", 1, code=1).stderr

    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"prompt": "a", "latent": "latents.safetensors", "row": 9}\n')
    error = finetune(broken, out, "--steps", 1, code=1).stderr
    assert "broken.jsonl:1" in error and "no row 9" in error
    broken.write_text('{"prompt": "a", "latent": "latents.safetensors", "row": 18446744073709551615}\n')
    error = finetune(broken, out, "--steps", 1, code=1).stderr
    assert "broken.jsonl:1" in error and '"row" is not a row number' in error
    save_file({"latents": torch.zeros(1, 4, 3, 3)}, tmp_path / "small.safetensors")
    broken.write_text('{"prompt": "a", "latent": "latents.safetensors"}\n{"prompt": "a", "latent": "small.safetensors"}\n')
    error = finetune(broken, out, "--steps", 1, code=1).stderr
    assert "broken.jsonl:2" in error and "differ in shape" in error

    (tmp_path / "torn.png").write_bytes((tmp_path / "0.png").read_bytes()[:100])
    broken.write_text('{"prompt": "a", "file": "torn.png"}\n')
    assert "torn.png" in finetune(broken, out, "--steps", 1, code=1).stderr
    broken.write_text('{"prompt": "a", "file": "gone.png"}\n')
    assert "gone.png" in finetune(broken, out, "--steps", 1, code=1).stderr
    finetune(manifest, out, "--steps", 1, "--schedule", "sideways", code=2)
    for option in ("--lora-rank", "--lora-alpha"):
        assert option in finetune(manifest, out, "--steps", 1, option, -1, code=2).stderr
    inside = shutil.copytree(SHAPES, tmp_path / "model") / "tuned"
    assert "--out is the model's own folder, or in it" in finetune(manifest, inside, "--steps", 1, code=1, model=inside.parent).stderr
    assert not inside.exists()
    assert "nothing to resume" in finetune(manifest, out, "--steps", 1, "--resume", code=1).stderr


def test_divergence_stops_and_keeps_the_last_checkpoint(tmp_path, manifest):
    out = tmp_path / "diverged"
    error = finetune(manifest, out, "--steps", 40, "--warmup", 2, "--checkpoint-every", 1, "--max-grad-norm", 0, lr=1e30,
                     code=1).stderr
    assert "training step" in error and "not finite" in error
    step = len(losses(out))
    assert 0 < step < 40
    kept = load_file(out / "training_state.safetensors")
    assert all(torch.isfinite(t).all() for n, t in kept.items() if n.startswith("exp_avg/"))
    # And it is not overwritten by accident.
    assert "--resume" in finetune(manifest, out, "--steps", 1, code=1).stderr
