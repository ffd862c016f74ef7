"""Throughput of `rsidiff-worker score` beside transformers: the same CLIP folder (random weights), the same pictures
(PNG, 512x512), the same number of threads and batch size, fp32. Both decode, preprocess, run both towers and multiply.

    RSIDIFF_BIN=build/release/bin .venv-test/bin/python tests/bench/score/score_throughput.py [--small]

Time for starting and loading is taken out: each side runs on few and on many pictures, in turns, and the difference
counts. The ratio is ours over theirs; the goal is at least 1.0. On a machine that is busy with other things the ratio by
processor time is the steadier one.
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
    from PIL import Image
    from transformers import CLIPModel, CLIPTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    torch.set_num_threads(arguments.threads)
    model = CLIPModel.from_pretrained(arguments.model).eval()
    processor = CLIPImageProcessorPil.from_pretrained(arguments.model)
    tokenizer = CLIPTokenizer.from_pretrained(arguments.model)
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


def seconds(command, environment):
    """Wall-clock and processor seconds."""
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - begin, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(arguments):
    few, many = (16, 128) if arguments.small else (8, 24)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        make_model(folder / "model", arguments.small)
        lines = make_samples(folder, many)
        environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}
        # The allocator settings that rsidiff-worker makes for itself; without them transformers is slower still.
        environment |= {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
        totals = {"ours": {}, "theirs": {}}
        for count in (few, many):
            (folder / f"{count}.jsonl").write_text("".join(lines[:count]))
        for _ in range(arguments.repeat):
            for count in (few, many):
                samples = folder / f"{count}.jsonl"
                ours = [WORKER, "score", "--scorer", f"clipscore={folder}/model", "--samples", samples, "--out", folder / "out.jsonl",
                        "--threads", str(arguments.threads), "--batch", str(arguments.batch), "--device", "cpu"]
                peer = [sys.executable, __file__, "--theirs", "--model", folder / "model", "--samples", samples,
                        "--threads", str(arguments.threads), "--batch", str(arguments.batch)]
                for side, command in (("ours", ours), ("theirs", peer)):
                    took = seconds(command, environment)
                    fastest = totals[side].get(count, took)
                    totals[side][count] = tuple(map(min, took, fastest))
    report(arguments, few, many, totals)


def report(arguments, few, many, totals):
    import torch
    import transformers
    rate, cost = ({side: (many - few) / (times[many][clock] - times[few][clock]) for side, times in totals.items()}
                  for clock in (0, 1))
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    print(json.dumps({
        "benchmark": "score", "model": "small" if arguments.small else "ViT-L/14", "cpu": cpu, "threads": arguments.threads,
        "batch": arguments.batch, "torch": torch.__version__, "transformers": transformers.__version__,
        "load_average": os.getloadavg()[0], "ours_pictures_per_second": round(rate["ours"], 3),
        "transformers_pictures_per_second": round(rate["theirs"], 3), "ratio": round(rate["ours"] / rate["theirs"], 3),
        "ratio_by_processor_time": round(cost["ours"] / cost["theirs"], 3),
    }, indent=2))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=2, help="runs of each side; the fastest counts")
    parser.add_argument("--small", action="store_true", help="a model of a tenth of the size")
    parser.add_argument("--theirs", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--samples", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    theirs(arguments) if arguments.theirs else compare(arguments)


if __name__ == "__main__":
    main()
