"""Pictures as the models take them."""
import torch

# OpenAI CLIP's image normalisation, as in preprocessor_config.json
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)


def clip_pixels(u8):
    """uint8 NCHW -> CLIP pixel_values."""
    return (u8.float() / 255 - MEAN) / STD


def vae_pixels(u8):
    """uint8 NCHW -> [-1, 1]."""
    return u8.float() / 127.5 - 1


def to_u8(x):
    """[-1, 1] NCHW -> uint8 NCHW, rounding as diffusers does."""
    return ((x.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
