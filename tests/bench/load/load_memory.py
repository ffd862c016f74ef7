"""Time and peak memory of loading a pipeline's weights, beside diffusers and beside reading the file.

    .venv-test/bin/python tests/bench/load/load_memory.py --worker build/release/bin/rsidiff-worker

The pipeline has a UNet of about 360 million random parameters, made by the script. Both sides draw one smallest picture in one
step, so that the peak is the weights and what the process needs anyway. Prints one JSON line.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[3]
SHAPES = SOURCE / "deploy/examples/shapes/base"
MIB = 1 << 20


def make_pipeline(folder):
    """Runs in a process of its own, so that its memory is not ours."""
    import torch
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel
    torch.manual_seed(0)
    unet = UNet2DConditionModel(sample_size=8, cross_attention_dim=128, attention_head_dim=8, layers_per_block=2,
                                block_out_channels=(256, 512, 768, 768))
    pipeline = StableDiffusionPipeline.from_pretrained(SHAPES, unet=unet, safety_checker=None)
    pipeline.save_pretrained(folder)
    print(sum(parameter.numel() for parameter in unet.parameters()))


def draw_with_diffusers(folder):
    import torch
    from diffusers import StableDiffusionPipeline
    torch.set_num_threads(1)
    start = time.perf_counter()
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    print(time.perf_counter() - start)
    pipeline.set_progress_bar_config(disable=True)
    with torch.inference_mode():
        pipeline(["a red circle"], num_inference_steps=1)


def measure(command):
    """(wall seconds, peak RSS in bytes, stdout) of a child process."""
    start = time.perf_counter()
    child = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                             env={**os.environ, "OMP_NUM_THREADS": "1"})
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command}: exit status {child.returncode}")
    return time.perf_counter() - start, usage.ru_maxrss * 1024, output


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", type=Path, help="rsidiff-worker of a release build")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make:
        return make_pipeline(args.make)
    if args.peer:
        return draw_with_diffusers(args.peer)
    with tempfile.TemporaryDirectory() as name:
        model = Path(name) / "model"
        parameters = int(measure([sys.executable, __file__, "--make", model])[2].split()[-1])
        weights = list(model.rglob("*.safetensors"))
        start = time.perf_counter()
        for path in weights:
            # Piece by piece: a child's peak begins with what its parent holds.
            with path.open("rb") as file:
                while file.read(16 * MIB):
                    pass
        read_seconds = time.perf_counter() - start
        small = ["generate", "--prompt", "a red circle", "--steps", 1, "--batch", 1, "--out", Path(name) / "out", "--json"]
        ours_small = measure([args.worker, *small, "--model", SHAPES])
        ours = measure([args.worker, *small, "--model", model])
        peer = measure([sys.executable, __file__, "--peer", model])
        size = sum(path.stat().st_size for path in weights)
        print(json.dumps({
            "unet_parameters": parameters, "weights_mib": size / MIB, "read_seconds": read_seconds,
            "peak_rss_mib": ours[1] / MIB, "peak_rss_of_a_tiny_model_mib": ours_small[1] / MIB, "peak_over_weights": ours[1] / size,
            "diffusers_peak_rss_mib": peer[1] / MIB, "rss_ratio": peer[1] / ours[1],
            "whole_process_seconds": ours[0], "diffusers_whole_process_seconds": peer[0],
            "environment": json.loads(ours[2])["environment"]}))


if __name__ == "__main__":
    main()
