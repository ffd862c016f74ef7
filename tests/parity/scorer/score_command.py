"""What the scorer tests share: pictures and prompts as a samples.jsonl, and runs of `rsidiff-worker score`."""

import gzip
import json
import os
import subprocess
from pathlib import Path

import numpy
import open_clip
import torch
from PIL import Image

WORKER = Path(os.environ["RSIDIFF_BIN"]) / "rsidiff-worker"
torch.set_num_threads(1)

SIZES = [(64, 64), (63, 65), (1, 1), (200, 31), (37, 150), (512, 512), (16, 16), (65, 64), (90, 90), (128, 77), (3, 2), (227, 224)]
PROMPTS = ["a red circle on a white background", "", "two small blue squares", "a", "青い三角形と赤い丸", "ein grüner Stern über einem Kreis",
           "Синий квадрат слева от звезды", "🟥🟦 emoji \t\n and   spaces", "long " * 100, "a green triangle above a yellow hexagon, " * 20,
           "a red circle on a white background", "Τρίγωνο & κύκλος &amp;amp; “curly” ﬁne ＷＩＤＥ it's"]


def write_samples(folder, sizes=SIZES, prompts=PROMPTS):
    generator = numpy.random.default_rng(4)
    lines = []
    for index, ((width, height), prompt) in enumerate(zip(sizes, prompts, strict=True)):
        pixels = generator.integers(0, 256, (height, width, 3), dtype=numpy.uint8)
        if index % 3 == 0:  # hard edges: bicubic overshoots
            pixels = (pixels > 127).astype(numpy.uint8) * 255
        Image.fromarray(pixels).save(folder / f"{index}.png")
        lines.append({"prompt": prompt, "file": f"{index}.png"})
    (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "samples.jsonl"


def pictures(samples):
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    return [Image.open(samples.parent / line["file"]) for line in lines]


def run_score(samples, out, *scorers, extra=()):
    arguments = [item for scorer in scorers for item in ("--scorer", scorer)]
    return subprocess.run([WORKER, "score", *arguments, "--samples", samples, "--out", out, *extra], capture_output=True, text=True)


def scores(samples, tmp_path, *scorers, extra=()):
    """Columns by scorer name."""
    out = tmp_path / "scores.jsonl"
    done = run_score(samples, out, *scorers, extra=extra)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line)["scores"] for line in out.read_text().splitlines()]
    return {name: [line[name] for line in lines] for name in lines[0]}


def refusal(samples, tmp_path, *scorers):
    done = run_score(samples, tmp_path / "none.jsonl", *scorers)
    assert done.returncode == 1, done
    assert not (tmp_path / "none.jsonl").exists()
    return done.stderr


def relative_error(ours, theirs):
    """Of each score, against the largest: a score may be near zero by cancellation."""
    ours, theirs = numpy.asarray(ours, dtype=numpy.float64), numpy.asarray(theirs, dtype=numpy.float64)
    assert ours.shape == theirs.shape
    return numpy.abs(ours - theirs).max() / numpy.abs(theirs).max()


def randomise(model, seed, scale=0.05):
    """Biases start at zero and norms at one; give every parameter a say."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name != "logit_scale":
                parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)
    return model.eval()


def write_clip_vocabulary(folder, **config):
    """CLIP's own 49,408 tokens, out of open_clip's package, in the files of transformers."""
    tokenizer = open_clip.tokenizer.SimpleTokenizer()
    tokens = dict(tokenizer.encoder)
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "vocab.json").write_text(json.dumps({names.get(token, token): index for token, index in tokens.items()}))
    lines = gzip.open(open_clip.tokenizer.default_bpe()).read().decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(lines) + "\n")
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder
