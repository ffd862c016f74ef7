"""Stable Diffusion 1.4's UNet at its real size, random weights: one forward pass against diffusers.

Needs about 8 GB of memory. Prints times and our peak memory against the size of the weights file.
"""
import gc
import time

import diffusers
import safetensors.torch
import torch

from parity_tool import TOLERANCE, peak_rss_kib, relative_error, run


def test_forward(tmp_path):
    torch.manual_seed(2)
    model = diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768).eval()  # diffusers' defaults.
    assert sum(parameter.numel() for parameter in model.parameters()) == 859_520_964
    model.save_pretrained(tmp_path / "unet")
    given = {"sample": torch.randn(1, 4, 64, 64), "timesteps": torch.tensor([481]),
             "encoder_hidden_states": torch.randn(1, 77, 768)}
    safetensors.torch.save_file(given, tmp_path / "in.safetensors")
    start = time.perf_counter()
    with torch.no_grad():
        expected = model(given["sample"], given["timesteps"], given["encoder_hidden_states"]).sample
    theirs = time.perf_counter() - start
    del model
    gc.collect()
    start = time.perf_counter()
    result = run("unet", tmp_path / "unet", tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    ours = time.perf_counter() - start
    actual = safetensors.torch.load_file(tmp_path / "out.safetensors")["sample"]
    error = relative_error(actual, expected)
    size = (tmp_path / "unet/diffusion_pytorch_model.safetensors").stat().st_size
    print(f"relative error {error:.2e}; forward in diffusers {theirs:.1f} s; our process, load and start included, "
          f"{ours:.1f} s; our peak memory {peak_rss_kib(result) / 2**20:.2f} GiB for a file of {size / 2**30:.2f} GiB")
    assert error < TOLERANCE
