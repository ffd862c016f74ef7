"""The pinned scorers at their real sizes, with random weights, against open_clip, transformers and ImageReward's blocks.

The configurations are the published ones; only the weights are not. Needs 12 GB of memory and some minutes (ctest -L full).
"""

import json
import math
import shutil

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from image_reward_reference import FULL, ImageReward, bert_tokenizer, write_bert_vocabulary, write_config
from score_command import pictures, randomise, scores, write_clip_vocabulary, write_samples
from test_open_clip import image_features, preprocessor_json

SIZES = [(512, 512), (227, 224), (63, 300), (640, 360), (16, 16)]
PROMPTS = ["a red circle on a white background", "青い三角形と赤い丸", "", "Синий квадрат слева от звезды, ein grüner Stern",
           "a green triangle above a yellow hexagon, " * 20]
LIMIT = 1e-3  # of each score

VIT_H = dict(text=dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, hidden_act="gelu"),
             vision=dict(hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=16, hidden_act="gelu"),
             projection=1024)
VIT_L = dict(text=dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, hidden_act="quick_gelu"),
             vision=dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, hidden_act="quick_gelu"),
             projection=768)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    torch.set_num_threads(2)
    return write_samples(tmp_path_factory.mktemp("samples"), SIZES, PROMPTS)


def check(name, ours, theirs):
    error = max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))
    shown = ", ".join(f"{score:.5g}" for score in theirs)
    print(f"{name}: relative error {error:.1e}; scores {shown}")
    assert error < LIMIT, shown
    # A constant would agree with anything.
    assert max(theirs) - min(theirs) > 3 * LIMIT * max(map(abs, theirs))


def config_json(shape):
    return {"model_type": "clip", "projection_dim": shape["projection"], "text_config": shape["text"],
            "vision_config": shape["vision"] | {"image_size": 224, "patch_size": 14}}


@pytest.mark.parametrize("name", ["hpsv2.0", "hpsv2.1"])
@torch.no_grad()
def test_hps(name, samples, tmp_path):
    model = randomise(open_clip.create_model("ViT-H-14", pretrained=None), 3 if name == "hpsv2.0" else 4, scale=0.01)
    write_clip_vocabulary(tmp_path, text_cleaning="open_clip")
    save_file({key: tensor.contiguous().clone() for key, tensor in model.state_dict().items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config_json(VIT_H) | {"_scorer": name}))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessor_json(224)))
    text = model.encode_text(open_clip.tokenizer.SimpleTokenizer()(PROMPTS), normalize=True)
    theirs = torch.diagonal(image_features(model, 224, pictures(samples)) @ text.T).tolist()
    del model
    check(name, scores(samples, tmp_path, f"{name}={tmp_path}")[name], theirs)


def clip_model(folder, shape, seed):
    config = CLIPConfig(text_config=shape["text"] | {"vocab_size": 49408, "eos_token_id": 49407, "bos_token_id": 49406},
                        vision_config=shape["vision"] | {"image_size": 224, "patch_size": 14}, projection_dim=shape["projection"])
    torch.manual_seed(seed)
    model = randomise(CLIPModel(config), seed, scale=0.01)
    write_clip_vocabulary(folder)
    model.save_pretrained(folder)
    return model


@torch.no_grad()
def unit_features(model, folder, samples):
    prepared = CLIPImageProcessorPil()([picture.convert("RGB") for picture in pictures(samples)], return_tensors="pt").pixel_values
    tokens = CLIPTokenizer.from_pretrained(folder)(PROMPTS, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    image = model.get_image_features(prepared).pooler_output
    text = model.get_text_features(tokens.input_ids).pooler_output
    return image / image.norm(dim=-1, keepdim=True), text / text.norm(dim=-1, keepdim=True)


def test_pickscore(samples, tmp_path):
    model = clip_model(tmp_path, VIT_H, 5)
    image, text = unit_features(model, tmp_path, samples)
    theirs = (model.logit_scale.detach().exp() * torch.diagonal(image @ text.T)).tolist()
    del model
    check("pickscore", scores(samples, tmp_path, f"pickscore={tmp_path}")["pickscore"], theirs)


def test_clipscore_and_aesthetic_share_a_tower(samples, tmp_path):
    clip, head = tmp_path / "clip", tmp_path / "head"
    model = clip_model(clip, VIT_L, 6)
    image, text = unit_features(model, clip, samples)
    generator = torch.Generator().manual_seed(9)
    tensors, x, width = {}, image, 768
    for place, outputs in zip((0, 2, 4, 6, 7), (1024, 128, 64, 16, 1)):
        tensors[f"layers.{place}.weight"] = 4 * torch.randn(outputs, width, generator=generator) / math.sqrt(width)
        tensors[f"layers.{place}.bias"] = torch.randn(outputs, generator=generator)
        x = torch.nn.functional.linear(x, tensors[f"layers.{place}.weight"], tensors[f"layers.{place}.bias"])
        width = outputs
    head.mkdir()
    save_file(tensors, head / "model.safetensors")
    ours = scores(samples, tmp_path, f"clipscore-vit-l-14-cos={clip}", f"aesthetic-v2={head},clip={clip}")
    check("clipscore-vit-l-14-cos", ours["clipscore-vit-l-14-cos"], torch.diagonal(image @ text.T).tolist())
    check("aesthetic-v2", ours["aesthetic-v2"], x[:, 0].tolist())


def test_image_reward(samples, tmp_path):
    torch.manual_seed(8)
    model = randomise(ImageReward(FULL), 8, scale=0.02)
    write_config(model, tmp_path)
    save_file({key: tensor.contiguous().clone() for key, tensor in model.original_keys().items()}, tmp_path / "model.safetensors")
    write_bert_vocabulary(tmp_path, PROMPTS * 3, FULL["tokens"])
    theirs = model.rewards(pictures(samples), PROMPTS, bert_tokenizer(tmp_path))
    del model
    check("imagereward", scores(samples, tmp_path, f"imagereward={tmp_path}")["imagereward"], theirs)


@pytest.fixture(autouse=True)
def room_for_the_next(tmp_path):
    """The weights of one test are gigabytes."""
    yield
    shutil.rmtree(tmp_path, ignore_errors=True)
