"""HPS as its authors compute it: open_clip's model, preprocessing and text, against `rsidiff-worker score`.

The files have open_clip's names, or transformers' after a conversion; small random models of different shapes.
"""

import json

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision import transforms
from transformers import CLIPConfig, CLIPModel

from score_command import PROMPTS, pictures, randomise, refusal, relative_error, scores, write_clip_vocabulary, write_samples

SHAPES = {
    "two layers": dict(embed_dim=32, vision=dict(image_size=48, patch_size=16, width=64, layers=2, head_width=16),
                       text=dict(width=48, layers=2, heads=4)),
    "deep text, odd patches": dict(embed_dim=24, vision=dict(image_size=35, patch_size=7, width=40, layers=1, head_width=20),
                                   text=dict(width=32, layers=4, heads=2)),
    "wide embedding": dict(embed_dim=80, vision=dict(image_size=32, patch_size=8, width=48, layers=3, head_width=24),
                           text=dict(width=64, layers=1, heads=8)),
}


def make(shape, seed):
    torch.manual_seed(seed)
    model = open_clip.model.CLIP(shape["embed_dim"], open_clip.CLIPVisionCfg(**shape["vision"]),
                                 open_clip.CLIPTextCfg(context_length=77, vocab_size=49408, **shape["text"]))
    return randomise(model, seed)


def config_json(shape):
    vision, text = shape["vision"], shape["text"]
    return {"model_type": "clip", "projection_dim": shape["embed_dim"],
            "text_config": {"hidden_size": text["width"], "intermediate_size": 4 * text["width"], "num_hidden_layers": text["layers"],
                            "num_attention_heads": text["heads"], "hidden_act": "gelu"},
            "vision_config": {"hidden_size": vision["width"], "intermediate_size": 4 * vision["width"],
                              "num_hidden_layers": vision["layers"], "num_attention_heads": vision["width"] // vision["head_width"],
                              "image_size": vision["image_size"], "patch_size": vision["patch_size"], "hidden_act": "gelu"}}


def preprocessor_json(side, arithmetic="float_antialias"):
    return {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}, "resize_arithmetic": arithmetic,
            "crop_rounding": "to_even"}


WHOLE = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "logit_scale": "logit_scale",
}
PARTS = {
    "visual.transformer.resblocks.": "vision_model.encoder.layers.", "transformer.resblocks.": "text_model.encoder.layers.",
    "visual.ln_pre.": "vision_model.pre_layrnorm.", "visual.ln_post.": "vision_model.post_layernorm.",
    "ln_final.": "text_model.final_layer_norm.", ".ln_1.": ".layer_norm1.", ".ln_2.": ".layer_norm2.", ".attn.": ".self_attn.",
    ".mlp.c_fc.": ".mlp.fc1.", ".mlp.c_proj.": ".mlp.fc2.",
}


def transformers_names(state):
    """The same model as transformers' CLIPModel names and lays it out, as HPS's conversions on Hugging Face do."""
    renamed = {}
    for name, tensor in state.items():
        new = WHOLE.get(name, name)
        for theirs, ours in PARTS.items() if new == name else ():
            new = new.replace(theirs, ours, 1)
        if name in ("visual.proj", "text_projection"):
            renamed[{"visual.proj": "visual_projection", "text_projection": "text_projection"}[name] + ".weight"] = tensor.T
        elif ".in_proj_" in new:
            stem, leaf = new.split(".in_proj_")
            renamed |= {f"{stem}.{part}_proj.{leaf}": third for part, third in zip("qkv", tensor.chunk(3), strict=True)}
        else:
            renamed[new] = tensor
    return renamed


def behind_a_prefix(state):
    """As imscore publishes HPSv2.1: the model is a member of a wrapper."""
    return {f"model.{name}": tensor for name, tensor in transformers_names(state).items()}


def write_model(model, shape, folder, arithmetic="float_antialias", names=dict):
    write_clip_vocabulary(folder, text_cleaning="open_clip")
    state = names({name: tensor for name, tensor in model.state_dict().items() if name != "attn_mask"})
    save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config_json(shape)))
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor_json(shape["vision"]["image_size"], arithmetic)))
    return folder


@torch.no_grad()
def image_features(model, side, images, antialias=True):
    """As HPSv2's img_score.py: ToTensor first, so the resize is torchvision's on floats."""
    prepare = transforms.Compose([
        transforms.ToTensor(), transforms.Resize(side, interpolation=transforms.InterpolationMode.BICUBIC, antialias=antialias),
        transforms.CenterCrop(side),
        transforms.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))])
    return model.encode_image(torch.stack([prepare(image.convert("RGB")) for image in images]), normalize=True)


@torch.no_grad()
def reference(model, side, images, antialias=True):
    text = model.encode_text(open_clip.tokenizer.SimpleTokenizer()(PROMPTS), normalize=True)
    return torch.diagonal(image_features(model, side, images, antialias) @ text.T).tolist()


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return write_samples(tmp_path_factory.mktemp("samples"))


def test_the_renamed_model_is_transformers():
    shape = SHAPES["two layers"]
    config = CLIPConfig(**config_json(shape))
    ours = {name: tensor.shape for name, tensor in CLIPModel(config).state_dict().items() if not name.endswith("position_ids")}
    model = make(shape, 3)
    renamed = transformers_names({name: tensor for name, tensor in model.state_dict().items() if name != "attn_mask"})
    assert {name: tensor.shape for name, tensor in renamed.items()} == ours


@pytest.mark.parametrize("names", [dict, transformers_names, behind_a_prefix], ids=["open_clip", "transformers", "behind a prefix"])
@pytest.mark.parametrize("name", SHAPES)
def test_scores_are_open_clips(name, names, samples, tmp_path):
    shape = SHAPES[name]
    model = make(shape, 3)
    folder = write_model(model, shape, tmp_path / "model", names=names)
    ours = scores(samples, tmp_path, f"hps={folder}")["hps"]
    theirs = reference(model, shape["vision"]["image_size"], pictures(samples))
    error = relative_error(ours, theirs)
    print(f"relative error {error:.1e}")
    assert error < 1e-4


def test_without_antialias_as_before_torchvision_0_17(samples, tmp_path):
    shape = SHAPES["two layers"]
    model = make(shape, 4)
    folder = write_model(model, shape, tmp_path / "model", arithmetic="float")
    ours = scores(samples, tmp_path, f"hps={folder}")["hps"]
    side = shape["vision"]["image_size"]
    assert relative_error(ours, reference(model, side, pictures(samples), antialias=False)) < 1e-4
    # The choice shows; otherwise the test above would say nothing.
    assert relative_error(ours, reference(model, side, pictures(samples))) > 1e-3


@pytest.mark.parametrize("name", ["hpsv2.0", "hpsv2.1", "pickscore", "clipscore-vit-l-14-cos"])
def test_pinned_names_refuse_another_shape(name, samples, tmp_path):
    shape = SHAPES["two layers"]
    folder = write_model(make(shape, 5), shape, tmp_path / "model")
    message = refusal(samples, tmp_path, f"{name}={folder}")
    assert f"scorer {name}" in message and "config.json" in message and "hidden_size is" in message


@pytest.mark.parametrize("change, named", [
    (lambda t: t.update({"visual.transformer.resblocks.0.attn.in_proj_weight": torch.zeros(64, 64)}), "in_proj_weight"),
    (lambda t: t.update({"visual.proj": torch.zeros(64)}), "visual.proj"),
    (lambda t: t.pop("ln_final.bias"), "final_layer_norm.bias"),
    (lambda t: t.update({"model.ln_final.bias": t.pop("ln_final.bias")}), "surplus tensor model.ln_final.bias"),
])
def test_wrong_tensors_are_named(change, named, samples, tmp_path):
    shape = SHAPES["two layers"]
    folder = write_model(make(shape, 6), shape, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    message = refusal(samples, tmp_path, f"hps={folder}")
    assert "scorer hps" in message and named in message
