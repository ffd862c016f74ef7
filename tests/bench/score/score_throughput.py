"""Throughput of `rsidiff-worker score` beside transformers: the same CLIP folder (random weights), the same pictures
(PNG, 512x512), the same number of threads and batch size, fp32. Both decode, preprocess, run both towers and multiply.

    RSIDIFF_BIN=build/release/bin .venv-test/bin/python tests/bench/score/score_throughput.py [--small]

transformers runs with its Pillow image processor, whose scores have to be ours, and with its default one, which resizes by
torchvision. Time for starting and loading is taken out: each side runs on few and on many pictures, in turns, and the
difference counts. The ratio is ours over theirs; the goal is at least 1.0 with each peer and number of threads, else the
exit status is 1. On a machine that is busy with other things the ratio by processor time is the steadier one.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SHAPES = ROOT / "deploy" / "examples" / "shapes"
GOAL = 1.0
TOLERANCE = 1e-3  # of the largest score
PEERS = {"pillow": "CLIPImageProcessorPil", "default": "CLIPImageProcessor"}
WORKER = Path(os.environ.get("RSIDIFF_BIN", ROOT / "build" / "release" / "bin")) / "rsidiff-worker"


def make_model(folder, small):
    import torch
    from transformers import CLIPConfig, CLIPModel
    torch.manual_seed(1)
    text = dict(vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
                bos_token_id=1498, eos_token_id=1499, pad_token_id=1499)
    vision = dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, patch_size=14)
    if small:
        text |= dict(hidden_size=256, intermediate_size=1024, num_hidden_layers=4, num_attention_heads=4)
        vision |= dict(hidden_size=384, intermediate_size=1536, num_hidden_layers=6, num_attention_heads=6)
    model = CLIPModel(CLIPConfig(projection_dim=768, text_config=text, vision_config=vision | dict(image_size=224)))
    model.save_pretrained(folder)
    config = json.loads((SHAPES / "clip" / "preprocessor_config.json").read_text())
    config |= dict(size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224})
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    for file in ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(SHAPES / "base" / "tokenizer" / file, folder)


def make_samples(folder, count):
    import numpy
    from PIL import Image
    generator = numpy.random.default_rng(1)
    prompts = (SHAPES / "prompts" / "eval.txt").read_text().splitlines()
    lines = []
    for index in range(count):
        small = generator.integers(0, 256, (32, 32, 3), dtype=numpy.uint8)
        Image.fromarray(small).resize((512, 512), Image.BICUBIC).save(folder / f"{index}.png")
        lines.append(json.dumps({"prompt": prompts[index // 4], "file": f"{index}.png"}) + "\n")  # 4 pictures a prompt
    return lines


def theirs(arguments):
    """Runs in a process of its own: loads, scores, prints the scores."""
    import torch
    import transformers
    from PIL import Image
    torch.set_num_threads(arguments.threads[0])
    model = transformers.CLIPModel.from_pretrained(arguments.model).eval()
    processor = getattr(transformers, PEERS[arguments.theirs]).from_pretrained(arguments.model)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(arguments.model)
    samples = [json.loads(line) for line in Path(arguments.samples).read_text().splitlines()]
    folder = Path(arguments.samples).parent
    scores = []
    for begin in range(0, len(samples), arguments.batch):
        batch = samples[begin:begin + arguments.batch]
        pixels = processor([Image.open(folder / sample["file"]) for sample in batch], return_tensors="pt").pixel_values
        unique = list(dict.fromkeys(sample["prompt"] for sample in batch))  # each prompt once, as ours
        tokens = tokenizer(unique, padding=True, max_length=77, truncation=True, return_tensors="pt").input_ids
        with torch.inference_mode():
            image = torch.nn.functional.normalize(model.get_image_features(pixels).pooler_output)
            text = torch.nn.functional.normalize(model.get_text_features(tokens).pooler_output)
        cosines = image @ text.T
        scores += [cosines[i, unique.index(sample["prompt"])].item() for i, sample in enumerate(batch)]
    print(json.dumps(scores))


class Contest:
    """Our side and the peers over the same model and pictures, with one number of threads."""

    def __init__(self, folder, threads, batch):
        self.folder = folder
        self.settings = ["--threads", str(threads), "--batch", str(batch)]
        # The allocator settings that rsidiff-worker makes for itself; without them transformers is slower still.
        self.environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
        self.fastest = {side: {} for side in ("ours", *PEERS)}  # by number of pictures: wall-clock and processor seconds
        self.scores = {}

    def command(self, side, count):
        model, samples = self.folder / "model", self.folder / f"{count}.jsonl"
        if side == "ours":
            return [WORKER, "score", "--scorer", f"clipscore={model}", "--samples", samples, "--out", self.folder / "out.jsonl",
                    "--device", "cpu", *self.settings]
        return [sys.executable, __file__, "--theirs", side, "--model", model, "--samples", samples, *self.settings]

    def run(self, side, count):
        begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(self.command(side, count), check=True, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took = time.perf_counter() - begin, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self.fastest[side][count] = tuple(map(min, took, self.fastest[side].get(count, took)))
        lines = (self.folder / "out.jsonl").read_text().splitlines() if side == "ours" else []
        self.scores[side] = [json.loads(line)["scores"]["clipscore"] for line in lines] if lines else json.loads(done.stdout)

    def rates(self, side, few, many):
        """Pictures a second, by wall-clock and by processor time."""
        times = self.fastest[side]
        return [(many - few) / (times[many][clock] - times[few][clock]) for clock in (0, 1)]

    def difference(self, side):
        """Of the scores from ours, the largest, against the largest score."""
        pairs = list(zip(self.scores["ours"], self.scores[side], strict=True))
        return max(abs(a - b) for a, b in pairs) / max(abs(b) for _, b in pairs)


def environment(arguments):
    import torch
    import transformers
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    return {"benchmark": "score", "model": "small" if arguments.small else "ViT-L/14", "cpu": cpu, "batch": arguments.batch,
            "torch": torch.__version__, "transformers": transformers.__version__, "load_average": os.getloadavg()[0]}


def compare(arguments):
    """Whether every peer was met."""
    few, many = (16, 128) if arguments.small else (8, 24)
    print(json.dumps(environment(arguments)))
    met = True
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        make_model(folder / "model", arguments.small)
        lines = make_samples(folder, many)
        for count in (few, many):
            (folder / f"{count}.jsonl").write_text("".join(lines[:count]))
        for threads in arguments.threads:
            contest = Contest(folder, threads, arguments.batch)
            for _ in range(arguments.repeat):
                for count in (few, many):
                    for side in contest.fastest:
                        contest.run(side, count)
            for peer in PEERS:
                met &= report(contest, threads, peer, few, many)
    return met


def report(contest, threads, peer, few, many):
    difference = contest.difference(peer)
    if peer == "pillow" and not difference < TOLERANCE:
        sys.exit(f"score_throughput.py: our scores differ from transformers' by {difference:.1e} of the largest one")
    (rate, cost), (their_rate, their_cost) = contest.rates("ours", few, many), contest.rates(peer, few, many)
    ratio = rate / their_rate
    print(json.dumps({
        "threads": threads, "peer": PEERS[peer], "scores_differ_by": float(f"{difference:.1e}"), "ours_pictures_per_second": round(rate, 3),
        "transformers_pictures_per_second": round(their_rate, 3), "ratio": round(ratio, 3),
        "ratio_by_processor_time": round(cost / their_cost, 3), "goal": GOAL, "verdict": "met" if ratio >= GOAL else "MISSED"}), flush=True)
    return ratio >= GOAL


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=2, help="runs of each side; the fastest counts")
    parser.add_argument("--small", action="store_true", help="a model of a tenth of the size")
    parser.add_argument("--theirs", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--samples", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.theirs:
        theirs(arguments)
        return 0
    return 0 if compare(arguments) else 1


if __name__ == "__main__":
    sys.exit(main())
