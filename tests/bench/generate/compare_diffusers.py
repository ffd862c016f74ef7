"""Generation speed: `rsidiff-worker generate` beside diffusers, same pictures, threads and steps.

    .venv-test/bin/python tests/bench/generate/compare_diffusers.py --worker build/release/bin/rsidiff-worker

Models: the shapes example, and a UNet of about 100 million random parameters that the script makes. Loading is not counted;
diffusers runs a short job first to warm up, ours starts cold. They take turns; the rates are of the best of --repeat runs, the
ratio is the median of the ratios of neighbouring runs, which a machine that slows down now and then disturbs least. Prints one JSON
line a case and a table at the end.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[3]
SHAPES = SOURCE / "deploy/examples/shapes/base"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", type=Path, required=True, help="rsidiff-worker of a release build")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=["shapes", "midsize"], choices=["shapes", "midsize"])
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    return parser.parse_args()


CASES = {"shapes": {"pictures": 32, "batch": 8, "steps": 20}, "midsize": {"pictures": 2, "batch": 2, "steps": 6}}


def make_midsize(folder):
    import torch
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
    torch.manual_seed(0)
    text = CLIPTextModel(CLIPTextConfig(vocab_size=1500, hidden_size=512, intermediate_size=2048, num_hidden_layers=4,
                                        num_attention_heads=8, bos_token_id=1498, eos_token_id=1499))
    unet = UNet2DConditionModel(sample_size=32, cross_attention_dim=512, attention_head_dim=8, layers_per_block=2,
                                block_out_channels=(128, 256, 384, 384))
    vae = AutoencoderKL(block_out_channels=(32, 64, 64, 64), down_block_types=("DownEncoderBlock2D",) * 4,
                        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=1)
    scheduler = PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1)
    StableDiffusionPipeline(text_encoder=text, tokenizer=CLIPTokenizer.from_pretrained(SHAPES / "tokenizer"), unet=unet, vae=vae,
                            scheduler=scheduler, safety_checker=None, feature_extractor=None,
                            requires_safety_checker=False).save_pretrained(folder)
    return sum(parameter.numel() for parameter in unet.parameters())


def peer(job):
    """Runs in a process of its own: diffusers, seconds of the timed job on stdout."""
    import torch
    from diffusers import StableDiffusionPipeline
    torch.set_num_threads(job["threads"])
    pipeline = StableDiffusionPipeline.from_pretrained(job["model"], safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)

    def generate(pictures, steps):
        for first in range(0, pictures, job["batch"]):
            count = min(job["batch"], pictures - first)
            generators = [torch.Generator().manual_seed(first + i) for i in range(count)]
            pipeline([f"a red circle {first + i}" for i in range(count)], generator=generators, num_inference_steps=steps)

    with torch.inference_mode():
        generate(job["batch"], 2)
        start = time.perf_counter()
        generate(job["pictures"], job["steps"])
    print(time.perf_counter() - start)


def run_peer(job):
    environment = {**os.environ, "OMP_NUM_THREADS": str(job["threads"])}
    result = subprocess.run([sys.executable, __file__, "--worker", "-", "--peer", json.dumps(job)], env=environment,
                            capture_output=True, text=True, check=True)
    return float(result.stdout.splitlines()[-1])


def run_ours(worker, job, folder):
    prompts = folder / "prompts.txt"
    prompts.write_text("".join(f"a red circle {i}\n" for i in range(job["pictures"])))
    command = [worker, "generate", "--model", job["model"], "--prompts", prompts, "--seed", 0, "--steps", job["steps"], "--batch",
               job["batch"], "--threads", job["threads"], "--device", "cpu", "--out", folder / "out", "--json"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    return json.loads(result.stdout)


def main():
    args = arguments()
    if args.peer:
        return peer(json.loads(args.peer))
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = {"shapes": SHAPES}
        if "midsize" in args.models:
            models["midsize"] = folder / "midsize"
            print(f"mid-size UNet: {make_midsize(models['midsize']) / 1e6:.1f} million parameters", file=sys.stderr)
        for model in args.models:
            for threads in args.threads:
                job = {**CASES[model], "model": str(models[model]), "threads": threads}
                ours, theirs = [], []
                for _ in range(args.repeat):
                    theirs.append(run_peer(job))
                    report = run_ours(args.worker, job, folder)
                    ours.append(report["seconds"])
                rate, peer_rate = job["pictures"] / min(ours), job["pictures"] / min(theirs)
                ratio = statistics.median(peer_seconds / seconds for seconds, peer_seconds in zip(ours, theirs))
                rows.append((model, threads, rate, peer_rate, ratio))
                print(json.dumps({"model": model, "threads": threads, "steps": job["steps"], "batch": job["batch"],
                                  "pictures_per_second": rate, "diffusers_pictures_per_second": peer_rate,
                                  "ratio": ratio, "ratio_of_best": rate / peer_rate, "environment": report["environment"],
                                  "python": platform.python_version()}), flush=True)
    print(f"{'model':10} {'threads':>7} {'ours/s':>8} {'diffusers/s':>12} {'ratio':>6}", file=sys.stderr)
    for model, threads, rate, peer_rate, ratio in rows:
        print(f"{model:10} {threads:7} {rate:8.3f} {peer_rate:12.3f} {ratio:6.2f}", file=sys.stderr)


if __name__ == "__main__":
    main()
