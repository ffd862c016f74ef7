"""Where the scripts read and write, and the on-disk forms they share.

WORLD is the folder of the finished models (`base/`, `clip/`, ...), WORK the one of drawings, caches, checkpoints and logs.
Set SHAPES_WORK to move both; the default is build/world in the repository. Nothing here writes to the shipped folders.
"""
import datetime
import json
import os
import pathlib

import numpy as np
import torch

MAKE = pathlib.Path(__file__).resolve().parent
SHIPPED = MAKE.parent
WORK = pathlib.Path(os.environ.get("SHAPES_WORK") or MAKE.parents[3] / "build" / "world")
WORLD = WORK / "shapes"
THREADS = int(os.environ.get("SHAPES_THREADS", "1"))


def prepare():
    """Makes the folders and sets the number of threads; every script calls it first."""
    WORLD.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(THREADS)


def log(stage, text):
    """One line with the time, to the terminal and to WORK/log.txt."""
    line = f"{datetime.datetime.now():%F %T} {stage}: {text}"
    print(line, flush=True)
    with open(WORK / "log.txt", "a", encoding="utf-8") as file:
        file.write(line + "\n")


def note(stage, **figures):
    """Keeps measured figures in WORK/figures.json, the later ones of a stage over the earlier."""
    path = WORK / "figures.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    known.setdefault(stage, {}).update({k: round(float(v), 4) for k, v in figures.items()})
    replace(path, lambda p: p.write_text(json.dumps(known, indent=2) + "\n"))
    log(stage, " ".join(f"{k} {v:.4g}" for k, v in figures.items()))


def replace(path, write):
    """Calls write(temporary path) and moves the result into place, so that a stop never leaves half a file."""
    temporary = path.with_name(path.name + ".part")
    write(temporary)
    temporary.replace(path)


def save_model(model, folder):
    """save_pretrained in fp32, without the absolute path that diffusers notes in config.json."""
    model.save_pretrained(folder)
    path = pathlib.Path(folder) / "config.json"
    config = json.loads(path.read_text())
    config.pop("_name_or_path", None)
    path.write_text(json.dumps(config, indent=2) + "\n")


def save_preprocessor(folder):
    """preprocessor_config.json of a CLIPModel for 64x64 pictures."""
    settings = dict(crop_size=dict(height=64, width=64), do_center_crop=True, do_convert_rgb=True, do_normalize=True, do_rescale=True,
                    do_resize=True, image_processor_type="CLIPImageProcessor", image_mean=[0.48145466, 0.4578275, 0.40821073],
                    image_std=[0.26862954, 0.26130258, 0.27577711], resample=3, rescale_factor=1 / 255, size=dict(shortest_edge=64))
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2))


def tokenizer(world=WORLD):
    from transformers import CLIPTokenizer
    return CLIPTokenizer.from_pretrained(world / "base" / "tokenizer")


def encode(tok, texts, length=77):
    return tok([str(t) for t in texts], padding="max_length", truncation=True, max_length=length, return_tensors="pt").input_ids


class Drawings:
    """One set of drawings with captions, as make_data.py wrote it. Pictures stay on disk (memory mapped)."""

    def __init__(self, name):
        folder = WORK / "data" / name
        self.images = np.load(folder / "images.npy", mmap_mode="r")     # N, 64, 64, 3 uint8
        self.cells = torch.from_numpy(np.load(folder / "cells.npy"))    # N, 3, 8, 8: shape, colour, size class; 0 is none
        texts = json.loads((folder / "texts.json").read_text())
        self.clean, self.wrong = texts["clean"], texts["wrong"]         # two wordings each; one attribute wrong
        self.noisy = torch.tensor(texts["noisy"])                       # the base model is told the wrong caption

    def __len__(self):
        return len(self.images)

    def pictures(self, index):
        """uint8, N x 3 x 64 x 64."""
        return torch.from_numpy(self.images[np.asarray(index)]).permute(0, 3, 1, 2)
