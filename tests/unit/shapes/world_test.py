"""The shapes world's drawing, captions and checker agree with each other; the experiments' ground truth rests on them."""
import os
import random
import sys
from pathlib import Path

import pytest

SHAPES = Path(os.environ["RSIDIFF_SOURCE"]) / "deploy/examples/shapes"
sys.path.insert(0, str(SHAPES / "make"))
import world  # noqa: E402

PICTURES = 200


def pictures(seed):
    rng = random.Random(seed)
    for _ in range(PICTURES):
        spec = world.sample_spec(rng)
        yield spec, world.draw(spec, rng), rng


def test_a_caption_reads_back_as_its_spec():
    rng = random.Random(1)
    for _ in range(1000):
        spec = world.sample_spec(rng)
        assert world.parse(world.caption(spec, rng)) == spec


def test_a_drawing_shows_what_its_spec_says():
    right = sum(world.check(image, spec) == 1 for spec, image, _ in pictures(2))
    assert right >= 0.99 * PICTURES


def test_a_caption_with_one_wrong_attribute_is_caught():
    assert all(world.check(image, world.corrupt(spec, rng)) < 1 for spec, image, rng in pictures(3))


def test_what_the_checker_describes_is_true_and_can_be_said():
    described = 0
    for _, image, rng in pictures(4):
        spec = world.describe(image, rng)
        if spec is None:
            continue
        described += 1
        assert world.check(image, spec) == 1
        assert world.parse(world.caption(spec, rng)) == spec
    assert described > 0.9 * PICTURES


def test_an_empty_picture_is_not_described():
    image = world.paint("white", [], random.Random(5))
    assert world.describe(image, random.Random(5)) is None
    assert world.perceive(image) == ("white", [])


@pytest.mark.parametrize("shape", world.SHAPES)
def test_every_shape_is_told_at_every_size(shape):
    for radius in (7.2, 11.0, 14.5):
        thing = world.Placed(shape, "blue", 31.0, 33.0, radius)
        _, found = world.perceive(world.paint("cream", [thing], random.Random(6)))
        assert [(f["shape"], f["colour"]) for f in found] == [(shape, "blue")]
        assert found[0]["radius"] == pytest.approx(radius, abs=1.2)


def test_the_shipped_prompts_are_those_of_the_script():
    lines = (SHAPES / "prompts/train.labels.tsv").read_text().splitlines()[1:]
    clean = [text for _, label, text in (line.split("\t") for line in lines) if label == "clean"]
    evaluation = (SHAPES / "prompts/eval.txt").read_text().splitlines()
    assert all(world.parse(text) for text in clean + evaluation)
    assert not {world.parse(text) for text in clean} & {world.parse(text) for text in evaluation}
