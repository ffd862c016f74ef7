"""One fine-tuning step: ours against PyTorch with diffusers' UNet and its fastest AdamW, on the same inputs.

Prints the environment, seconds a step of each and the ratio (above 1: ours is faster), by the clock and by processor
time, which other processes on the machine disturb less. Both run in turns; the best step of each counts.

    RSIDIFF_BIN=build/release/bin python tests/bench/train/train_step_bench.py [--model shapes|mid] [--threads N]
"""
import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[3]
SHAPES = SOURCE / "deploy/examples/shapes/base/unet"

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--model", choices=["shapes", "mid"], default="shapes")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--steps", type=int, default=0, help="0: 8 for shapes, 3 for mid")
parser.add_argument("--turns", type=int, default=3)
parser.add_argument("--attention", choices=["processor2_0", "plain", "best"], default="best",
                    help="diffusers' attention: fused, matrix products, or the faster of the two")
arguments = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(arguments.threads)

import torch  # noqa: E402  (reads OMP_NUM_THREADS)
from diffusers import DDPMScheduler, UNet2DConditionModel  # noqa: E402
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

torch.set_num_threads(arguments.threads)
torch.manual_seed(0)
SCHEDULER = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)
# About 100 M parameters, Stable Diffusion's structure.
MID = dict(sample_size=32, block_out_channels=(128, 256, 384, 384), layers_per_block=2, cross_attention_dim=768,
           attention_head_dim=8)


def prepare(folder):
    if arguments.model == "shapes":
        unet_folder, batch, tokens = SHAPES, 64, 77
        unet = UNet2DConditionModel.from_pretrained(unet_folder)
    else:
        unet_folder, batch, tokens = folder / "unet", 2, 77
        unet = UNet2DConditionModel(**MID)
        unet.save_pretrained(unet_folder)
    (folder / "scheduler").mkdir()
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps({"_class_name": "DDIMScheduler", **SCHEDULER}))
    steps = arguments.steps or (8 if arguments.model == "shapes" else 3)
    size = unet.config.sample_size
    draws = {
        "latents": torch.randn(1, batch, 4, size, size),
        "noise": torch.randn(1, batch, 4, size, size),
        "timesteps": torch.randint(0, 1000, (1, batch)),
        "context": torch.randn(1, batch, tokens, unet.config.cross_attention_dim),
        "weights": torch.ones(1, batch),
    }
    save_file(draws, folder / "draws.safetensors")
    return unet, unet_folder, draws, steps


def time_ours(folder, unet_folder, steps):
    spec = dict(unet=str(unet_folder), scheduler=str(folder / "scheduler"), draws=str(folder / "draws.safetensors"),
                out=str(folder), steps=steps, threads=arguments.threads, lr=1e-5, time_only=True)
    (folder / "spec.json").write_text(json.dumps(spec))
    tool = Path(os.environ["RSIDIFF_BIN"]) / "finetune_steps"
    done = subprocess.run([tool, folder / "spec.json"], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [(line["seconds"], line["cpu_seconds"]) for line in lines[1:]]  # the first one warms up


def time_torch(unet, draws, steps, processor):
    unet.set_attn_processor(processor)
    unet.train()
    scheduler = DDPMScheduler(**SCHEDULER)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-5, fused=True)
    d = {name: value[0] for name, value in draws.items()}
    seconds = []
    for _ in range(steps):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        noisy = scheduler.add_noise(d["latents"], d["noise"], d["timesteps"])
        prediction = unet(noisy, d["timesteps"], d["context"]).sample
        losses = torch.nn.functional.mse_loss(prediction, d["noise"], reduction="none").mean((1, 2, 3))
        (losses * d["weights"]).mean().backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append((time.perf_counter() - begin, time.process_time() - begin_cpu))
    return seconds[1:]


def main():
    processors = {"processor2_0": AttnProcessor2_0(), "plain": AttnProcessor()}
    if arguments.attention != "best":
        processors = {arguments.attention: processors[arguments.attention]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unet, unet_folder, draws, steps = prepare(folder)
        ours, theirs = [], {name: [] for name in processors}
        for _ in range(arguments.turns):
            ours += time_ours(folder, unet_folder, steps)
            for name, processor in processors.items():
                theirs[name] += time_torch(unet, draws, steps, processor)
    millions = sum(p.numel() for p in unet.parameters()) / 1e6
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
    print(f"{cpu}, torch {torch.__version__}, {arguments.threads} thread(s), load {os.getloadavg()[0]:.1f}")
    print(f"{arguments.model}: {millions:.1f} M parameters, batch {draws['latents'].shape[1]}, fp32, AdamW")
    best = lambda times: [min(column) for column in zip(*times)]
    clock, cpu_time = best(ours)
    print(f"  {'rsidiff':25s} {clock:8.3f} s/step   {cpu_time:8.3f} s of processor time")
    for name, times in theirs.items():
        other, other_cpu = best(times)
        print(f"  {'diffusers, ' + name:25s} {other:8.3f} s/step   {other_cpu:8.3f} s of processor time   "
              f"ratio {other / clock:.2f} by the clock, {other_cpu / cpu_time:.2f} by processor time")


if __name__ == "__main__":
    main()
