"""Two controls of the method on the shapes world: the same fine-tuning, fed with what no scorer selected.

    controls.py [--bin DIR] [--out DIR] [--results DIR] [--rounds N] [drawings | truth]

drawings: real drawings of the prompts. truth: the base model's (then its successors') own samples, picked by the ground-truth
checker: of four samples a prompt one that shows everything right, if there is one. Settings are those of
deploy/examples/shapes-rsidiff.yaml, less what a stand-alone worker has no use for. Writes RESULTS/control-NAME-1.json, which
report.py puts into docs/experiments.md.
"""
import argparse
import json
import pathlib
import random
import statistics
import subprocess
import sys

import numpy as np
import yaml
from PIL import Image

from results import environment, write

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "deploy" / "examples"
sys.path[:0] = [str(EXAMPLES / "shapes"), str(EXAMPLES / "shapes" / "make")]
from check import check  # noqa: E402
from world import check as share_right, draw, parse  # noqa: E402

SEED = 1


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


class Control:
    def __init__(self, arguments):
        self.worker = arguments.bin / "rsidiff-worker"
        self.out = arguments.out
        self.settings = yaml.safe_load((EXAMPLES / "shapes-rsidiff.yaml").read_text())
        self.pool = [prompt for prompt in (EXAMPLES / "shapes/prompts/train.txt").read_text().splitlines() if parse(prompt)]

    def run(self, *arguments):
        subprocess.run([self.worker, *map(str, arguments), "--threads", "2"], check=True, stdout=subprocess.DEVNULL)

    def prompts(self, number):
        """A round's prompts: others in each, as far as the pool goes."""
        count = self.settings["prompts"]["per_round"]
        order = random.Random(f"{SEED} {number // (len(self.pool) // count)}").sample(self.pool, len(self.pool))
        begin = number % (len(self.pool) // count) * count
        return order[begin:begin + count]

    def generate(self, model, prompts, samples, seed, folder):
        if (folder / "samples.jsonl").exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "prompts.txt").write_text("\n".join(prompts) + "\n")
        sampling = self.settings["sampling"]
        self.run("generate", "--model", model, "--prompts", folder / "prompts.txt", "--samples", samples, "--seed", seed, "--steps", sampling["steps"],
                 "--guidance", sampling["guidance_scale"], "--scheduler", sampling["scheduler"], "--batch", sampling["chunk"], "--save-latents", "--out", folder)

    def drawings(self, model, number, folder):
        """What a round trains on: one drawing a prompt. The model has no part in it."""
        folder.mkdir(parents=True, exist_ok=True)
        rng, chosen = random.Random(f"drawings {SEED} {number}"), []
        for index, prompt in enumerate(self.prompts(number)):
            draw(parse(prompt), rng).save(folder / f"{index:05}.png")
            chosen.append({"prompt": prompt, "file": f"{index:05}.png"})
        return chosen

    def truth(self, model, number, folder):
        """What a round trains on: of each prompt's samples the first that the checker finds right in everything."""
        self.generate(model, self.prompts(number), self.settings["sampling"]["samples_per_prompt"], 1_000_000 * (number + 1), folder)
        chosen = {}
        for row, sample in enumerate(lines(folder / "samples.jsonl")):
            if sample["prompt"] in chosen:
                continue
            if share_right(np.asarray(Image.open(folder / sample["file"]).convert("RGB")), parse(sample["prompt"])) == 1:
                chosen[sample["prompt"]] = {"prompt": sample["prompt"], "latent": "latents.safetensors", "row": row}
        return list(chosen.values())

    def finetune(self, model, manifest, number, tuned):
        train = self.settings["train"]
        if (tuned / "model_index.json").exists():
            return
        self.run("finetune", "--model", model, "--manifest", manifest, "--steps", train["steps"], "--batch", train["global_batch"], "--micro-batch", train["micro_batch"],
                 "--lr", train["learning_rate"], "--schedule", train["schedule"], "--warmup", train["warmup_steps"], "--weight-decay", train["weight_decay"],
                 "--ema", train["ema_decay"], "--seed", SEED + number, "--out", tuned)

    def evaluation(self, model, folder):
        """Scores and the checker's verdict on the evaluation prompts, the same start noise in every round."""
        prompts = (EXAMPLES / "shapes/prompts/eval.txt").read_text().splitlines()
        self.generate(model, prompts, self.settings["evaluation"]["samples_per_prompt"], 7, folder)
        scored = folder / "scores.jsonl"
        if not scored.exists():
            scorers = []
            for scorer in self.settings["scorers"]:
                rest = [f"{key}={EXAMPLES / scorer[key]}" for key in ("tokenizer", "clip") if key in scorer]
                scorers += ["--scorer", ",".join([f"{scorer['type']}={EXAMPLES / scorer['path']}", *rest, f"name={scorer['name']}"])]
            self.run("score", *scorers, "--samples", folder / "samples.jsonl", "--out", scored)
        samples, checked = lines(scored), check(folder)
        return {"checker": checked["fraction"], "exact": checked["exact"], "pictures": checked["samples"],
                **{name: statistics.mean(sample["scores"][name] for sample in samples) for name in samples[0]["scores"]}}

    def follow(self, name, rounds):
        """Yields each round's figures, the base model's first."""
        model = EXAMPLES / "shapes" / "base"
        yield {"round": 0, **self.evaluation(model, self.out / name / "0" / "evaluation")}
        for number in range(1, rounds + 1):
            folder = self.out / name / str(number)
            chosen = getattr(self, name)(model, number - 1, folder / "train")
            manifest = folder / "train" / "manifest.jsonl"
            manifest.write_text("".join(json.dumps(line) + "\n" for line in chosen))
            self.finetune(model, manifest, number, folder / "tuned")
            model = folder / "tuned"
            loss = statistics.mean(line["loss"] for line in lines(model / "losses.jsonl")[-10:])
            yield {"round": number, **self.evaluation(model, folder / "evaluation"), "kept": len(chosen), "loss": loss}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/release/bin")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/experiments/controls")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "tests/experiments/results")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("names", nargs="*", metavar="NAME", default=["drawings", "truth"])
    arguments = parser.parse_args()
    control = Control(arguments)
    for name in arguments.names:
        rounds = []
        for figures in control.follow(name, arguments.rounds):
            print(name, json.dumps(figures), flush=True)
            rounds.append(figures)
        arguments.results.mkdir(parents=True, exist_ok=True)
        write(arguments.results / f"control-{name}-1.json", {"arm": f"control-{name}", "seed": SEED, "environment": environment(), "rounds": rounds, "spec": control.settings})


main()
