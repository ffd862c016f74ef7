"""Ground truth for the shapes example: how many of the attributes that a prompt states does its picture show?

    check.py FOLDER        FOLDER as written by `rsidiff samples RUN --round R --evaluation --out FOLDER`

Prints one JSON object: mean fraction of right attributes, share of pictures with all of them right, count.
Outside the product: it reads the pictures with make/world.py and needs numpy and Pillow.
"""
import json
import pathlib
import sys

import numpy as np
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "make"))
from world import check as share_right, parse  # noqa: E402


def judged(folder):
    """Each sample's line, and the fraction of its prompt's attributes that its picture shows; None for a prompt that says nothing clear."""
    for line in (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines():
        sample = json.loads(line)
        spec = parse(sample["prompt"])
        yield sample, None if spec is None else share_right(np.asarray(Image.open(folder / sample["file"]).convert("RGB")), spec)


def check(folder):
    fractions = []
    for sample, fraction in judged(folder):
        if fraction is None:
            raise SystemExit(f"{folder}: not a prompt of the shapes world: {sample['prompt']!r}")
        fractions.append(fraction)
    return {"fraction": float(np.mean(fractions)), "exact": float(np.mean([f == 1 for f in fractions])), "samples": len(fractions)}


if __name__ == "__main__":
    print(json.dumps(check(pathlib.Path(sys.argv[1]))))
