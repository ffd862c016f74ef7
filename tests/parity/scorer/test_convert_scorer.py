"""Official checkpoints are pickles: pickle -> convert_scorer.py -> rsidiff-worker score equals the Python reference."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from image_reward_reference import ImageReward, bert_tokenizer, write_bert_vocabulary
from score_command import PROMPTS, pictures, randomise, relative_error, scores, write_clip_vocabulary, write_samples
from test_image_reward import SHAPES as REWARD_SHAPES
from test_open_clip import SHAPES, image_features, make, reference

CONVERTER = Path(os.environ["RSIDIFF_SOURCE"]) / "deploy/convert/convert_scorer.py"


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return write_samples(tmp_path_factory.mktemp("samples"))


def run_converter(*arguments):
    return subprocess.run([sys.executable, CONVERTER, *map(str, arguments)], capture_output=True, text=True)


def convert(*arguments):
    done = run_converter(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_hps(samples, tmp_path):
    shape = SHAPES["two layers"]
    model = make(shape, 7)
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    state["module.attn_mask"] = torch.zeros(3, 3)  # what the open_clip of the official checkpoint stored too
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "hps.pt")
    write_clip_vocabulary(tmp_path / "tokenizer")
    heads = ("--vision-heads", shape["vision"]["width"] // shape["vision"]["head_width"], "--text-heads", shape["text"]["heads"])
    said = convert("hpsv2.1", tmp_path / "hps.pt", "--tokenizer", tmp_path / "tokenizer", "--out", tmp_path / "hps", *heads)
    assert "attn_mask" in said
    ours = scores(samples, tmp_path, f"hps={tmp_path}/hps")["hps"]
    assert relative_error(ours, reference(model, shape["vision"]["image_size"], pictures(samples))) < 1e-4


def test_image_reward(samples, tmp_path):
    shape = REWARD_SHAPES["small"]
    torch.manual_seed(8)
    model = randomise(ImageReward(shape), 8)
    torch.save(model.original_keys() | {"blip.vision_proj.weight": torch.zeros(3, 3)}, tmp_path / "reward.pt")
    write_bert_vocabulary(tmp_path / "tokenizer", PROMPTS * 3, shape["tokens"])
    heads = ("--vision-heads", shape["vision"]["num_attention_heads"], "--text-heads", shape["text"]["num_attention_heads"])
    said = convert("imagereward", tmp_path / "reward.pt", "--tokenizer", tmp_path / "tokenizer", "--out", tmp_path / "reward", *heads)
    assert "blip.vision_proj.weight" in said
    ours = scores(samples, tmp_path, f"blip-reward={tmp_path}/reward")["blip-reward"]
    assert relative_error(ours, model.rewards(pictures(samples), PROMPTS, bert_tokenizer(tmp_path / "tokenizer"))) < 1e-5


def test_aesthetic(samples, tmp_path):
    shape = SHAPES["wide embedding"]
    model = make(shape, 9)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "clip.pt")
    write_clip_vocabulary(tmp_path / "tokenizer")
    heads = ("--vision-heads", shape["vision"]["width"] // shape["vision"]["head_width"], "--text-heads", shape["text"]["heads"])
    convert("hpsv2.0", tmp_path / "clip.pt", "--tokenizer", tmp_path / "tokenizer", "--out", tmp_path / "clip", *heads)
    sizes = [shape["embed_dim"], 64, 32, 16, 8, 1]
    layers = [torch.nn.Linear(a, b) for a, b in zip(sizes, sizes[1:])]
    state = {f"layers.{place}.{leaf}": getattr(layer, leaf).detach() for place, layer in zip((0, 2, 4, 6, 7), layers) for leaf in ("weight", "bias")}
    torch.save(state, tmp_path / "head.pth")
    convert("aesthetic-v2", tmp_path / "head.pth", "--out", tmp_path / "head")
    assert json.loads((tmp_path / "head" / "config.json").read_text())["_scorer"] == "aesthetic-v2"
    ours = scores(samples, tmp_path, f"aesthetic={tmp_path}/head,clip={tmp_path}/clip")["aesthetic"]
    with torch.no_grad():
        x = image_features(model, shape["vision"]["image_size"], pictures(samples))
        for layer in layers:
            x = layer(x)
    assert relative_error(ours, x[:, 0]) < 1e-4


def head_pickle(path):
    sizes = [4, 5, 4, 3, 2, 1]
    layers = [torch.nn.Linear(a, b).state_dict() for a, b in zip(sizes, sizes[1:])]
    torch.save({f"layers.{place}.{leaf}": tensor for place, layer in zip((0, 2, 4, 6, 7), layers) for leaf, tensor in layer.items()}, path)


@pytest.mark.parametrize("missing", ["vocab.json", "merges.txt"])
def test_without_the_whole_vocabulary_nothing_is_written(missing, tmp_path):
    shape = SHAPES["two layers"]
    torch.save({"state_dict": make(shape, 7).state_dict()}, tmp_path / "hps.pt")
    (write_clip_vocabulary(tmp_path / "tokenizer") / missing).unlink()
    done = run_converter("hpsv2.1", tmp_path / "hps.pt", "--tokenizer", tmp_path / "tokenizer", "--out", tmp_path / "out")
    assert done.returncode == 1 and f"tokenizer/{missing}: there is no such file" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hps.pt", "tokenizer"]


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    head_pickle(tmp_path / "head.pth")
    (tmp_path / "empty").mkdir()
    convert("aesthetic-v2", tmp_path / "head.pth", "--out", tmp_path / "empty")
    before = {path.name: path.read_bytes() for path in (tmp_path / "empty").iterdir()}
    assert sorted(before) == ["config.json", "model.safetensors"]
    done = run_converter("aesthetic-v2", tmp_path / "head.pth", "--out", tmp_path / "empty")
    assert done.returncode == 1 and "empty: is there already" in done.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "empty").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "head.pth"]


class Harmful:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize("content, named", [
    (Harmful(), "cannot be read as tensors alone"),
    ([1, 2], "no state dict"),
    ({"visual.conv1.weight": 3}, "visual.conv1.weight"),
    ({"visual.conv1.weight": torch.zeros(4, 3, 2, 2)}, "token_embedding.weight is missing"),
    ({"visual.conv1.weight": torch.zeros(4)}, "visual.conv1.weight has shape [4]"),
])
def test_other_files_are_refused(content, named, tmp_path):
    with open(tmp_path / "file.pt", "wb") as file:
        torch.save(content, file) if not isinstance(content, Harmful) else pickle.dump(content, file)
    done = run_converter("hpsv2.1", tmp_path / "file.pt", "--out", tmp_path / "out")
    assert done.returncode == 1 and named in done.stderr and "file.pt" in done.stderr
    assert not (tmp_path / "out").exists()
