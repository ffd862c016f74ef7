"""CLIPTextModel and CLIPModel against transformers, on random models of different shapes."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel

TOOL = Path(os.environ["RSIDIFF_BIN"]) / "run_clip"
SHAPES = Path(os.environ["RSIDIFF_SOURCE"]) / "deploy" / "examples" / "shapes"
TOLERANCE = 1e-4
torch.set_num_threads(1)

TEXT_CONFIGS = {
    "quick_gelu": dict(hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, vocab_size=120,
                       hidden_act="quick_gelu", eos_token_id=119, bos_token_id=118, pad_token_id=119),
    "gelu, one head, short": dict(hidden_size=40, intermediate_size=56, num_hidden_layers=1, num_attention_heads=1,
                                  vocab_size=90, max_position_embeddings=16, hidden_act="gelu", eos_token_id=7),
    "legacy eos 2": dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=8,
                         vocab_size=101, hidden_act="gelu_new", eos_token_id=2),
    "wide heads": dict(hidden_size=96, intermediate_size=64, num_hidden_layers=4, num_attention_heads=3,
                       vocab_size=77, hidden_act="gelu_pytorch_tanh", eos_token_id=3, layer_norm_eps=1e-3),
    "relu": dict(hidden_size=24, intermediate_size=33, num_hidden_layers=2, num_attention_heads=2, vocab_size=64,
                 hidden_act="relu", eos_token_id=63),
    "silu": dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, vocab_size=64,
                 hidden_act="silu", eos_token_id=5),
}

SMALL_TEXT = dict(hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=120,
                  eos_token_id=119, bos_token_id=118, pad_token_id=0)

CLIP_CONFIGS = {
    "quick_gelu": dict(projection_dim=32, text_config=SMALL_TEXT,
                       vision_config=dict(hidden_size=64, intermediate_size=128, num_hidden_layers=3,
                                          num_attention_heads=4, image_size=32, patch_size=8)),
    "gelu, odd patches": dict(projection_dim=80, text_config=dict(SMALL_TEXT, hidden_act="gelu"),
                              vision_config=dict(hidden_size=60, intermediate_size=90, num_hidden_layers=2,
                                                 num_attention_heads=3, image_size=42, patch_size=14,
                                                 hidden_act="gelu")),
    "patches that do not fill": dict(projection_dim=16, text_config=dict(SMALL_TEXT, eos_token_id=2),
                                     vision_config=dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1,
                                                        num_attention_heads=1, image_size=30, patch_size=7)),
    "towers that differ": dict(projection_dim=24,
                               text_config=dict(hidden_size=96, intermediate_size=80, num_hidden_layers=4,
                                                num_attention_heads=6, vocab_size=64, max_position_embeddings=20,
                                                hidden_act="gelu_fast", eos_token_id=60),
                               vision_config=dict(hidden_size=48, intermediate_size=100, num_hidden_layers=5,
                                                  num_attention_heads=8, image_size=24, patch_size=4,
                                                  hidden_act="gelu_new", layer_norm_eps=1e-6)),
}


def randomise(model):
    """transformers starts biases at zero and norms at one; give every parameter a say."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name != "logit_scale":
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return model.eval()


def token_ids(config, rows=5):
    generator = torch.Generator().manual_seed(11)
    length, vocabulary = config.max_position_embeddings, config.vocab_size
    eos = vocabulary - 1 if config.eos_token_id == 2 else config.eos_token_id
    ids = torch.randint(0, vocabulary - 1, (rows, length), generator=generator)
    ids[ids == eos] = 1 if eos != 1 else 0
    for row in range(rows):
        end = [1, length - 1, length // 2, length // 3, 2][row % 5]
        ids[row, end] = eos
        if row % 2:
            ids[row, end:] = eos  # padded with the end token, the first one counts
    return ids


def run(*arguments):
    subprocess.run([TOOL, *map(str, arguments)], check=True)


def refused(*arguments):
    done = subprocess.run([TOOL, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 1, done
    return done.stderr


def assert_close(ours, theirs):
    error = (ours - theirs).abs().max() / theirs.abs().max()
    assert error <= TOLERANCE, f"relative error {error:.2e}"


def make_text_model(folder, config):
    torch.manual_seed(3)
    model = randomise(CLIPTextModel(CLIPTextConfig(**config)))
    model.save_pretrained(folder)
    return model


def compare_text_model(model, folder, tmp_path):
    ids = token_ids(model.config)
    save_file({"ids": ids}, tmp_path / "in.safetensors")
    run("text", folder, tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    ours = load_file(tmp_path / "out.safetensors")
    with torch.no_grad():
        theirs = model(ids, output_hidden_states=True)
    assert_close(ours["last_hidden_state"], theirs.last_hidden_state)
    assert_close(ours["pooled"], theirs.pooler_output)
    assert_close(ours["penultimate"], theirs.hidden_states[-2])


@pytest.mark.parametrize("name", TEXT_CONFIGS)
def test_text_model(name, tmp_path):
    model = make_text_model(tmp_path / "model", TEXT_CONFIGS[name])
    compare_text_model(model, tmp_path / "model", tmp_path)


def test_text_model_with_prefix_and_position_ids(tmp_path):
    """The names of Stable Diffusion 1.x's text_encoder."""
    folder = tmp_path / "model"
    model = make_text_model(folder, TEXT_CONFIGS["quick_gelu"])
    weights = {name.removeprefix("text_model."): tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    for prefix in ("", "text_model."):
        renamed = {prefix + name: tensor for name, tensor in weights.items()}
        renamed[prefix + "embeddings.position_ids"] = torch.arange(77)[None]
        save_file(renamed, folder / "model.safetensors", {"format": "pt"})
        compare_text_model(model, folder, tmp_path)


def test_text_encoder_of_the_example(tmp_path):
    folder = SHAPES / "base" / "text_encoder"
    compare_text_model(CLIPTextModel.from_pretrained(folder).eval(), folder, tmp_path)


def make_clip_model(folder, config):
    torch.manual_seed(4)
    model = randomise(CLIPModel(CLIPConfig(**config)))
    model.save_pretrained(folder)
    return model


def compare_clip_model(model, folder, tmp_path):
    ids = token_ids(model.config.text_config)
    size = model.config.vision_config.image_size
    pixels = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(8))
    save_file({"ids": ids, "pixels": pixels}, tmp_path / "in.safetensors")
    run("model", folder, tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    ours = load_file(tmp_path / "out.safetensors")
    with torch.no_grad():
        assert_close(ours["image"], model.get_image_features(pixels).pooler_output)
        assert_close(ours["text"], model.get_text_features(ids).pooler_output)
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        assert float(file.metadata()["logit_scale"]) == pytest.approx(model.logit_scale.item(), rel=1e-5)


@pytest.mark.parametrize("name", CLIP_CONFIGS)
def test_clip_model(name, tmp_path):
    model = make_clip_model(tmp_path / "model", CLIP_CONFIGS[name])
    compare_clip_model(model, tmp_path / "model", tmp_path)


@pytest.mark.parametrize("folder", ["clip", "clip-heldout", "hps"])
def test_clip_models_of_the_example(folder, tmp_path):
    compare_clip_model(CLIPModel.from_pretrained(SHAPES / folder).eval(), SHAPES / folder, tmp_path)


def test_sharded_clip_model(tmp_path):
    torch.manual_seed(4)
    model = randomise(CLIPModel(CLIPConfig(**CLIP_CONFIGS["quick_gelu"])))
    model.save_pretrained(tmp_path / "model", max_shard_size="100KB")
    assert len(list((tmp_path / "model").glob("model-*.safetensors"))) > 1
    compare_clip_model(model, tmp_path / "model", tmp_path)


def test_config_dicts_of_older_files(tmp_path):
    """text_config_dict replaces text_config, and generation settings mean nothing, as in OpenAI's own configuration."""
    folder = tmp_path / "model"
    model = make_clip_model(folder, CLIP_CONFIGS["quick_gelu"])
    config = json.loads((folder / "config.json").read_text())
    config["text_config_dict"] = dict(config["text_config"], pruned_heads={}, top_k=50, num_beams=1, dropout=0.0)
    config["text_config"] = dict(config["text_config"], hidden_size=1234)
    config["vision_config_dict"] = config.pop("vision_config")
    (folder / "config.json").write_text(json.dumps(config))
    compare_clip_model(model, folder, tmp_path)


def text_folder_with(tmp_path, **changes):
    folder = tmp_path / "changed"
    shutil.copytree(SHAPES / "base" / "text_encoder", folder, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    config.update(changes)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("changes, named", [
    (dict(hidden_act="prelu"), "hidden_act"),
    (dict(rope_theta=10000.0), "rope_theta"),
    (dict(num_attention_heads=5), "num_attention_heads"),
    (dict(num_hidden_layers=10**12), "num_hidden_layers"),
    (dict(hidden_size=-128), "hidden_size"),
    (dict(pruned_heads={"0": [1]}), "pruned_heads"),
    (dict(model_type="siglip_text_model"), "model_type"),
    (dict(num_hidden_layers=5), "encoder.layers.4"),
    (dict(num_hidden_layers=3), "encoder.layers.3"),
    (dict(vocab_size=1501), "token_embedding.weight"),
])
def test_refused_by_name(changes, named, tmp_path):
    folder = text_folder_with(tmp_path, **changes)
    save_file({"ids": torch.zeros(1, 77, dtype=torch.int64)}, tmp_path / "in.safetensors")
    message = refused("text", folder, tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    assert named in message and str(folder) in message


def test_token_ids_out_of_range_are_an_error(tmp_path):
    save_file({"ids": torch.full((1, 77), 1500)}, tmp_path / "in.safetensors")
    refused("text", SHAPES / "base" / "text_encoder", tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    save_file({"ids": torch.zeros(1, 78, dtype=torch.int64)}, tmp_path / "in.safetensors")
    refused("text", SHAPES / "base" / "text_encoder", tmp_path / "in.safetensors", tmp_path / "out.safetensors")
