#!/usr/bin/env python3
"""Turns the official checkpoint of a scorer, a pickle, into a folder that rsidiff-worker loads.

    python deploy/convert/convert_scorer.py hpsv2.1 HPS_v2.1_compressed.pt --tokenizer CLIP_FOLDER --out hpsv2.1
    python deploy/convert/convert_scorer.py imagereward ImageReward.pt --tokenizer BERT_FOLDER --out imagereward
    python deploy/convert/convert_scorer.py aesthetic-v2 sac+logos+ava1-l14-linearMSE.pth --out aesthetic-v2

Needs torch and safetensors, and nothing else of this project; rsidiff itself never runs Python and never reads pickles. The file is
read as tensors only (torch's weights_only): a pickle that wants to run code is refused. --tokenizer is the folder whose vocab.json and
merges.txt (openai/clip-vit-large-patch14 or laion/CLIP-ViT-H-14-laion2B-s32B-b79K), or vocab.txt (bert-base-uncased), are copied; without it
name the folder in the run file. PickScore and CLIP are published as safetensors and need no conversion.
"""
import argparse
import contextlib
import json
import math
import os
import pickle
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

HEAD = ("layers.0", "layers.2", "layers.4", "layers.6", "layers.7")


class Refused(Exception):
    """The file is not what its name promises."""


def read_pickle(path):
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise Refused(f"{path}: cannot be read as tensors alone: {str(error).splitlines()[0]}") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise Refused(f"{path}: holds no state dict")
    tensors = {}
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise Refused(f"{path}: entry {name!r} is no tensor")
        tensors[name.removeprefix("module.")] = tensor
    return tensors


class Layout:
    """Reads sizes off the tensors, and names the one that is missing."""

    def __init__(self, path, tensors):
        self.path = path
        self.tensors = tensors

    def shape(self, name, dimensions):
        if name not in self.tensors:
            raise Refused(f"{self.path}: tensor {name} is missing")
        shape = list(self.tensors[name].shape)
        if len(shape) != dimensions:
            raise Refused(f"{self.path}: tensor {name} has shape {shape}, not {dimensions} dimensions")
        return shape

    def layers(self, prefix):
        numbers = {int(name[len(prefix):].split(".")[0]) for name in self.tensors if name.startswith(prefix)}
        if numbers != set(range(len(numbers))) or not numbers:
            raise Refused(f"{self.path}: layers {sorted(numbers)} under {prefix}")
        return len(numbers)

    def image_size(self, positions, patch):
        side = math.isqrt(positions - 1)
        if side * side != positions - 1:
            raise Refused(f"{self.path}: {positions} position embeddings are no square of patches and a class token")
        return side * patch

    def head_sizes(self, prefix):
        return [self.shape(f"{prefix}{layer}.weight", 2)[0] for layer in HEAD]


def hps(layout, scorer, heads):
    vision_width, _, patch, _ = layout.shape("visual.conv1.weight", 4)
    vocabulary, text_width = layout.shape("token_embedding.weight", 2)
    side = layout.image_size(layout.shape("visual.positional_embedding", 2)[0], patch)
    text = {"hidden_size": text_width, "intermediate_size": layout.shape("transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
            "num_hidden_layers": layout.layers("transformer.resblocks."), "num_attention_heads": heads["text"], "hidden_act": "gelu",
            "vocab_size": vocabulary, "max_position_embeddings": layout.shape("positional_embedding", 2)[0]}
    vision = {"hidden_size": vision_width, "intermediate_size": layout.shape("visual.transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
              "num_hidden_layers": layout.layers("visual.transformer.resblocks."), "num_attention_heads": heads["vision"],
              "hidden_act": "gelu", "image_size": side, "patch_size": patch}
    config = {"model_type": "clip", "_scorer": scorer, "projection_dim": layout.shape("visual.proj", 2)[1], "text_config": text,
              "vision_config": vision}
    preprocessor = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}, "resize_arithmetic": "float_antialias",
                    "crop_rounding": "to_even"}
    return {"config.json": config, "preprocessor_config.json": preprocessor}


def image_reward(layout, scorer, heads):
    tower, bert = "blip.visual_encoder.", "blip.text_encoder."
    vision_width, _, patch, _ = layout.shape(tower + "patch_embed.proj.weight", 4)
    vocabulary, text_width = layout.shape(bert + "embeddings.word_embeddings.weight", 2)
    vision = {"hidden_size": vision_width, "intermediate_size": layout.shape(tower + "blocks.0.mlp.fc1.weight", 2)[0],
              "num_hidden_layers": layout.layers(tower + "blocks."), "num_attention_heads": heads["vision"],
              "image_size": layout.image_size(layout.shape(tower + "pos_embed", 3)[1], patch), "patch_size": patch}
    text = {"hidden_size": text_width, "intermediate_size": layout.shape(bert + "encoder.layer.0.intermediate.dense.weight", 2)[0],
            "num_hidden_layers": layout.layers(bert + "encoder.layer."), "num_attention_heads": heads["text"], "vocab_size": vocabulary,
            "max_position_embeddings": layout.shape(bert + "embeddings.position_embeddings.weight", 2)[0]}
    return {"config.json": {"model_type": "image_reward", "_scorer": scorer, "vision_config": vision, "text_config": text,
                            "head_sizes": layout.head_sizes("mlp.")}}


def aesthetic(layout, scorer, heads):
    return {"config.json": {"_scorer": scorer, "input_size": layout.shape("layers.0.weight", 2)[1],
                            "layer_sizes": layout.head_sizes(""), "linear_keys": list(HEAD)}}


# Scorer -> (configuration, the tensors it reads, tokenizer files, heads of the real model, which no tensor tells).
SCORERS = {
    "hpsv2.0": (hps, ("visual.", "transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_projection", "logit_scale"),
                ("vocab.json", "merges.txt"), {"vision": 16, "text": 16}),
    "imagereward": (image_reward, ("blip.visual_encoder.", "blip.text_encoder.", "mlp."), ("vocab.txt",), {"vision": 16, "text": 12}),
    "aesthetic-v2": (aesthetic, ("layers.",), (), {}),
}
SCORERS["hpsv2.1"] = SCORERS["hpsv2.0"]


def vocabulary_files(folder, names):
    files = [folder / name for name in names] if folder is not None else []
    for file in files:
        if not file.is_file():
            raise Refused(f"{file}: there is no such file")
    return files


def check_free(out):
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise Refused(f"{out}: is there already")


@contextlib.contextmanager
def new_folder(out):
    """The folder to write into; it gets its name when everything is in it and on the disk."""
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for path in [*partial.iterdir(), partial]:
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def convert(scorer, source, out, tokenizer, heads):
    configure, prefixes, vocabulary, real_heads = SCORERS[scorer]
    check_free(out)
    copies = vocabulary_files(tokenizer, vocabulary)
    layout = Layout(source, read_pickle(source))
    configurations = configure(layout, scorer, {part: heads.get(part) or count for part, count in real_heads.items()})
    tensors = {name: tensor.contiguous().clone() for name, tensor in layout.tensors.items() if name.startswith(prefixes)}
    if copies and configure is hps:
        configurations["tokenizer_config.json"] = {"text_cleaning": "open_clip"}
    with new_folder(out) as folder:
        for file in copies:
            shutil.copyfile(file, folder / file.name)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt", "scorer": scorer})
        for name, values in configurations.items():
            (folder / name).write_text(json.dumps(values, indent=2) + "\n")
    return len(tensors), sorted(set(layout.tensors) - set(tensors))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scorer", choices=sorted(SCORERS))
    parser.add_argument("pickle", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--vision-heads", type=int, help="of a model with other sizes than the official one")
    parser.add_argument("--text-heads", type=int)
    args = parser.parse_args()
    try:
        count, left_out = convert(args.scorer, args.pickle, args.out.resolve(), args.tokenizer, {"vision": args.vision_heads, "text": args.text_heads})
    except (Refused, OSError) as error:
        print(f"convert_scorer.py: {error}", file=sys.stderr)
        return 1
    print(f"{args.out}: {count} tensors" + (f"; not needed: {', '.join(left_out)}" if left_out else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
