"""UNet2DConditionModel against diffusers': outputs, gradients, refused configurations and damaged files."""
import json
import shutil

import diffusers
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from parity_tool import SOURCE, TOLERANCE, randomise, relative_error, run

CROSS_DOWN, DOWN = "CrossAttnDownBlock2D", "DownBlock2D"
CROSS_UP, UP = "CrossAttnUpBlock2D", "UpBlock2D"

# Each a small model; together they cover every option that the reader accepts.
CONFIGS = {
    "sd1": dict(
        block_out_channels=[32, 64, 96, 96], down_block_types=[CROSS_DOWN] * 3 + [DOWN],
        up_block_types=[UP] + [CROSS_UP] * 3, layers_per_block=2, attention_head_dim=8, cross_attention_dim=48,
        sample_size=16),
    "sd2": dict(
        block_out_channels=[32, 64, 128], down_block_types=[CROSS_DOWN, CROSS_DOWN, DOWN],
        up_block_types=[UP, CROSS_UP, CROSS_UP], layers_per_block=1, attention_head_dim=[1, 2, 4],
        cross_attention_dim=64, use_linear_projection=True, upcast_attention=True),
    "odd_heads": dict(
        block_out_channels=[24, 56], norm_num_groups=8, down_block_types=[CROSS_DOWN, CROSS_DOWN],
        up_block_types=[CROSS_UP, CROSS_UP], layers_per_block=3, attention_head_dim=[5, 3], cross_attention_dim=20,
        norm_eps=1e-6, act_fn="swish"),
    "lists": dict(
        block_out_channels=[16, 32, 48], norm_num_groups=4, down_block_types=[DOWN, CROSS_DOWN, CROSS_DOWN],
        up_block_types=[CROSS_UP, CROSS_UP, UP], layers_per_block=[1, 2, 3], transformer_layers_per_block=[1, 3, 2],
        attention_head_dim=4, cross_attention_dim=[40, 40, 40], only_cross_attention=[False, True, False]),
    "only_cross": dict(
        block_out_channels=[32, 64], down_block_types=[CROSS_DOWN, CROSS_DOWN], up_block_types=[CROSS_UP, CROSS_UP],
        layers_per_block=1, attention_head_dim=2, cross_attention_dim=32, only_cross_attention=True,
        mid_block_scale_factor=1.4, downsample_padding=0, center_input_sample=True),
    "time": dict(
        block_out_channels=[36, 72], norm_num_groups=12, down_block_types=[CROSS_DOWN, DOWN],
        up_block_types=[UP, CROSS_UP], layers_per_block=1, attention_head_dim=3, cross_attention_dim=24,
        flip_sin_to_cos=False, freq_shift=1, time_embedding_dim=50, conv_in_kernel=5, conv_out_kernel=1,
        in_channels=9, out_channels=3),
    "no_mid_block": dict(
        block_out_channels=[32, 32], down_block_types=[CROSS_DOWN, DOWN], up_block_types=[UP, CROSS_UP],
        layers_per_block=1, attention_head_dim=2, cross_attention_dim=16, mid_block_type=None),
    "plain_mid_block": dict(
        block_out_channels=[33, 66], norm_num_groups=11, down_block_types=[CROSS_DOWN, DOWN],
        up_block_types=[UP, CROSS_UP], layers_per_block=1, attention_head_dim=3, cross_attention_dim=16,
        mid_block_type="UNetMidBlock2D"),
}
SIZES = {"odd_heads": (10, 14), "sd1": (16, 16), "lists": (9, 13)}  # The last is no multiple of the up factor.


def inputs(model, size=(8, 8), batch=2):
    generator = torch.Generator().manual_seed(11)
    dim = model.config.cross_attention_dim
    dim = dim if isinstance(dim, int) else dim[0]
    return {
        "sample": torch.randn(batch, model.config.in_channels, *size, generator=generator),
        "timesteps": torch.tensor([999, 7][:batch]),
        "encoder_hidden_states": torch.randn(batch, 77, dim, generator=generator),
        "target": torch.randn(batch, model.config.out_channels, *size, generator=generator),
    }


def make(tmp_path, name):
    torch.manual_seed(5)
    model = randomise(diffusers.UNet2DConditionModel(**CONFIGS[name]), 6)
    model.save_pretrained(tmp_path / "unet")
    given = inputs(model, SIZES.get(name, (8, 8)))
    safetensors.torch.save_file(given, tmp_path / "in.safetensors")
    return model, given


def forward(model, given):
    return model(given["sample"], given["timesteps"], given["encoder_hidden_states"]).sample


@pytest.mark.parametrize("name", CONFIGS)
def test_forward(tmp_path, name):
    model, given = make(tmp_path, name)
    with torch.no_grad():
        expected = forward(model, given)
    run("unet", tmp_path / "unet", tmp_path / "in.safetensors", tmp_path / "out.safetensors", "--cache")
    actual = safetensors.torch.load_file(tmp_path / "out.safetensors")
    assert relative_error(actual["sample"], expected) < TOLERANCE
    assert relative_error(actual["cached"], expected) < TOLERANCE


def test_forward_of_the_shapes_model(tmp_path):
    folder = SOURCE / "deploy/examples/shapes/base/unet"
    model = diffusers.UNet2DConditionModel.from_pretrained(folder).eval()
    given = inputs(model)
    given["timesteps"] = torch.tensor([3.5])  # Schedulers may give fractions, and one for all.
    safetensors.torch.save_file(given, tmp_path / "in.safetensors")
    with torch.no_grad():
        expected = forward(model, given)
    run("unet", folder, tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    actual = safetensors.torch.load_file(tmp_path / "out.safetensors")["sample"]
    assert relative_error(actual, expected) < TOLERANCE


@pytest.mark.parametrize("name", ["sd1", "only_cross"])
def test_gradients(tmp_path, name):
    model, given = make(tmp_path, name)
    loss = F.mse_loss(forward(model, given), given["target"])
    loss.backward()
    run("unet", tmp_path / "unet", tmp_path / "in.safetensors", tmp_path / "out.safetensors", "--gradients")
    actual = safetensors.torch.load_file(tmp_path / "out.safetensors")
    assert relative_error(actual["loss"], loss.detach()) < TOLERANCE
    names = {parameter for parameter, _ in model.named_parameters()}
    assert {key for key in actual if key.startswith("grad.")} == {"grad." + key for key in names}
    # A bias that the next norm removes again has a gradient of rounding errors: compare with the largest.
    largest = max(parameter.grad.norm() for parameter in model.parameters())
    for key, parameter in model.named_parameters():
        difference = (actual["grad." + key] - parameter.grad).norm()
        assert difference <= TOLERANCE * max(parameter.grad.norm(), 1e-3 * largest), key


@pytest.mark.parametrize("dtype, tolerance", [("bf16", 5e-2), ("fp16", 1e-2)])
def test_half_precision_stays_near_fp32(tmp_path, dtype, tolerance):
    model, given = make(tmp_path, "sd2")
    with torch.no_grad():
        expected = forward(model, given)
    run("unet", tmp_path / "unet", tmp_path / "in.safetensors", tmp_path / "out.safetensors", "--dtype", dtype)
    actual = safetensors.torch.load_file(tmp_path / "out.safetensors")["sample"]
    assert actual.dtype == {"bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
    assert relative_error(actual.float(), expected) < tolerance


def test_half_precision_files_are_computed_in_fp32(tmp_path):
    model, given = make(tmp_path, "sd2")
    model = model.half()
    model.save_pretrained(tmp_path / "unet")
    with torch.no_grad():
        expected = forward(model.float(), given)
    run("unet", tmp_path / "unet", tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    actual = safetensors.torch.load_file(tmp_path / "out.safetensors")["sample"]
    assert relative_error(actual, expected) < TOLERANCE


def test_sharded_weights(tmp_path):
    model, given = make(tmp_path, "sd2")
    shutil.rmtree(tmp_path / "unet")
    model.save_pretrained(tmp_path / "unet", max_shard_size="300KB")
    assert (tmp_path / "unet/diffusion_pytorch_model.safetensors.index.json").exists()
    with torch.no_grad():
        expected = forward(model, given)
    run("unet", tmp_path / "unet", tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    actual = safetensors.torch.load_file(tmp_path / "out.safetensors")["sample"]
    assert relative_error(actual, expected) < TOLERANCE


def test_num_attention_heads_takes_the_place_of_attention_head_dim(tmp_path):
    model, given = make(tmp_path, "sd2")
    with torch.no_grad():
        expected = forward(model, given)
    path = tmp_path / "unet/config.json"
    config = json.loads(path.read_text())
    config["num_attention_heads"], config["attention_head_dim"] = config["attention_head_dim"], 7
    path.write_text(json.dumps(config))
    run("unet", tmp_path / "unet", tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    actual = safetensors.torch.load_file(tmp_path / "out.safetensors")["sample"]
    assert relative_error(actual, expected) < TOLERANCE


REFUSED = [
    ("class_embed_type", "timestep"), ("num_class_embeds", 10), ("addition_embed_type", "text_time"),
    ("encoder_hid_dim", 64), ("encoder_hid_dim_type", "text_proj"), ("act_fn", "gelu"), ("dropout", 0.1),
    ("dual_cross_attention", True), ("resnet_time_scale_shift", "scale_shift"), ("resnet_skip_time_act", True),
    ("resnet_out_scale_factor", 2.0), ("time_embedding_type", "fourier"), ("time_embedding_act_fn", "silu"),
    ("timestep_post_act", "silu"), ("time_cond_proj_dim", 16), ("attention_type", "gated"),
    ("cross_attention_norm", "layer_norm"), ("class_embeddings_concat", True),
    ("mid_block_type", "UNetMidBlock2DSimpleCrossAttn"), ("down_block_types", ["AttnDownBlock2D", DOWN, DOWN]),
    ("up_block_types", [UP, "ResnetUpsampleBlock2D", UP]), ("transformer_layers_per_block", [1, [1, 2], 1]),
    ("attention_head_dim", [1, 2]), ("attention_head_dim", 0), ("attention_head_dim", 1 << 40),
    ("block_out_channels", [32, 64]), ("block_out_channels", [32, 64, 130]), ("block_out_channels", [32, 64, -32]),
    ("block_out_channels", []), ("layers_per_block", 1 << 40), ("norm_num_groups", None), ("norm_num_groups", 0),
    ("norm_eps", "small"), ("use_linear_projection", "yes"), ("cross_attention_dim", 0), ("downsample_padding", 3),
    ("sample_size", [8, 16]), ("conv_in_kernel", 0), ("a_new_option", 3), ("_class_name", "UNet2DModel"),
]


def test_refused_configurations_are_named(tmp_path):
    make(tmp_path, "sd2")
    config = json.loads((tmp_path / "unet/config.json").read_text())
    folders = []
    for i, (key, value) in enumerate(REFUSED):
        folder = tmp_path / f"refused{i}"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config | {key: value}))
        (folder / "diffusion_pytorch_model.safetensors").symlink_to(
            tmp_path / "unet/diffusion_pytorch_model.safetensors")
        folders.append(folder)
    lines = run("load", "unet", *folders).stdout.splitlines()
    assert len(lines) == len(REFUSED)
    for (key, value), folder, line in zip(REFUSED, folders, lines):
        assert line.startswith(f"{folder}/config.json: ") and key in line, (key, value, line)


def test_damaged_folders(tmp_path):
    make(tmp_path, "sd2")
    weights = safetensors.torch.load_file(tmp_path / "unet/diffusion_pytorch_model.safetensors")
    whole = (tmp_path / "unet/diffusion_pytorch_model.safetensors").read_bytes()
    metadata = {"format": "pt"}
    missing = {key: value for key, value in weights.items() if key != "conv_in.bias"}
    mis_shaped = weights | {"mid_block.resnets.0.conv1.weight": torch.zeros(3, 3)}
    cases = {
        "surplus": (safetensors.torch.save(weights | {"extra.weight": torch.zeros(2)}, metadata), ["extra.weight"]),
        "missing": (safetensors.torch.save(missing, metadata), ["conv_in.bias", "missing"]),
        "shape": (safetensors.torch.save(mis_shaped, metadata),
                  ["mid_block.resnets.0.conv1.weight", "[3, 3]", "[128, 128, 3, 3]"]),
        "type": (safetensors.torch.save(weights | {"conv_in.bias": torch.zeros(32, dtype=torch.int64)}, metadata),
                 ["conv_in.bias", "Long"]),
        "truncated": (whole[:-100], ["truncated"]),
        "header": (whole[:1000], ["truncated"]),
        "empty": (b"", ["too short"]),
        "text": (b"version https://git-lfs.github.com/spec/v1\n", ["header"]),
    }
    folders = []
    for name, (contents, _) in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(tmp_path / "unet/config.json", folder)
        (folder / "diffusion_pytorch_model.safetensors").write_bytes(contents)
        folders.append(folder)
    lines = run("load", "unet", *folders).stdout.splitlines()
    for folder, line, (_, words) in zip(folders, lines, cases.values()):
        assert str(folder) in line and all(word in line for word in words), line


def test_damaged_config(tmp_path):
    cases = {"none": None, "empty": "", "list": "[]", "torn": '{"in_channels": 4', "deep": "[" * 100000}
    folders = []
    for name, text in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        if text is not None:
            (folder / "config.json").write_text(text)
        folders.append(folder)
    for folder, line in zip(folders, run("load", "unet", *folders).stdout.splitlines()):
        assert f"{folder}/config.json" in line
