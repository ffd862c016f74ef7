"""Trains the text tower of a scorer:  train_text.py clip|clip-heldout [STEPS]

A linear layer on the pooled state has to name every attribute that the caption states. With no web-scale pairs to learn
from this gives in minutes what contrast alone did not in an hour: states in which the attributes lie apart. `clip`'s tower
is also base/text_encoder, as in SD 1.x, and like there it stays as it is from here on.
"""
import random
import sys

import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from precision import mixed_precision
import slots
from files import WORK, encode, note, prepare, replace, tokenizer
from training import Options, Training
from world import caption, parse, sample_spec

STEPS, BATCH = 350, 128
LENGTH = 18          # the longest caption, begin and end included
TOWERS = {"clip": dict(width=128, layers=4, seed=13), "clip-heldout": dict(width=96, layers=3, seed=77)}


def config_of(name):
    width = TOWERS[name]["width"]
    return dict(hidden_size=width, intermediate_size=2 * width, num_attention_heads=width // 32, hidden_act="quick_gelu",
                num_hidden_layers=TOWERS[name]["layers"], vocab_size=1500, max_position_embeddings=77, projection_dim=width,
                bos_token_id=1498, eos_token_id=1499, pad_token_id=1499)


class Reader(nn.Module):
    """The tower, and the layer that reads attributes off it; the layer is thrown away."""

    def __init__(self, name):
        super().__init__()
        torch.manual_seed(TOWERS[name]["seed"])
        self.tower = CLIPTextModel(CLIPTextConfig(**config_of(name)))
        for key, p in self.tower.named_parameters():
            if p.ndim == 2 and "layers" in key:
                nn.init.xavier_uniform_(p)
        self.head = nn.Linear(TOWERS[name]["width"], slots.WIDTH)

    def forward(self, ids):
        return self.head(self.tower(ids).pooler_output)


def tower(name):
    """The trained tower."""
    reader = Reader(name)
    reader.load_state_dict(torch.load(WORK / f"{name}-text.pt"))
    return reader.tower.eval()


def main():
    prepare()
    name, steps = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else STEPS
    tok, seed = tokenizer(), TOWERS[name]["seed"]
    known = {}

    def batch(rng, count):
        texts = [caption(sample_spec(rng), rng) for _ in range(count)]
        fresh = [t for t in texts if t not in known]
        if fresh:
            known.update(zip(fresh, encode(tok, fresh, LENGTH)))
        return torch.stack([known[t] for t in texts]), slots.labels([parse(t) for t in texts])

    def loss_of(step):
        ids, target = batch(random.Random(seed * 1_000_003 + step), BATCH)
        with mixed_precision():
            logits = reader(ids)
        loss, right = slots.loss(logits, target)
        return loss, dict(right=right)

    reader = Reader(name)
    training = Training(f"{name}-text", reader, Options(steps, learning_rate=2e-3, seed=seed, weight_decay=0.02, ema=0.98))
    training.run(loss_of)
    ids, target = batch(random.Random(99), 2000)
    with torch.no_grad():
        loss, right = slots.loss(reader(ids), target)
    note(f"{name}-text", loss=loss, right=right)
    replace(WORK / f"{name}-text.pt", lambda p: torch.save(reader.state_dict(), p))


if __name__ == "__main__":
    main()
