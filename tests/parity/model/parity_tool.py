"""What the parity tests of this folder share: random models as folders, and runs of the C++ tool."""
import os
import pathlib
import subprocess

import torch

torch.set_num_threads(1)
TOOL = pathlib.Path(os.environ["RSIDIFF_BIN"]) / "model_parity"
SOURCE = pathlib.Path(os.environ["RSIDIFF_SOURCE"])
TOLERANCE = 1e-4


def run(*arguments, check=True):
    result = subprocess.run([str(TOOL), *map(str, arguments)], capture_output=True, text=True, timeout=600)
    assert not check or result.returncode == 0, result.stderr
    return result


def peak_rss_kib(result):
    return int(result.stderr.strip().splitlines()[-1].split()[1])


def randomise(model, seed):
    """Norms and biases start as ones and zeros: make them count."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def relative_error(actual, expected):
    assert actual.shape == expected.shape
    assert torch.isfinite(actual).all()
    return ((actual.double() - expected.double()).norm() / expected.double().norm()).item()
