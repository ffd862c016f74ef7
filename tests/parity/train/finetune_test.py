"""Fine-tuning steps against PyTorch, diffusers and peft, with the same noise and timesteps.

Losses, gradient norms, first moments (the clipped gradients, averaged) and the updated weights must agree to 1e-4
(seen: 1e-7 to 1e-6). The weights' changes alone must agree to 1e-3: AdamW divides each gradient by its own size, so a
gradient that is rounding noise about zero still moves its weight, by a whole learning rate in the first step; how many
such gradients there are depends on the processor (seen: 5e-6 to 1.1e-4).
"""
import itertools
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel, compute_snr
from safetensors.torch import load_file, save_file

from compute_device import bound, same

torch.set_num_threads(1)
BIN = Path(os.environ["RSIDIFF_BIN"])
SHAPES = Path(os.environ["RSIDIFF_SOURCE"]) / "deploy/examples/shapes/base"

SMALL = {
    "sd1": dict(
        sample_size=8, block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=24, attention_head_dim=4,
        norm_num_groups=8, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ),
    "sd2": dict(
        sample_size=8, block_out_channels=(32, 48, 64), layers_per_block=2, cross_attention_dim=40,
        attention_head_dim=(4, 3, 4), use_linear_projection=True, norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    ),
}


def two_blocks(**more):
    return dict(sample_size=8, block_out_channels=(32, 48), layers_per_block=1, cross_attention_dim=16, attention_head_dim=4,
                norm_num_groups=8, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                up_block_types=("UpBlock2D", "CrossAttnUpBlock2D")) | more


# One step each: every layer has a gradient, so this is what shows a wrong one.
OTHER_SHAPES = {
    "linear_projection": two_blocks(use_linear_projection=True),
    "heads_by_block": two_blocks(
        attention_head_dim=(2, 6), down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2),
    "two_transformer_layers": two_blocks(transformer_layers_per_block=2, use_linear_projection=True),
    "only_cross_attention": two_blocks(only_cross_attention=True),
    "no_mid_block": two_blocks(mid_block_type=None),
    "plain_mid_block": two_blocks(mid_block_type="UNetMidBlock2D", flip_sin_to_cos=False, freq_shift=1),
    "layers_by_block": two_blocks(
        layers_per_block=(2, 1), transformer_layers_per_block=(1, 2), norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2),
    "no_attention_first": two_blocks(
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=16, cross_attention_dim=40),
}
SCHEDULER = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)


def make_case(tmp_path, model, prediction_type="epsilon", steps=4, batch=6):
    """Folders and draws: (unet folder, scheduler folder, draws by name)."""
    torch.manual_seed(len(model))
    if model == "shapes":
        unet_folder = SHAPES / "unet"
        unet = UNet2DConditionModel.from_pretrained(unet_folder)
    else:
        unet = UNet2DConditionModel(**(SMALL | OTHER_SHAPES)[model])
        unet_folder = tmp_path / "unet"
        unet.save_pretrained(unet_folder)
    scheduler = DDPMScheduler(**SCHEDULER, prediction_type=prediction_type)
    scheduler.save_pretrained(tmp_path / "scheduler")
    # The class of an inference scheduler, as model folders have it; the training part of it is the same.
    path = tmp_path / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({"_class_name": "DDIMScheduler", **SCHEDULER, "prediction_type": prediction_type}))
    size, channels = unet.config.sample_size, unet.config.in_channels
    draws = {
        "latents": torch.randn(steps, batch, channels, size, size),
        "noise": torch.randn(steps, batch, channels, size, size),
        "timesteps": torch.randint(0, 1000, (steps, batch)),
        "context": torch.randn(steps, batch, 7, unet.config.cross_attention_dim),
        "weights": torch.rand(steps, batch) * 2,
    }
    save_file(draws, tmp_path / "draws.safetensors")
    return unet, unet_folder, scheduler, draws


def run_ours(tmp_path, unet_folder, steps, **options):
    spec = {
        "unet": str(unet_folder), "scheduler": str(tmp_path / "scheduler"),
        "draws": str(tmp_path / "draws.safetensors"), "out": str(tmp_path), "steps": steps, **options,
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    done = subprocess.run([BIN / "finetune_steps", tmp_path / "spec.json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], load_file(tmp_path / "state.safetensors")


def run_reference(unet, scheduler, draws, steps, lr=1e-3, warmup=0, schedule="constant", weight_decay=0.01,
                  max_grad_norm=1.0, ema=0.0, min_snr_gamma=0.0):
    parameters = {n: p for n, p in unet.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(parameters.values(), lr=lr, weight_decay=weight_decay)
    name = "cosine" if schedule == "cosine" else "constant_with_warmup"
    rates = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=steps)
    average = EMAModel(parameters.values(), decay=ema) if ema else None
    logs = []
    for step in range(steps):
        x, noise, t = draws["latents"][step], draws["noise"][step], draws["timesteps"][step]
        prediction = unet(scheduler.add_noise(x, noise, t), t, draws["context"][step]).sample
        velocity = scheduler.config.prediction_type == "v_prediction"
        target = scheduler.get_velocity(x, noise, t) if velocity else noise
        losses = torch.nn.functional.mse_loss(prediction.float(), target.float(), reduction="none").mean((1, 2, 3))
        if min_snr_gamma:
            snr = compute_snr(scheduler, t)
            losses = losses * snr.clamp(max=min_snr_gamma) / (snr + 1 if velocity else snr)
        loss = (losses * draws["weights"][step]).mean()
        loss.backward()
        bound = max_grad_norm or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(list(parameters.values()), bound)
        logs.append((loss.item(), norm.item(), optimizer.param_groups[0]["lr"]))
        optimizer.step()
        rates.step()
        optimizer.zero_grad()
        if average:
            average.step(parameters.values())
    moments = {n: optimizer.state[p]["exp_avg"] for n, p in parameters.items()}
    ema_weights = dict(zip(parameters, average.shadow_params)) if average else None
    return logs, {n: p.detach() for n, p in parameters.items()}, moments, ema_weights


def distance(ours, reference, start=None):
    """Relative L2 error over all tensors; of the changes since `start` where that is given."""
    assert ours.keys() == reference.keys()
    error = total = 0.0
    for name, value in reference.items():
        base = start[name].double() if start else 0.0
        error += (ours[name].double() - value.double()).square().sum().item()
        total += (value.double() - base).square().sum().item()
    return (error / total) ** 0.5


def part(state, kind):
    return {n.removeprefix(kind + "/"): v for n, v in state.items() if n.startswith(kind + "/")}


def check(ours, state, reference, start, ema=False):
    logs, weights, moments, ema_weights = reference
    for mine, (loss, norm, rate) in zip(ours, logs, strict=True):
        assert mine["loss"] == pytest.approx(loss, rel=1e-4)
        assert mine["grad_norm"] == pytest.approx(norm, rel=1e-4)
        assert mine["learning_rate"] == pytest.approx(rate, rel=1e-12, abs=1e-20)
    assert distance(part(state, "exp_avg"), moments) < 1e-4
    assert distance(part(state, "parameters"), weights) < 1e-4
    assert distance(part(state, "parameters"), weights, start) < 1e-3
    if ema:
        assert distance(part(state, "ema"), ema_weights) < 1e-4
        assert distance(part(state, "ema"), ema_weights, start) < 1e-3


CASES = {
    "one_step": dict(steps=1),
    "plain": dict(steps=4, max_grad_norm=0.0),
    "everything": dict(steps=4, warmup=2, schedule="cosine", ema=0.9, max_grad_norm=0.3, weight_decay=0.1,
                       min_snr_gamma=5.0),
}


def check_full_fine_tuning(tmp_path, model, prediction_type, options):
    unet, folder, scheduler, draws = make_case(tmp_path, model, prediction_type)
    start = {n: p.detach().clone() for n, p in unet.named_parameters()}
    ours, state = run_ours(tmp_path, folder, micro_batch=4, **options)
    reference = run_reference(unet, scheduler, draws, **options)
    check(ours, state, reference, start, ema=bool(options.get("ema")))
    # The trained model answers as the reference's does.
    probe = load_file(tmp_path / "prediction.safetensors")
    with torch.no_grad():
        expected = unet(probe["noisy"], draws["timesteps"][0], draws["context"][0]).sample
    assert distance({"": probe["prediction"]}, {"": expected}) < 1e-4


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("model,prediction_type", [("sd1", "epsilon"), ("sd2", "v_prediction"), ("shapes", "epsilon")])
def test_full_fine_tuning(tmp_path, model, prediction_type, case):
    check_full_fine_tuning(tmp_path, model, prediction_type, CASES[case])


@pytest.mark.parametrize("model,prediction_type", list(zip(OTHER_SHAPES, itertools.cycle(["epsilon", "v_prediction"]))))
def test_one_step_of_other_shapes(tmp_path, model, prediction_type):
    check_full_fine_tuning(tmp_path, model, prediction_type, CASES["one_step"])


@pytest.mark.parametrize("model", ["sd1", "sd2", "shapes"])
def test_lora(tmp_path, model):
    """Training of an adapter as peft does it; the file comes from diffusers and goes back into it."""
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    unet, folder, scheduler, draws = make_case(tmp_path, model)
    plain = {n: p.detach().clone() for n, p in unet.state_dict().items()}
    unet.requires_grad_(False)
    config = LoraConfig(r=3, lora_alpha=6, init_lora_weights=False, target_modules=["to_q", "to_k", "to_v", "to_out.0"])
    unet.add_adapter(config)
    initial = {f"unet.{n}": v.contiguous().clone() for n, v in get_peft_model_state_dict(unet).items()}
    metadata = {"format": "pt", "lora_adapter_metadata": json.dumps({"unet.r": 3, "unet.lora_alpha": 6})}
    save_file(initial, tmp_path / "initial.safetensors", metadata)

    ours, state = run_ours(tmp_path, folder, steps=3, lora=str(tmp_path / "initial.safetensors"), micro_batch=4)
    reference = run_reference(unet, scheduler, draws, steps=3)
    strip = lambda tensors: {n.replace(".default.", "."): v for n, v in tensors.items()}
    logs, weights, moments, _ = reference
    start = {n.removeprefix("unet."): v for n, v in initial.items()}
    check(ours, state, (logs, strip(weights), strip(moments), None), start)

    # Attached, merged and detached all mean what they say; merging can be undone exactly.
    attached, merged, detached, unmerged = (
        load_file(tmp_path / f"{n}.safetensors")["prediction"]
        for n in ("attached", "prediction", "detached", "unmerged"))
    assert distance({"": merged}, {"": attached}) < bound(1e-5, 1e-4)
    assert same(detached, unmerged)
    fresh = UNet2DConditionModel.from_config(unet.config)
    fresh.load_state_dict(plain)
    noisy = load_file(tmp_path / "prediction.safetensors")["noisy"]
    with torch.no_grad():
        expected = fresh(noisy, draws["timesteps"][0], draws["context"][0]).sample
        assert distance({"": detached}, {"": expected}) < 1e-4
        if model == "shapes":  # a whole pipeline: the way users load it
            pipe = StableDiffusionPipeline.from_pretrained(SHAPES, safety_checker=None)
            pipe.load_lora_weights(tmp_path, weight_name="lora.safetensors")
            fresh = pipe.unet
        else:
            fresh.load_lora_adapter(load_file(tmp_path / "lora.safetensors"), prefix="unet",
                                    metadata={"unet.r": 3, "unet.lora_alpha": 6, "unet.target_modules": config.target_modules})
        scales = {m.scaling[a] for m in fresh.modules() if hasattr(m, "scaling") for a in m.scaling}
        assert scales == {2.0}
        expected = fresh(noisy, draws["timesteps"][0], draws["context"][0]).sample
    assert distance({"": attached}, {"": expected}) < 1e-4
    assert distance({"": attached}, {"": detached}) > 1e-2


def test_older_lora_names_are_read(tmp_path):
    """lora.down / lora.up with .alpha tensors: scaled alike."""
    unet, folder, scheduler, draws = make_case(tmp_path, "sd1")
    rng = np.random.default_rng(1)
    new, old = {}, {}
    for name, module in unet.named_modules():
        if not name.endswith("to_q"):
            continue
        down = torch.from_numpy(rng.standard_normal((2, module.in_features), dtype=np.float32))
        up = torch.from_numpy(rng.standard_normal((module.out_features, 2), dtype=np.float32))
        new |= {f"unet.{name}.lora_A.weight": down, f"unet.{name}.lora_B.weight": up}
        old |= {f"unet.{name}.lora.down.weight": down, f"unet.{name}.lora.up.weight": up,
                f"unet.{name}.alpha": torch.tensor(2.0)}
    states = []
    for tensors in (new, old):
        save_file(tensors, tmp_path / "adapter.safetensors")
        states.append(run_ours(tmp_path, folder, steps=2, lora=str(tmp_path / "adapter.safetensors"))[1])
    assert states[0].keys() == states[1].keys()
    assert all(same(states[0][n], states[1][n]) for n in states[0])
