"""AutoencoderKL against diffusers': both directions, refused configurations, old weight names."""
import json

import diffusers
import pytest
import safetensors.torch
import torch

from parity_tool import SOURCE, TOLERANCE, randomise, relative_error, run


def config(channels, **more):
    return dict(block_out_channels=channels, down_block_types=["DownEncoderBlock2D"] * len(channels),
                up_block_types=["UpDecoderBlock2D"] * len(channels)) | more


CONFIGS = {
    "sd1": config([32, 64, 64, 64], layers_per_block=2, sample_size=32),
    "small": config([16, 24], norm_num_groups=8, layers_per_block=1, latent_channels=3, in_channels=1, out_channels=2),
    "sd3": config([32, 32], layers_per_block=1, latent_channels=16, use_quant_conv=False, use_post_quant_conv=False,
                  scaling_factor=1.5305, shift_factor=0.0609),
    "no_attention": config([12, 24, 36], norm_num_groups=4, layers_per_block=3, mid_block_add_attention=False,
                           force_upcast=False, latents_mean=[0.1] * 4, latents_std=[1.5] * 4, act_fn="swish"),
    "one_block": config([24], norm_num_groups=6, layers_per_block=1),
    "five_blocks": config([8, 8, 16, 16, 24], norm_num_groups=4, layers_per_block=1, latent_channels=6, scaling_factor=0.5),
    "wide_norms": config([16, 48], norm_num_groups=2, layers_per_block=2, use_quant_conv=False),
    "one_norm": config([20, 12, 20], norm_num_groups=1, layers_per_block=1, use_post_quant_conv=False, shift_factor=-0.2),
}
SIZES = {"five_blocks": (32, 48), "one_block": (16, 12)}


def compare(model, folder, tmp_path, size, options=(), tolerance=TOLERANCE):
    generator = torch.Generator().manual_seed(3)
    factor = 2 ** (len(model.config.block_out_channels) - 1)
    given = {
        "images": torch.rand(2, model.config.in_channels, *size, generator=generator) * 2 - 1,
        "latents": torch.randn(2, model.config.latent_channels, *[n // factor for n in size], generator=generator),
    }
    safetensors.torch.save_file(given, tmp_path / "in.safetensors")
    with torch.no_grad():
        posterior = model.encode(given["images"]).latent_dist
        decoded = model.decode(given["latents"]).sample
    run("vae", folder, tmp_path / "in.safetensors", tmp_path / "out.safetensors", *options)
    actual = {key: value.float() for key, value in
              safetensors.torch.load_file(tmp_path / "out.safetensors").items()}
    assert relative_error(actual["mean"], posterior.mean) < tolerance
    assert relative_error(actual["logvar"], posterior.logvar) < tolerance
    assert relative_error(actual["sampled"], posterior.mean + posterior.std) < tolerance
    assert relative_error(actual["decoded"], decoded) < tolerance
    scaled = (posterior.mean - (model.config.shift_factor or 0)) * model.config.scaling_factor
    assert relative_error(actual["scaled"], scaled) < tolerance
    assert relative_error(actual["unscaled"], posterior.mean) < tolerance


def make(tmp_path, name):
    torch.manual_seed(8)
    model = randomise(diffusers.AutoencoderKL(**CONFIGS[name]), 9)
    model.save_pretrained(tmp_path / "vae")
    return model


@pytest.mark.parametrize("name", CONFIGS)
def test_both_directions(tmp_path, name):
    model = make(tmp_path, name)
    compare(model, tmp_path / "vae", tmp_path, SIZES.get(name, (32, 24)))


def test_the_shapes_model(tmp_path):
    folder = SOURCE / "deploy/examples/shapes/base/vae"
    compare(diffusers.AutoencoderKL.from_pretrained(folder).eval(), folder, tmp_path, (64, 64))


def test_bf16_stays_near_fp32(tmp_path):
    compare(make(tmp_path, "sd1"), tmp_path / "vae", tmp_path, (32, 32), ["--dtype", "bf16"], 5e-2)


def test_old_attention_names(tmp_path):
    model = make(tmp_path, "sd1")
    path = tmp_path / "vae/diffusion_pytorch_model.safetensors"
    names = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}
    old = {}
    for key, value in safetensors.torch.load_file(path).items():
        for new_name, old_name in names.items():
            key = key.replace(f"attentions.0.{new_name}", f"attentions.0.{old_name}")
        old[key] = value
    assert "encoder.mid_block.attentions.0.query.weight" in old
    safetensors.torch.save_file(old, path, {"format": "pt"})
    compare(model, tmp_path / "vae", tmp_path, (32, 32))


REFUSED = [
    ("down_block_types", ["AttnDownEncoderBlock2D"] + ["DownEncoderBlock2D"] * 3),
    ("up_block_types", ["UpDecoderBlock2D"] * 3), ("act_fn", "gelu"), ("block_out_channels", [32, 64, 64, 65]),
    ("block_out_channels", []), ("layers_per_block", -1), ("latent_channels", 1 << 50), ("scaling_factor", 0),
    ("latents_mean", [0.5]), ("norm_num_groups", 0), ("use_quant_conv", 1), ("tiling", True),
    ("_class_name", "AutoencoderTiny"),
]


def test_refused_configurations_are_named(tmp_path):
    make(tmp_path, "sd1")
    given = json.loads((tmp_path / "vae/config.json").read_text())
    folders = []
    for i, (key, value) in enumerate(REFUSED):
        folder = tmp_path / f"refused{i}"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(given | {key: value}))
        (folder / "diffusion_pytorch_model.safetensors").symlink_to(
            tmp_path / "vae/diffusion_pytorch_model.safetensors")
        folders.append(folder)
    lines = run("load", "vae", *folders).stdout.splitlines()
    assert len(lines) == len(REFUSED)
    for (key, _), folder, line in zip(REFUSED, folders, lines):
        assert line.startswith(f"{folder}/config.json: ") and key in line, line
