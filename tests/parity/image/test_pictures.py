"""PNG and bicubic resizing against Pillow: not one bit of difference."""

import os
import subprocess
from pathlib import Path

import numpy
import pytest
from PIL import Image

TOOL = Path(os.environ["RSIDIFF_BIN"]) / "resize_picture"


def run(cases):
    lines = "".join(f"{source} {width} {height} {target}\n" for source, width, height, target in cases)
    subprocess.run([TOOL], input=lines, text=True, check=True)


def picture(generator, width, height):
    kind = generator.integers(4)
    if kind == 0:  # noise
        return generator.integers(0, 256, (height, width, 3), dtype=numpy.uint8)
    if kind == 1:  # black and white: overshoot is clipped
        return (generator.integers(0, 2, (height, width, 1)) * 255).repeat(3, 2).astype(numpy.uint8)
    ramp = numpy.linspace(0, 255, width)[None, :, None] + numpy.linspace(0, 255, height)[:, None, None]
    return (ramp * numpy.array([1, 0.5, 2.5])).astype(numpy.uint8)


def test_bicubic_equals_pillow(tmp_path):
    generator = numpy.random.default_rng(7)
    sizes = [(1, 1, 5, 7), (1, 9, 9, 1), (7, 5, 1, 1), (64, 64, 224, 224), (512, 512, 224, 224), (640, 480, 298, 224),
             (63, 65, 224, 230), (224, 224, 224, 224), (100, 50, 100, 224), (50, 100, 224, 100), (1024, 3, 2, 999), (3, 700, 301, 2)]
    sizes += [tuple(int(x) for x in generator.integers(1, 260, 4)) for _ in range(150)]
    sizes += [(w, h, w + int(dw), h + int(dh)) for w, h, _, _ in sizes[12:32] for dw, dh in [generator.integers(0, 3, 2)]]
    cases = []
    for index, (width, height, new_width, new_height) in enumerate(sizes):
        source = tmp_path / f"in{index}.png"
        Image.fromarray(picture(generator, width, height)).save(source)
        cases.append((source, new_width, new_height, tmp_path / f"out{index}.png"))
    run(cases)
    for source, width, height, target in cases:
        expected = numpy.asarray(Image.open(source).resize((width, height), Image.BICUBIC))
        assert (numpy.asarray(Image.open(target)) == expected).all(), (source, width, height)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
@pytest.mark.parametrize("interlaced", [False, True])
def test_decodes_what_pillow_decodes(tmp_path, mode, interlaced):
    generator = numpy.random.default_rng(3)
    image = Image.fromarray(generator.integers(0, 256, (33, 21, 4), dtype=numpy.uint8), "RGBA")
    image = image.convert("RGB").convert("P", palette=Image.ADAPTIVE) if mode == "P" else image.convert(mode)
    image.save(tmp_path / "in.png", interlace=int(interlaced))
    run([(tmp_path / "in.png", 21, 33, tmp_path / "out.png")])
    assert (numpy.asarray(Image.open(tmp_path / "out.png")) == numpy.asarray(image.convert("RGB"))).all()


def test_text_reads_in_pillow(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "in.png")
    run([(tmp_path / "in.png", 2, 2, tmp_path / "out.png")])
    text = Image.open(tmp_path / "out.png").text
    assert text == {"source": str(tmp_path / "in.png"), "note": "naïve", "prompt": "猫 🐈"}
