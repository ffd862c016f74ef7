"""A pinned name takes its own model alone. The folders have the published sizes and no weights, which are read last."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from full_size_test import VIT_H, VIT_L, config_json
from image_reward_reference import FULL, write_bert_vocabulary
from score_command import PROMPTS, refusal, write_clip_vocabulary, write_samples

SMALL_TOKENIZER = Path(os.environ["RSIDIFF_SOURCE"]) / "deploy/examples/shapes/base/tokenizer"
HEAD_SIZES = [1024, 128, 64, 16, 1]


def write_json(file, values):
    file.write_text(json.dumps(values))


def write_head(folder, sizes, scorer="aesthetic-v2"):
    folder.mkdir(exist_ok=True)
    inputs = [768, *sizes]
    tensors = {}
    for place, a, b in zip((0, 2, 4, 6, 7), inputs, sizes):
        tensors |= {f"layers.{place}.weight": torch.zeros(b, a), f"layers.{place}.bias": torch.zeros(b)}
    save_file(tensors, folder / "model.safetensors")
    write_json(folder / "config.json", {"_scorer": scorer})


def write_folders(name, folder):
    """What `name` accepts, but for the weights of the tower."""
    folder.mkdir()
    if name == "imagereward":
        write_bert_vocabulary(folder, PROMPTS, FULL["tokens"])
        write_json(folder / "config.json", {"model_type": "image_reward", "_scorer": name})
        return
    if name == "aesthetic-v2":
        write_head(folder / "head", HEAD_SIZES)
        name = "clipscore-vit-l-14-cos"
    write_clip_vocabulary(folder, text_cleaning="open_clip" if name.startswith("hps") else "transformers")
    write_json(folder / "config.json", config_json(VIT_L if name.startswith("clipscore") else VIT_H) | {"_scorer": name})


def argument(name, folder):
    return f"{name}={folder}/head,clip={folder}" if name == "aesthetic-v2" else f"{name}={folder}"


def config(**values):
    def change(folder):
        read = json.loads((folder / "config.json").read_text())
        for key, value in values.items():
            read[key] = read[key] | value if isinstance(value, dict) and key in read else value
        write_json(folder / "config.json", read)
    return change


def preprocessor(**values):
    return lambda folder: write_json(folder / "preprocessor_config.json", values)


def cleaning(value):
    return lambda folder: write_json(folder / "tokenizer_config.json", {"text_cleaning": value})


def small_tokenizer(folder):
    for file in ("vocab.json", "merges.txt"):
        shutil.copy(SMALL_TOKENIZER / file, folder)


CASES = [
    ("hpsv2.0", config(_scorer="hpsv2.1"), "config.json: these are the weights of hpsv2.1, not of hpsv2.0"),
    ("hpsv2.1", config(_scorer="hpsv2.0"), "config.json: these are the weights of hpsv2.0, not of hpsv2.1"),
    ("pickscore", config(_scorer="hpsv2.1"), "config.json: these are the weights of hpsv2.1, not of pickscore"),
    ("clipscore-vit-l-14-cos", config(_scorer="pickscore"), "these are the weights of pickscore, not of clipscore-vit-l-14-cos"),
    ("imagereward", config(_scorer="hpsv2.1"), "config.json: these are the weights of hpsv2.1, not of imagereward"),
    ("aesthetic-v2", config(_scorer="hpsv2.1"), "config.json: these are the weights of hpsv2.1, not of clipscore-vit-l-14-cos"),
    ("aesthetic-v2", lambda folder: write_head(folder / "head", HEAD_SIZES, "aesthetic-v1"),
     "head: config.json: these are the weights of aesthetic-v1, not of aesthetic-v2"),
    ("pickscore", config(text_config={"hidden_act": "quick_gelu"}), "config.json: text_config.hidden_act is not gelu"),
    ("hpsv2.1", config(vision_config={"num_hidden_layers": 24}), "config.json: vision_config.num_hidden_layers is 24, not 32"),
    ("clipscore-vit-l-14-cos", config(projection_dim=512), "config.json: projection_dim is 512, not 768"),
    ("aesthetic-v2", config(vision_config={"hidden_size": 1280}), "config.json: vision_config.hidden_size is 1280, not 1024"),
    ("imagereward", config(vision_config={"num_hidden_layers": 12}), "config.json: vision_config.num_hidden_layers is 12, not 24"),
    ("imagereward", config(text_config={"vocab_size": 30600}), "config.json: text_config.vocab_size is 30600, not 30524"),
    ("imagereward", config(head_sizes=[1024, 128, 64, 8, 1]), "config.json: head_sizes is 1024, 128, 64, 8, 1, not 1024, 128, 64, 16, 1"),
    ("imagereward", config(max_text_length=40, reward_std=1.5), "config.json: max_text_length is 40, not 35; reward_std is 1.5, not 1.03"),
    ("hpsv2.1", preprocessor(resize_arithmetic="pillow"), "preprocessor_config.json: resize_arithmetic is pillow, not float_antialias"),
    ("pickscore", preprocessor(resize_arithmetic="float"), "preprocessor_config.json: resize_arithmetic is float, not pillow"),
    ("clipscore-vit-l-14-cos", preprocessor(image_mean=[0.5, 0.5, 0.5]), "preprocessor_config.json: image_mean is 0.5 0.5 0.5, not"),
    ("aesthetic-v2", preprocessor(size=336), "preprocessor_config.json: size is shortest edge 336, not shortest edge 224"),
    ("imagereward", preprocessor(crop_rounding="down"), "preprocessor_config.json: crop_rounding is down, not to_even"),
    ("hpsv2.0", cleaning("transformers"), "tokenizer_config.json: text_cleaning is not open_clip"),
    ("pickscore", cleaning("open_clip"), "tokenizer_config.json: text_cleaning is not transformers"),
    ("hpsv2.1", small_tokenizer, "tokenizer: 1500 tokens, begin 1498, end 1499; CLIP's own has 49408, 49406 and 49407"),
    ("clipscore-vit-l-14-cos", small_tokenizer, "tokenizer: 1500 tokens"),
    ("imagereward", lambda folder: write_bert_vocabulary(folder, PROMPTS, 30000),
     "vocab.txt and [DEC], [ENC] have 30002 tokens, vocab_size in config.json is 30524"),
    ("aesthetic-v2", lambda folder: write_head(folder / "head", [1024, 128, 64, 8, 1]),
     "head/model.safetensors: layers of 1024, 128, 64, 8, 1 outputs, not of 1024, 128, 64, 16, 1"),
]


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return write_samples(tmp_path_factory.mktemp("samples"))


@pytest.mark.parametrize("name", ["hpsv2.0", "hpsv2.1", "pickscore", "clipscore-vit-l-14-cos", "aesthetic-v2", "imagereward"])
def test_its_own_folder_lacks_nothing_but_weights(name, samples, tmp_path):
    write_folders(name, tmp_path / "model")
    message = refusal(samples, tmp_path, argument(name, tmp_path / "model"))
    assert f"scorer {name}: {tmp_path}/model: no diffusion_pytorch_model.safetensors or model.safetensors" in message


@pytest.mark.parametrize("name, change, words", CASES, ids=[f"{name}: {words}" for name, _, words in CASES])
def test_another_one_is_refused(name, change, words, samples, tmp_path):
    write_folders(name, tmp_path / "model")
    change(tmp_path / "model")
    message = refusal(samples, tmp_path, argument(name, tmp_path / "model"))
    assert f"scorer {name}: {tmp_path}/model" in message and words in message, message
