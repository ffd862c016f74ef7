"""Filters synthetic prompts with `rsidiff prompts filter` and prints time, peak memory and what was kept.

    python3 tests/bench/prompts/filter_million.py build/release/bin/rsidiff [--prompts 1000000]

The prompts are English phrases out of made-up words (Zipf's law), 6 to 20 words long; a tenth are earlier ones with
another ending or a synonym, one in fifty is shuffled. Goal: under 60 s and 4 GiB on two cores. The filter uses one."""
import argparse
import json
import os
import pathlib
import platform
import random
import resource
import subprocess
import tempfile
import time

parser = argparse.ArgumentParser()
parser.add_argument("rsidiff")
parser.add_argument("--prompts", type=int, default=1_000_000)
arguments = parser.parse_args()

rng = random.Random(7)
SYLLABLES = "ba be bo da de do fa fi ga ka ke la le li lo ma me mi na no pa po ra re ri sa se so ta te to va vi za".split()
NOUNS = ["".join(rng.choices(SYLLABLES, k=rng.randint(2, 4))) for _ in range(20_000)]
WEIGHTS = [1 / (rank + 10) for rank in range(len(NOUNS))]
CUMULATIVE = [sum(WEIGHTS[:1])]
for weight in WEIGHTS[1:]:
    CUMULATIVE.append(CUMULATIVE[-1] + weight)
ADJECTIVES = "red blue green small large old young wooden bright dark shiny quiet broken golden".split()
LINKS = ["on a", "under the", "beside a", "with a", "in front of a", "near the", "above a"]


def phrase():
    nouns = rng.choices(NOUNS, cum_weights=CUMULATIVE, k=rng.randint(2, 5))
    words = ["a"]
    for i, noun in enumerate(nouns):
        if i:
            words.append(rng.choice(LINKS))
        if rng.random() < 0.6:
            words.append(rng.choice(ADJECTIVES))
        words.append(noun)
    return " ".join(words)


def prompts(count):
    seen = []
    for i in range(count):
        if i % 10 == 9:
            text = rng.choice(seen).replace("small", "little") + rng.choice((".", ", please", " !", ", nice"))
        elif i % 50 == 1:
            words = phrase().split()
            rng.shuffle(words)
            text = " ".join(words)
        else:
            text = phrase()
        seen.append(text)
    return seen


with tempfile.TemporaryDirectory() as folder:
    source = pathlib.Path(folder) / "prompts.txt"
    source.write_text("\n".join(prompts(arguments.prompts)) + "\n")
    begun = time.monotonic()
    result = subprocess.run([arguments.rsidiff, "prompts", "filter", "--json", "--out", f"{folder}/out", str(source)],
                            check=True, capture_output=True, text=True)
    seconds = time.monotonic() - begun
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = (pathlib.Path(folder) / "out/report.html").stat().st_size

processor = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
print(f"environment  {processor}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Linux {platform.release()}")
print(f"prompts      {arguments.prompts}, of which {json.loads(result.stdout)}")
print(f"time         {seconds:.1f} s wall, {usage.ru_utime + usage.ru_stime:.1f} s processor, reading and writing included")
print(f"peak memory  {usage.ru_maxrss / 2**20:.2f} GiB")
print(f"report.html  {report / 1024:.0f} KiB")
