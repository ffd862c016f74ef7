"""ImageReward out of transformers' BLIP blocks: the image tower, the text encoder with cross-attention, the head.

THUDM/ImageReward loads a pickle with the keys that `original_keys` gives; shapes are free here.
"""

import json

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torchvision import transforms
from transformers import BertTokenizer, BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

MEAN, STD = 0.16717362830052426, 1.0333394966054072

FULL = dict(vision=dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=224, patch_size=16),
            text=dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, vocab_size=30524,
                      max_position_embeddings=512),
            head=[1024, 128, 64, 16, 1], tokens=30522)


class ImageReward(torch.nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        vision, text = shape["vision"], shape["text"]
        self.vision = BlipVisionModel(BlipVisionConfig(**vision, layer_norm_eps=1e-6, hidden_act="gelu"))
        config = BlipTextConfig(**text, encoder_hidden_size=vision["hidden_size"], layer_norm_eps=1e-12, hidden_act="gelu", is_decoder=True)
        self.text = BlipTextModel(config, add_pooling_layer=False)
        sizes = [text["hidden_size"], *shape["head"]]
        self.head = torch.nn.ModuleList(torch.nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))

    @torch.no_grad()
    def rewards(self, pictures, prompts, tokenizer, length=35):
        side = self.shape["vision"]["image_size"]
        prepare = transforms.Compose([
            transforms.Resize(side, interpolation=transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(side), transforms.ToTensor(),
            transforms.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))])
        rewards = []
        for picture, prompt in zip(pictures, prompts, strict=True):
            tokens = tokenizer(prompt, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
            image = self.vision(prepare(picture)[None]).last_hidden_state
            states = self.text(tokens.input_ids, attention_mask=tokens.attention_mask, encoder_hidden_states=image,
                               encoder_attention_mask=torch.ones(image.shape[:2], dtype=torch.long), is_decoder=False)
            x = states.last_hidden_state[:, 0]
            for layer in self.head:
                x = layer(x)
            rewards.append(((x - MEAN) / STD).item())
        return rewards

    def original_keys(self):
        """The state dict as ImageReward.pt has it."""
        names = {"embeddings.class_embedding": "cls_token", "embeddings.position_embedding": "pos_embed",
                 "embeddings.patch_embedding": "patch_embed.proj", "encoder.layers": "blocks", "layer_norm1": "norm1", "layer_norm2": "norm2",
                 "self_attn.qkv": "attn.qkv", "self_attn.projection": "attn.proj", "post_layernorm": "norm"}
        tensors = {}
        for name, tensor in self.vision.state_dict().items():
            for ours, theirs in names.items():
                name = name.replace(ours, theirs)
            tensors[f"blip.visual_encoder.{name}"] = tensor
        for name, tensor in self.text.state_dict().items():
            tensors[f"blip.text_encoder.{name}"] = tensor
        positions = self.shape["text"]["max_position_embeddings"]
        tensors["blip.text_encoder.embeddings.position_ids"] = torch.arange(positions)[None]
        for place, layer in zip((0, 2, 4, 6, 7), self.head):
            tensors[f"mlp.layers.{place}.weight"] = layer.weight.detach()
            tensors[f"mlp.layers.{place}.bias"] = layer.bias.detach()
        return tensors

    def config(self):
        return {"model_type": "image_reward", "vision_config": self.shape["vision"], "text_config": self.shape["text"],
                "head_sizes": self.shape["head"]}


def write_bert_vocabulary(folder, texts, tokens):
    """`tokens` pieces learnt from the texts, with characters of several scripts and unused entries to fill."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.normalizer, trained.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=min(tokens, 1200), special_tokens=special, show_progress=False)
    trained.train_from_iterator(texts, trainer)
    pieces = sorted(trained.get_vocab(), key=trained.get_vocab().get)
    pieces += [f"[unused{i}]" for i in range(tokens - len(pieces))]
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(pieces[:tokens]) + "\n", encoding="utf-8")
    return folder


def bert_tokenizer(folder):
    tokenizer = BertTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    tokenizer.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
    return tokenizer


def write_config(model, folder, **changes):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(model.config() | changes))
