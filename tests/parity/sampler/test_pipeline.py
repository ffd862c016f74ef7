"""`rsidiff-worker generate` against diffusers' StableDiffusionPipeline: latents and pictures."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy
import pytest
import torch
from diffusers import (AutoencoderKL, DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, PNDMScheduler,
                       StableDiffusionPipeline, UNet2DConditionModel)
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from compute_device import DEVICE, bound, same

torch.set_num_threads(1)
WORKER = Path(os.environ["RSIDIFF_BIN"]) / "rsidiff-worker"
SHAPES = Path(os.environ["RSIDIFF_SOURCE"]) / "deploy/examples/shapes/base"
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SCHEDULERS = {"ddim": DDIMScheduler, "pndm": PNDMScheduler, "euler": EulerDiscreteScheduler,
              "dpmsolver++": DPMSolverMultistepScheduler}
PROMPTS = ["a red circle", "two blue squares on a green background", "", "naïve 猫 " * 40]


def random_pipeline(folder, scheduler, *, unet, vae_channels=(16, 32), width=32):
    torch.manual_seed(len(str(unet)) + width)
    tokenizer = CLIPTokenizer.from_pretrained(SHAPES / "tokenizer")
    text = CLIPTextModel(CLIPTextConfig(vocab_size=1500, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
                                        num_attention_heads=4, max_position_embeddings=77, bos_token_id=1498,
                                        eos_token_id=1499, hidden_act="gelu"))
    names = {"sample_size": 8, "layers_per_block": 1, "norm_num_groups": 8, "cross_attention_dim": width,
             "block_out_channels": (32, 64), "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
             "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "attention_head_dim": 4}
    vae = AutoencoderKL(block_out_channels=vae_channels, norm_num_groups=8, latent_channels=4, scaling_factor=0.3,
                        down_block_types=("DownEncoderBlock2D",) * len(vae_channels),
                        up_block_types=("UpDecoderBlock2D",) * len(vae_channels))
    pipeline = StableDiffusionPipeline(text_encoder=text.eval(), tokenizer=tokenizer, unet=UNet2DConditionModel(**{**names, **unet}),
                                       vae=vae, scheduler=scheduler, safety_checker=None, feature_extractor=None,
                                       requires_safety_checker=False)
    pipeline.save_pretrained(folder)
    return folder


MODELS = {
    "sd1": (PNDMScheduler(**SD, skip_prk_steps=True, steps_offset=1), {"unet": {}}),
    "sd2": (DDIMScheduler(**SD, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False, steps_offset=1),
            {"unet": {"attention_head_dim": (2, 4), "use_linear_projection": True}, "width": 48}),
    "three_levels": (EulerDiscreteScheduler(**SD),
                     {"unet": {"block_out_channels": (32, 32, 64), "layers_per_block": 2,
                               "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
                               "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D")}}),
    "deep_vae": (DPMSolverMultistepScheduler(**SD), {"unet": {"sample_size": 6}, "vae_channels": (8, 16, 16, 24)}),
    "plain_blocks": (DDIMScheduler(**SD), {"unet": {"down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
                                                    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D")}}),
    "wide_text": (EulerDiscreteScheduler(**SD, timestep_spacing="leading", use_karras_sigmas=True),
                  {"unet": {"transformer_layers_per_block": 2}, "width": 64}),
}


def ours(folder, out, prompts, *options):
    (out.parent / "prompts.txt").write_text("\n".join(prompts) + "\n", encoding="utf-8")
    command = [WORKER, "generate", "--model", folder, "--prompts", out.parent / "prompts.txt", "--out", out, "--device", DEVICE,
               "--save-latents", *map(str, options)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    samples = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    pictures = numpy.stack([numpy.asarray(Image.open(out / sample["file"])) for sample in samples])
    return load_file(out / "latents.safetensors")["latents"], pictures, samples


def theirs(folder, prompts, seeds, scheduler=None, dtype=torch.float32, **options):
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, torch_dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    if scheduler:
        pipeline.scheduler = SCHEDULERS[scheduler].from_config(pipeline.scheduler.config)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    latents = pipeline(prompts, generator=generators, output_type="latent", **options).images
    with torch.no_grad():
        decoded = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
    pictures = pipeline.image_processor.postprocess(decoded, output_type="pil")
    return latents, numpy.stack([numpy.asarray(picture) for picture in pictures])


def assert_same(ours_latents, ours_pictures, expected_latents, expected_pictures):
    assert torch.isfinite(expected_latents).all()
    error = (ours_latents - expected_latents).abs().max() / expected_latents.abs().max()
    assert error <= 1e-3, error
    difference = numpy.abs(ours_pictures.astype(int) - expected_pictures.astype(int))
    assert (difference > 1).mean() <= 1e-3 and difference.max() <= 8, (difference.max(), (difference > 1).mean())


@pytest.mark.parametrize("name", MODELS)
def test_random_pipelines(tmp_path, name):
    scheduler, options = MODELS[name]
    folder = random_pipeline(tmp_path / "model", scheduler, **options)
    expected = theirs(folder, PROMPTS[:2], [5, 6], num_inference_steps=8)
    assert_same(*ours(folder, tmp_path / "out", PROMPTS[:2], "--seed", 5, "--steps", 8, "--batch", 2)[:2], *expected)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_shapes_model(tmp_path, scheduler, guidance):
    expected = theirs(SHAPES, PROMPTS[:2], [40, 41], scheduler, num_inference_steps=12, guidance_scale=guidance,
                      negative_prompt=["a blurry picture"] * 2)
    assert_same(*ours(SHAPES, tmp_path / "out", PROMPTS[:2], "--seed", 40, "--steps", 12, "--batch", 2, "--guidance", guidance,
                      "--scheduler", scheduler, "--negative", "a blurry picture")[:2], *expected)


@pytest.mark.parametrize("name, dtype", [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_half_precision_strays_no_further_than_diffusers(tmp_path, name, dtype):
    """Rounding differs, so both are held against diffusers in fp32."""
    seeds, options = [5, 6], {"num_inference_steps": 12}
    latents, pictures = theirs(SHAPES, PROMPTS[:2], seeds, **options)
    half_latents, half_pictures = theirs(SHAPES, PROMPTS[:2], seeds, dtype=dtype, **options)
    our_latents, our_pictures, _ = ours(SHAPES, tmp_path / "out", PROMPTS[:2], "--seed", 5, "--steps", 12, "--batch", 2, "--dtype",
                                        name)

    def latent_error(found):
        return ((found.float() - latents).norm() / latents.norm()).item()

    def picture_error(found):
        return numpy.abs(found.astype(int) - pictures.astype(int)).mean()

    assert 0 < latent_error(our_latents) <= 1.5 * latent_error(half_latents)
    assert picture_error(our_pictures) <= 1.5 * picture_error(half_pictures)


def test_other_sizes_and_long_or_empty_prompts(tmp_path):
    expected = theirs(SHAPES, PROMPTS[1:], [1, 2, 3], num_inference_steps=10, height=48, width=80)
    # An empty line is no prompt, so the empty prompt goes in alone below.
    first = ours(SHAPES, tmp_path / "a", [PROMPTS[1]], "--seed", 1, "--steps", 10, "--width", 80, "--height", 48)
    last = ours(SHAPES, tmp_path / "b", [PROMPTS[3]], "--seed", 3, "--steps", 10, "--width", 80, "--height", 48)
    command = [WORKER, "generate", "--model", SHAPES, "--prompt", "", "--seed", "2", "--steps", "10", "--width", "80", "--height",
               "48", "--save-latents", "--out", tmp_path / "c", "--device", DEVICE]
    subprocess.run(command, check=True, capture_output=True)
    middle = load_file(tmp_path / "c/latents.safetensors")["latents"]
    picture = numpy.asarray(Image.open(tmp_path / "c/00000.png"))[None]
    assert_same(torch.cat([first[0], middle, last[0]]), numpy.concatenate([first[1], picture, last[1]]), *expected)


def assert_same_sample(ours, row, others, index):
    assert same(ours[0][row], others[0][index], 1e-3)
    assert numpy.abs(ours[1][row].astype(int) - others[1][index].astype(int)).max() <= bound(0, 8)


def test_samples_do_not_depend_on_their_company(tmp_path):
    whole = ours(SHAPES, tmp_path / "whole", PROMPTS[:2], "--samples", 3, "--steps", 4, "--batch", 4, "--seed", 9)
    seeds = [sample["seed"] for sample in whole[2]]
    assert seeds == list(range(9, 15))
    assert [(sample["prompt"], sample["sample"]) for sample in whole[2]] == [(p, k) for p in PROMPTS[:2] for k in range(3)]
    for index in (0, 3, 5):
        alone = ours(SHAPES, tmp_path / f"alone{index}", [PROMPTS[index // 3]], "--steps", 4, "--batch", 4, "--seed", seeds[index])
        assert_same_sample(alone, 0, whole, index)


def test_files(tmp_path):
    _, pictures, samples = ours(SHAPES, tmp_path / "out", PROMPTS[:1], "--steps", 2, "--seed", 3, "--guidance", 2.5)
    assert pictures.shape == (1, 64, 64, 3)
    file = tmp_path / "out" / samples[0]["file"]
    assert samples[0]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest() and samples[0]["index"] == 0
    text = Image.open(file).text
    assert text["prompt"] == PROMPTS[0] and text["seed"] == "3" and text["guidance_scale"] == "2.5" and text["steps"] == "2"


def test_init_latents_replace_the_seeds_noise(tmp_path):
    size = json.loads((SHAPES / "unet/config.json").read_text())["sample_size"]
    noise = torch.randn((1, 4, size, size), generator=torch.Generator().manual_seed(77))
    save_file({"latents": noise}, tmp_path / "noise.safetensors")
    given = ours(SHAPES, tmp_path / "a", PROMPTS[:1], "--steps", 3, "--batch", 1, "--init-latents", tmp_path / "noise.safetensors")
    drawn = ours(SHAPES, tmp_path / "b", PROMPTS[:1], "--steps", 3, "--batch", 1, "--seed", 77)
    assert same(given[0], drawn[0], 1e-3)
    save_file({"latents": noise[:, :3].contiguous()}, tmp_path / "wrong.safetensors")
    refused(1, f"start latents have the shape [1, 3, {size}, {size}], not [1, 4, {size}, {size}]", "--model", SHAPES, "--prompt", "x", "--out",
            tmp_path / "c", "--init-latents", tmp_path / "wrong.safetensors")


def refused(code, message, *options):
    result = subprocess.run([WORKER, "generate", *map(str, options)], capture_output=True, text=True)
    assert result.returncode == code and message in result.stderr, result.stderr


def test_refusals(tmp_path):
    out = ["--out", tmp_path / "out"]
    model = ["--model", SHAPES]
    refused(2, "--model", "--prompt", "x", *out)
    refused(2, "prompt", *model, *out)
    refused(2, "--scheduler", *model, *out, "--prompt", "x", "--scheduler", "lms")
    refused(1, "the width is not a multiple of ", *model, *out, "--prompt", "x", "--width", 63)
    refused(1, "the number of steps is not from 1 to 1000: 5000", *model, *out, "--prompt", "x", "--steps", 5000)
    (tmp_path / "empty.txt").write_text("\n \n")
    refused(1, "empty.txt: there is no prompt", *model, *out, "--prompts", tmp_path / "empty.txt")
    (tmp_path / "latin1.txt").write_bytes(b"caf\xe9\n")
    refused(1, "latin1.txt: not UTF-8 at byte 3", *model, *out, "--prompts", tmp_path / "latin1.txt")
    broken = tmp_path / "broken"
    shutil.copytree(SHAPES, broken)
    for path in broken.rglob("*"):
        path.chmod(0o755)
    weights = broken / "unet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100000])
    refused(1, "unet/diffusion_pytorch_model.safetensors", "--model", broken, *out, "--prompt", "x")
    (broken / "scheduler/scheduler_config.json").unlink()
    refused(1, "scheduler/scheduler_config.json", "--model", broken, *out, "--prompt", "x")
