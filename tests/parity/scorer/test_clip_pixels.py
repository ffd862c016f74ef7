"""Preprocessing against transformers' Pillow image processor."""

import json
import os
import subprocess
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

TOOL = Path(os.environ["RSIDIFF_BIN"]) / "run_clip"
SHAPES = Path(os.environ["RSIDIFF_SOURCE"]) / "deploy" / "examples" / "shapes"

SIZES = [(1, 1), (1, 9), (9, 1), (2, 3), (31, 64), (64, 31), (63, 65), (64, 64), (65, 64), (97, 41), (300, 7), (5, 210),
         (128, 128), (224, 224), (223, 225), (512, 512), (640, 427), (333, 1000)]

CONFIGS = {
    "example": {},
    "CLIP's own size": dict(size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}),
    "sizes as numbers": dict(size=48, crop_size=32),
    "crop above the resized edge: padded": dict(size={"shortest_edge": 40}, crop_size={"height": 64, "width": 51}),
    "no resize: crop or pad": dict(do_resize=False, crop_size={"height": 64, "width": 65}),
    "resize to a given size, no crop": dict(size={"height": 50, "width": 70}, do_center_crop=False),
    "other means, no rescale": dict(do_rescale=False, image_mean=[120.0, 110.0, 100.0], image_std=[60.0, 61.0, 62.5]),
    "no normalisation": dict(do_normalize=False, rescale_factor=0.0078125),
}


def write_config(folder, **changes):
    config = json.loads((SHAPES / "clip" / "preprocessor_config.json").read_text())
    config.update(changes)
    folder.mkdir(exist_ok=True)
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    generator = numpy.random.default_rng(2)
    paths = []
    for index, (width, height) in enumerate(SIZES):
        pixels = generator.integers(0, 256, (height, width, 3), dtype=numpy.uint8)
        if index % 3 == 0:  # hard edges: bicubic overshoots
            pixels = (pixels > 127).astype(numpy.uint8) * 255
        paths.append(folder / f"{index}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


@pytest.mark.parametrize("name", CONFIGS)
def test_pixels_equal_transformers(name, pictures, tmp_path):
    folder = write_config(tmp_path / "model", **CONFIGS[name])
    subprocess.run([TOOL, "pixels", folder, tmp_path / "out.safetensors", *pictures], check=True)
    ours = load_file(tmp_path / "out.safetensors")
    processor = CLIPImageProcessorPil.from_pretrained(folder)
    for index, path in enumerate(pictures):
        theirs = processor(Image.open(path), return_tensors="pt").pixel_values[0]
        assert ours[str(index)].shape == theirs.shape, SIZES[index]
        assert (ours[str(index)] - theirs).abs().max() <= 1e-6, SIZES[index]


@pytest.mark.parametrize("changes, named", [
    (dict(resample=2), "resample"),
    (dict(size={"longest_edge": 64}), "shortest_edge"),
    (dict(size={"shortest_edge": 64, "longest_edge": 96}), "longest_edge"),
    (dict(size={"shortest_edge": 0}), "shortest_edge"),
    (dict(do_pad=True), "do_pad"),
    (dict(image_mean=[0.5]), "image_mean"),
    (dict(do_center_crop=False), "do_center_crop"),
    (dict(image_processor_type="SiglipImageProcessor"), "image_processor_type"),
    (dict(do_sharpen=True), "do_sharpen"),
])
def test_refused_by_name(changes, named, pictures, tmp_path):
    folder = write_config(tmp_path / "model", **changes)
    done = subprocess.run([TOOL, "pixels", folder, tmp_path / "out.safetensors", pictures[0]], capture_output=True, text=True)
    assert done.returncode == 1
    assert named in done.stderr and "preprocessor_config.json" in done.stderr


def test_elongated_picture_is_an_error(tmp_path):
    Image.new("RGB", (1, 16384)).save(tmp_path / "line.png")
    folder = write_config(tmp_path / "model", size=224)
    done = subprocess.run([TOOL, "pixels", folder, tmp_path / "out.safetensors", tmp_path / "line.png"],
                          capture_output=True, text=True)
    assert done.returncode == 1 and "1x16384" in done.stderr
