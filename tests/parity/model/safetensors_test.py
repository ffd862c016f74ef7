"""Our safetensors reader and writer against the Python package, and start noise against torch."""
import safetensors
import safetensors.torch
import torch

from parity_tool import run

TYPES = [torch.bool, torch.uint8, torch.int8, torch.uint16, torch.int16, torch.float16, torch.bfloat16, torch.uint32,
         torch.int32, torch.float32, torch.uint64, torch.int64, torch.float64, torch.complex64, torch.float8_e4m3fn,
         torch.float8_e5m2, torch.float8_e8m0fnu]


def tensors():
    generator = torch.Generator().manual_seed(1)
    made = {}
    for dtype in TYPES:
        numbers = torch.rand(3, 5, generator=generator) * 2
        made[f"plain.{dtype}"] = (numbers > 1) if dtype == torch.bool else numbers.to(dtype)
    made["scalar"] = torch.tensor(3.25)
    made["empty"] = torch.zeros(0, 7)
    made["odd"] = torch.arange(3, dtype=torch.uint8)
    made["na\u00efve \u2603 \"quoted\"\\"] = torch.ones(1)
    return made


def test_round_trip(tmp_path):
    given, metadata = tensors(), {"format": "pt", "\u00e9": "line\nbreak"}
    safetensors.torch.save_file(given, tmp_path / "in.safetensors", metadata)
    run("copy", tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    with safetensors.safe_open(tmp_path / "out.safetensors", "pt") as file:
        assert file.metadata() == metadata
        assert set(file.keys()) == set(given)
        for name, tensor in given.items():
            actual = file.get_tensor(name)
            assert actual.dtype == tensor.dtype and actual.shape == tensor.shape
            assert torch.equal(actual.flatten().view(torch.uint8), tensor.flatten().view(torch.uint8))
    assert len(list(tmp_path.iterdir())) == 2  # No temporary file left.


def test_a_file_without_tensors(tmp_path):
    safetensors.torch.save_file({}, tmp_path / "in.safetensors")
    run("copy", tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    assert safetensors.torch.load_file(tmp_path / "out.safetensors") == {}


def test_errors_name_the_file_and_leave_nothing(tmp_path):
    result = run("copy", tmp_path / "absent", tmp_path / "out", check=False)
    assert result.returncode == 1 and str(tmp_path / "absent") in result.stderr
    safetensors.torch.save_file(tensors(), tmp_path / "in.safetensors")
    result = run("copy", tmp_path / "in.safetensors", tmp_path / "no_folder/out", check=False)
    assert result.returncode == 1 and "no_folder" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.safetensors"]


def test_noise_is_what_torch_draws_for_each_seed(tmp_path):
    seeds = [0, 1, 2**32 + 1, 2**63 - 1, 1234567890123]
    run("noise", tmp_path / "noise.safetensors", *seeds)
    actual = safetensors.torch.load_file(tmp_path / "noise.safetensors")["noise"]
    for row, seed in zip(actual, seeds):
        assert torch.equal(row, torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(seed)))
