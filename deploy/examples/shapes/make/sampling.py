"""The noise schedule of the world, and a small DDIM sampler for looking at a UNet while it trains.

Two things differ from SD 1.4's schedule. beta_end is 0.02 in place of 0.012: at the last step of SD's the mean of 256 latents
still shows (signal to noise 1.2), so a model learns to read the background off the noise and ignores the prompt; here it is 0.06.
And the model predicts v, not the noise: at high noise, where shapes and places are decided, an error in the noise is many
times as large in the picture.
"""
import re

import numpy as np
import torch

from pixels import to_u8
from precision import mixed_precision
from world import attributes, parse

SCHEDULE = dict(beta_start=0.00085, beta_end=0.02, beta_schedule="scaled_linear", num_train_timesteps=1000, prediction_type="v_prediction")


def alphas_bar():
    betas = torch.linspace(SCHEDULE["beta_start"] ** 0.5, SCHEDULE["beta_end"] ** 0.5, SCHEDULE["num_train_timesteps"], dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


@torch.no_grad()
def ddim(unet, states, empty, noise, steps=20, guidance=3.0):
    """Latents (scaled) from N x 4 x 16 x 16 noise and N x 77 x D text states."""
    bar = alphas_bar()
    stride = len(bar) // steps
    z, both = noise, torch.cat([empty.expand_as(states), states])
    for i in reversed(range(steps)):
        t, before = i * stride + 1, (i - 1) * stride + 1
        a, a_before = bar[t], bar[before] if before > 0 else bar[0]
        with mixed_precision():
            without, given = unet(torch.cat([z, z]), torch.tensor(t), both).sample.float().chunk(2)
        v = without + guidance * (given - without)
        x0 = a.sqrt() * z - (1 - a).sqrt() * v
        eps = a.sqrt() * v + (1 - a).sqrt() * z
        z = a_before.sqrt() * x0 + (1 - a_before).sqrt() * eps
    return z


@torch.no_grad()
def pictures(unet, vae, states, empty, seeds, batch_size=32, **options):
    """uint8 pictures of the text states, one start noise per seed."""
    out = []
    for i in range(0, len(seeds), batch_size):
        noise = torch.stack([torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(int(s))) for s in seeds[i:i + batch_size]])
        z = ddim(unet, states[i:i + batch_size].float(), empty.float(), noise, **options)
        out.append(to_u8(vae.decode(z / vae.config.scaling_factor).sample))
    return torch.cat(out)


def verdict(u8, texts):
    """The checker's figures: mean fraction of attributes, share with all right, and each kind of attribute."""
    found = [attributes(p.permute(1, 2, 0).numpy(), parse(t)) for p, t in zip(u8, texts)]
    kinds = {}
    for one in found:
        for name, right in one.items():
            kinds.setdefault(re.sub(r"\d", "", name), []).append(right)
    return dict(fraction=np.mean([sum(one.values()) / len(one) for one in found]), exact=np.mean([all(one.values()) for one in found]),
                **{name: np.mean(rights) for name, rights in kinds.items()})
