"""`rsidiff-worker score` against what the metrics' own Python code computes with transformers."""

import json
import math
import os
import shutil
import subprocess
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from compute_device import DEVICE, bound

WORKER = Path(os.environ["RSIDIFF_BIN"]) / "rsidiff-worker"
SHAPES = Path(os.environ["RSIDIFF_SOURCE"]) / "deploy" / "examples" / "shapes"
TOKENIZER = SHAPES / "base" / "tokenizer"
torch.set_num_threads(1)

SIZES = [(64, 64), (63, 65), (1, 1), (200, 31), (37, 150), (512, 512), (16, 16), (65, 64), (90, 90), (128, 77), (3, 2)]
PROMPTS = ["a red circle on a white background", "", "two small blue squares", "a", "青い三角形と赤い丸", "ein grüner Stern über einem Kreis",
           "Синий квадрат слева от звезды", "🟥🟦 emoji \t\n and   spaces", "long " * 100, "a green triangle above a yellow hexagon, " * 20,
           "a red circle on a white background"]


def random_clip(folder, seed, **vision):
    torch.manual_seed(seed)
    config = CLIPConfig(
        projection_dim=56, text_config=dict(hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                                            vocab_size=1500, bos_token_id=1498, eos_token_id=1499, pad_token_id=1499),
        vision_config=dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, **vision))
    model = CLIPModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name != "logit_scale":
                parameter.add_(torch.randn_like(parameter) * 0.05)
        model.logit_scale.fill_(3.3)
    model.save_pretrained(folder)
    side = vision["image_size"]
    preprocessor = json.loads((SHAPES / "clip" / "preprocessor_config.json").read_text())
    preprocessor.update(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    for file in ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(TOKENIZER / file, folder)
    return folder


def random_head(folder, inputs):
    generator = torch.Generator().manual_seed(9)
    tensors = {}
    for layer, outputs in zip((0, 2, 4, 6, 7), (40, 24, 16, 8, 1)):
        tensors[f"layers.{layer}.weight"] = torch.randn(outputs, inputs, generator=generator) / math.sqrt(inputs)
        tensors[f"layers.{layer}.bias"] = torch.randn(outputs, generator=generator)
        inputs = outputs
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    generator = numpy.random.default_rng(4)
    lines = []
    for index, ((width, height), prompt) in enumerate(zip(SIZES, PROMPTS)):
        Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=numpy.uint8)).save(folder / f"{index}.png")
        lines.append({"index": index, "prompt": prompt, "sample": 0, "seed": 2**63 - 1 - index, "file": f"{index}.png"})
    (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def score(samples, out, *scorers, check=True, extra=()):
    arguments = [item for scorer in scorers for item in ("--scorer", scorer)]
    done = subprocess.run([WORKER, "score", *arguments, "--samples", samples, "--out", out, "--device", DEVICE, *extra],
                          capture_output=True, text=True)
    if check:
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in out.read_text().splitlines()]
    return done


class Reference:
    """The metrics as their authors' code has them (HPSv2 img_score.py, PickScore's README, LAION's predictor)."""

    def __init__(self, folder):
        self.model = CLIPModel.from_pretrained(folder).eval()
        self.processor = CLIPImageProcessorPil.from_pretrained(folder)
        self.tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER)

    @torch.no_grad()
    def image(self, samples):
        pixels = self.processor([Image.open(samples / f"{i}.png") for i in range(len(SIZES))], return_tensors="pt")
        features = self.model.get_image_features(pixels.pixel_values).pooler_output
        return features / features.norm(dim=-1, keepdim=True)

    @torch.no_grad()
    def text(self):
        tokens = self.tokenizer(PROMPTS, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
        features = self.model.get_text_features(tokens.input_ids).pooler_output
        return features / features.norm(dim=-1, keepdim=True)

    def cosine(self, samples):
        return torch.diagonal(self.image(samples) @ self.text().T)

    def clip_logit(self, samples):
        return self.model.logit_scale.detach().exp() * self.cosine(samples)

    def aesthetic(self, samples, head):
        x = self.image(samples)
        weights = load_file(head / "model.safetensors")
        for layer in (0, 2, 4, 6, 7):
            x = torch.nn.functional.linear(x, weights[f"layers.{layer}.weight"], weights[f"layers.{layer}.bias"])
        return x[:, 0]


def assert_scores(lines, name, expected):
    ours = [line["scores"][name] for line in lines]
    assert ours == pytest.approx(expected.tolist(), rel=1e-4, abs=bound(1e-6, 1e-4 * expected.abs().max().item()))


def test_all_four_on_random_models(samples, tmp_path):
    first = random_clip(tmp_path / "first", 1, image_size=48, patch_size=16)
    second = random_clip(tmp_path / "second", 2, image_size=30, patch_size=10)
    head = random_head(tmp_path / "head", 56)
    lines = score(samples / "samples.jsonl", tmp_path / "scores.jsonl", f"clipscore={first}", f"hps={second}", f"clip-logit={first}",
                  f"aesthetic={head},clip={second}", f"aesthetic={head},clip={first},name=aesthetic-first")
    a, b = Reference(first), Reference(second)
    assert_scores(lines, "clipscore", a.cosine(samples))
    assert_scores(lines, "hps", b.cosine(samples))
    assert_scores(lines, "clip-logit", a.clip_logit(samples))
    assert_scores(lines, "aesthetic", b.aesthetic(samples, head))
    assert_scores(lines, "aesthetic-first", a.aesthetic(samples, head))


def test_all_four_on_the_example(samples, tmp_path):
    tokenizer = f"tokenizer={TOKENIZER}"
    lines = score(samples / "samples.jsonl", tmp_path / "scores.jsonl", f"clipscore={SHAPES}/clip,{tokenizer}",
                  f"hps={SHAPES}/hps,{tokenizer}", f"clip-logit={SHAPES}/clip-heldout,{tokenizer}",
                  f"aesthetic={SHAPES}/aesthetic,clip={SHAPES}/hps")
    assert_scores(lines, "clipscore", Reference(SHAPES / "clip").cosine(samples))
    assert_scores(lines, "hps", Reference(SHAPES / "hps").cosine(samples))
    assert_scores(lines, "clip-logit", Reference(SHAPES / "clip-heldout").clip_logit(samples))
    assert_scores(lines, "aesthetic", Reference(SHAPES / "hps").aesthetic(samples, SHAPES / "aesthetic"))


def test_lines_keep_their_fields_and_earlier_scores(samples, tmp_path):
    extra = ("--tokenizer", TOKENIZER)
    score(samples / "samples.jsonl", samples / "once.jsonl", f"clipscore={SHAPES}/clip", extra=extra)
    lines = score(samples / "once.jsonl", samples / "twice.jsonl", f"hps={SHAPES}/hps", extra=extra)
    originals = [json.loads(line) for line in (samples / "samples.jsonl").read_text().splitlines()]
    for line, original in zip(lines, originals, strict=True):
        assert list(line) == [*original, "scores"]
        assert {key: line[key] for key in original} == original
        assert list(line["scores"]) == ["clipscore", "hps"]


def test_batch_shape_hardly_matters(samples, tmp_path):
    scorer = f"clipscore={SHAPES}/clip,tokenizer={TOKENIZER}"
    eight = score(samples / "samples.jsonl", tmp_path / "a.jsonl", scorer)
    three = score(samples / "samples.jsonl", tmp_path / "b.jsonl", scorer, extra=("--batch", "3"))
    again = score(samples / "samples.jsonl", tmp_path / "c.jsonl", scorer)
    eight, three, again = ([line["scores"]["clipscore"] for line in lines] for lines in (eight, three, again))
    assert again == pytest.approx(eight, rel=0, abs=bound(0, 1e-4))
    assert three == pytest.approx(eight, abs=bound(1e-6, 1e-4))


def test_summary_as_json(samples, tmp_path):
    done = score(samples / "samples.jsonl", tmp_path / "out.jsonl", f"clipscore={SHAPES}/clip,tokenizer={TOKENIZER}", check=False,
                 extra=("--json",))
    summary = json.loads(done.stdout)
    values = [json.loads(line)["scores"]["clipscore"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert summary["samples"] == len(SIZES)
    assert summary["scores"]["clipscore"]["mean"] == pytest.approx(sum(values) / len(values))
    assert summary["scores"]["clipscore"]["max"] == max(values)


def test_the_table_has_room_for_every_name(samples, tmp_path):
    long = "a-name-of-more-than-sixteen-letters"
    done = score(samples / "samples.jsonl", tmp_path / "out.jsonl", f"clipscore={SHAPES}/clip,name={long}", f"hps={SHAPES}/hps", check=False,
                 extra=("--tokenizer", TOKENIZER))
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["scorer", long, "hps"]
    assert len({len(line) for line in lines}) == 1, done.stdout


def failed(samples, tmp_path, *scorers, extra=("--tokenizer", TOKENIZER)):
    done = score(samples, tmp_path / "out.jsonl", *scorers, check=False, extra=extra)
    assert done.returncode == 1, done
    assert not (tmp_path / "out.jsonl").exists()
    return done.stderr


def test_not_a_number_names_scorer_sample_and_prompt(samples, tmp_path):
    folder = tmp_path / "nan"
    shutil.copytree(SHAPES / "clip", folder)
    weights = load_file(folder / "model.safetensors")
    # Poisons the embedding of one token only, so one prompt's score.
    token = CLIPTokenizer.from_pretrained(TOKENIZER)("青")["input_ids"][1]
    weights["text_model.embeddings.token_embedding.weight"][token] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    message = failed(samples / "samples.jsonl", tmp_path, f"hps={SHAPES}/hps", f"clipscore={folder}")
    assert "clipscore" in message and "samples.jsonl:5" in message and "青い三角形と赤い丸" in message


@pytest.mark.parametrize("projection, scorer, whose", [
    ("visual_projection", "clipscore={zero}", "picture"), ("text_projection", "clipscore={zero}", "prompt"),
    ("visual_projection", "aesthetic={shapes}/aesthetic,clip={zero}", "picture")])
def test_an_embedding_of_zero_length_is_an_error(projection, scorer, whose, samples, tmp_path):
    folder = tmp_path / "zero"
    shutil.copytree(SHAPES / "clip", folder)
    weights = load_file(folder / "model.safetensors")
    weights[f"{projection}.weight"].zero_()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    message = failed(samples / "samples.jsonl", tmp_path, f"hps={SHAPES}/hps", scorer.format(zero=folder, shapes=SHAPES))
    told = f"scorer {scorer.split('=')[0]}: {samples}/samples.jsonl:1: the {whose}'s embedding has zero length, prompt \"{PROMPTS[0]}\""
    assert told in message, message


@pytest.mark.parametrize("line, named", [
    ('{"prompt": "a", "file": "0.png"', "not a JSON object"),
    ('{"file": "0.png"}', "prompt"),
    ('{"prompt": "a"}', "file"),
    ('{"prompt": "a", "file": 3}', "file"),
    ('{"prompt": "a", "file": "missing.png"}', "missing.png"),
    ('{"prompt": "a", "file": "torn.png"}', "torn.png"),
    ('{"prompt": "a", "file": "0.png", "scores": 3}', "scores"),
])
def test_bad_lines_name_file_and_line(line, named, samples, tmp_path):
    (samples / "torn.png").write_bytes((samples / "5.png").read_bytes()[:2000])
    (samples / "bad.jsonl").write_text('{"prompt": "a", "file": "0.png"}\n\n' + line + "\n")
    message = failed(samples / "bad.jsonl", tmp_path, f"clipscore={SHAPES}/clip")
    assert "bad.jsonl:3" in message and named in message


def test_empty_and_missing_sample_files(samples, tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    assert "empty.jsonl" in failed(tmp_path / "empty.jsonl", tmp_path, f"clipscore={SHAPES}/clip")
    assert "none.jsonl" in failed(tmp_path / "none.jsonl", tmp_path, f"clipscore={SHAPES}/clip")


def test_bad_folders_name_scorer_and_file(samples, tmp_path):
    lines = samples / "samples.jsonl"
    assert "nowhere/config.json" in failed(lines, tmp_path, "hps=nowhere")
    assert "vocab.json" in failed(lines, tmp_path, f"hps={SHAPES}/hps", extra=())
    head = random_head(tmp_path / "head", 56)  # clip/ gives 128
    message = failed(lines, tmp_path, f"aesthetic={head},clip={SHAPES}/clip")
    assert "scorer aesthetic" in message and "layers.0" in message
    wrong = tmp_path / "wrong"
    shutil.copytree(SHAPES / "clip", wrong)
    preprocessor = json.loads((wrong / "preprocessor_config.json").read_text())
    (wrong / "preprocessor_config.json").write_text(json.dumps(preprocessor | {"crop_size": {"height": 32, "width": 32}}))
    assert "32x32" in failed(lines, tmp_path, f"hps={wrong}")


@pytest.mark.parametrize("scorer", ["clipscore", "beauty=folder", "clipscore=", "aesthetic=folder", "hps=folder,clip=other"])
def test_bad_scorer_arguments_are_usage_errors(scorer, samples, tmp_path):
    assert score(samples / "samples.jsonl", tmp_path / "out.jsonl", scorer, check=False).returncode == 2
