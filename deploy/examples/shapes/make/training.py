"""The loop that every training script runs: Muon or AdamW, warm-up and decay, EMA, checkpoints that go on exactly.

A run is a number of steps, not of minutes, so a stop and a restart give the weights of a run without the stop.
"""
import dataclasses
import signal
import sys
import time

import torch
from torch import nn

from files import WORK, log, replace
from precision import FAST_BF16


@dataclasses.dataclass
class Options:
    steps: int
    learning_rate: float = 1e-3
    muon: bool = True               # Muon for the hidden matrices; False: AdamW for all
    warmup: int = 100
    decay: float = 0.4              # share of the steps, at the end, in which the rate falls to zero
    weight_decay: float = 0.01
    clip: float = 1.0               # gradient norm
    ema: float = 0.0                # 0: none
    seed: int = 0
    checkpoint_seconds: float = 180
    log_every: int = 50
    evaluate_every: int = 0


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal by Newton-Schulz steps (K. Jordan, 2024), for matrices and convolutions.

    The update is scaled to AdamW's typical size, 0.2 sqrt(max(rows, columns)), so that one learning rate serves both.
    """

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.0):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @staticmethod
    def orthogonal(g):
        a, b, c = 3.4445, -4.7750, 2.0315
        x = g.bfloat16() if FAST_BF16 else g
        tall = x.shape[0] > x.shape[1]
        x = x.T if tall else x
        x = x / (x.norm() + 1e-7)
        for _ in range(5):
            s = x @ x.T
            x = a * x + (b * s + c * s @ s) @ x
        return (x.T if tall else x).to(g.dtype)

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                m = state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                g = p.grad.lerp(m, group["momentum"]).flatten(1)
                update = self.orthogonal(g) * (0.2 * max(g.shape) ** 0.5)
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update.view_as(p), alpha=-group["lr"])


def optimizers(module, options):
    """Muon for hidden matrices and convolutions; AdamW for embeddings, the first and last layers, norms and biases."""
    hidden, rest = [], []
    for name, p in module.named_parameters():
        if p.requires_grad:
            edge = any(part in name for part in ("embed", "conv_in", "conv_out", "head", "logit", "quant"))
            (hidden if options.muon and p.ndim >= 2 and not edge else rest).append(p)
    muon = [Muon(hidden, options.learning_rate, weight_decay=options.weight_decay)] if hidden else []
    return muon + [torch.optim.AdamW(rest, options.learning_rate, betas=(0.9, 0.98), weight_decay=options.weight_decay)]


def rate(step, options):
    """The share of the learning rate at a step: linear warm-up, constant, linear to zero."""
    left = (options.steps - step) / max(1, options.steps * options.decay)
    return min(1.0, (step + 1) / max(1, options.warmup), left)


class Training:
    """Trains `module` on `loss(step) -> (loss, {name: figure})` and keeps WORK/checkpoints/NAME.pt.

    `evaluate(step)` is called with the EMA weights in place. SIGTERM writes a checkpoint and exits.
    """

    def __init__(self, name, module, options):
        self.name, self.module, self.options, self.step = name, module, options, 0
        self.optimizers = optimizers(module, options)
        self.ema = {k: v.detach().clone() for k, v in module.state_dict().items()} if options.ema else None
        self.path = WORK / "checkpoints" / f"{name}.pt"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(options.seed + 1000)
        if self.path.exists():
            self.restore()

    def restore(self):
        kept = torch.load(self.path)
        self.module.load_state_dict(kept["module"])
        for opt, state in zip(self.optimizers, kept["optimizers"]):
            opt.load_state_dict(state)
        self.step, self.ema = kept["step"], kept["ema"]
        torch.set_rng_state(kept["rng"])
        log(self.name, f"goes on at step {self.step} of {self.options.steps}")

    def checkpoint(self):
        kept = dict(module=self.module.state_dict(), optimizers=[o.state_dict() for o in self.optimizers], step=self.step,
                    ema=self.ema, rng=torch.get_rng_state())
        replace(self.path, lambda p: torch.save(kept, p))

    def update(self, loss):
        share = rate(self.step, self.options)
        for opt in self.optimizers:
            opt.zero_grad()
            for group in opt.param_groups:
                group["lr"] = self.options.learning_rate * share
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.options.clip)
        for opt in self.optimizers:
            opt.step()
        self.step += 1
        if self.ema:
            keep = min(self.options.ema, (self.step + 1) / (self.step + 10))
            own = self.module.state_dict()
            floating = [k for k, v in own.items() if v.is_floating_point()]
            torch._foreach_lerp_([self.ema[k] for k in floating], [own[k] for k in floating], 1 - keep)

    def with_ema(self, call):
        """The value of call() with the EMA weights in place; random numbers drawn inside do not move the training's."""
        own = {k: v.clone() for k, v in self.module.state_dict().items()} if self.ema else None
        state = torch.get_rng_state()
        if self.ema:
            self.module.load_state_dict(self.ema)
        self.module.eval()
        try:
            with torch.no_grad():
                return call()
        finally:
            self.module.train()
            if own:
                self.module.load_state_dict(own)
            torch.set_rng_state(state)

    def run(self, loss_of, evaluate=None):
        stop = []
        signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
        self.module.train()
        smooth, saved, begin, first = {}, time.time(), time.process_time(), self.step
        while self.step < self.options.steps and not stop:
            loss, figures = loss_of(self.step)
            self.update(loss)
            for k, v in {"loss": loss.item(), **figures}.items():
                smooth[k] = float(v) if k not in smooth else 0.98 * smooth[k] + 0.02 * float(v)
            if self.step % self.options.log_every == 0:
                each = (time.process_time() - begin) / (self.step - first)
                log(self.name, f"step {self.step}/{self.options.steps} {each:.3f} cpu-s " + " ".join(f"{k} {v:.4f}" for k, v in smooth.items()))
            if evaluate and self.options.evaluate_every and self.step % self.options.evaluate_every == 0:
                self.with_ema(lambda: evaluate(self.step))
            if time.time() - saved > self.options.checkpoint_seconds:
                self.checkpoint()
                saved = time.time()
        self.checkpoint()
        if stop:
            log(self.name, f"stopped at step {self.step}; the same command goes on from there")
            sys.exit(143)
        if self.ema:
            self.module.load_state_dict(self.ema)
        self.module.eval()
