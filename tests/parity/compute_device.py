"""Where the parity tests run our side: RSIDIFF_TEST_DEVICE, in the words of --device (default: cpu).

The tools read the variable themselves (compute_device.h). diffusers, transformers and PyTorch stay on the CPU in fp32.
Bounds that hold on the CPU alone are widened on a device to those that are promised: 1e-4 a module, 1e-3 a pipeline.
"""
import os

import torch

DEVICE = os.environ.get("RSIDIFF_TEST_DEVICE", "cpu")
ON_CPU = DEVICE == "cpu"


def bound(on_cpu, on_device):
    return on_cpu if ON_CPU else on_device


def same(ours, again, on_device=1e-4):
    """Two results of ours that are equal on the CPU, bit for bit; a device promises no order of its sums."""
    if ON_CPU:
        return torch.equal(ours, again)
    return ours.shape == again.shape and ((ours.double() - again.double()).norm() <= on_device * again.double().norm()).item()
