"""Filters synthetic prompts with `rsidiff prompts filter` and prints time, peak memory, what was kept, and the recall of
the near-duplicates. Exits with 1 when a goal is missed: under 60 s and 4 GiB for a million prompts on two cores, of which
the filter uses one.

    python3 tests/bench/prompts/filter_million.py build/release/bin/rsidiff [--prompts 1000000]

The prompts are English phrases out of made-up words (Zipf's law), 6 to 20 words long; a tenth are earlier ones with
another ending or a synonym, which are the same once they are normalised, and one in fifty is shuffled. One in a hundred is
long, some phrases in a row, and one in a hundred the long one before it with one more word in it: not the same, and more
than 0.9 alike. Recall is the share of these pairs of which the filter keeps only one."""
import argparse
import json
import os
import pathlib
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time

GOAL_SECONDS = 60
GOAL_GIB = 4

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


def long_phrase():
    """Of so many words that count that one more changes less than a tenth of their pairs."""
    text = phrase()
    while sum(word not in ("a", "the") for word in text.split()) < 36:
        text += ", " + phrase()
    return text


def with_another_word(text):
    words = text.split()
    words.insert(rng.randint(1, len(words)), rng.choice(NOUNS))
    return " ".join(words)


def prompts(count):
    """The prompts, and the pairs of near-duplicates among them."""
    seen, pairs = [], []
    for i in range(count):
        if i % 10 == 9:
            text = rng.choice(seen).replace("small", "little") + rng.choice((".", ", please", " !", ", nice"))
        elif i % 50 == 1:
            words = phrase().split()
            rng.shuffle(words)
            text = " ".join(words)
        elif i % 100 == 37:
            long = text = long_phrase()
        elif i % 100 == 87:
            text = with_another_word(long)
            pairs.append((long, text))
        else:
            text = phrase()
        seen.append(text)
    return seen, pairs


def recall(file, pairs):
    """Of the pairs that clarity and specificity keep."""
    planted = {text for pair in pairs for text in pair}
    rejected_by = {}
    with file.open() as lines:
        for line in map(json.loads, lines):
            if line["prompt"] in planted:
                rejected_by[line["prompt"]] = line["rejected_by"]
    verdicts = [{rejected_by[text] for text in pair} for pair in pairs]
    compared = [found for found in verdicts if found <= {None, "diversity"}]
    return sum("diversity" in found for found in compared), len(compared)


def verdict(met):
    return "met" if met else "MISSED"


with tempfile.TemporaryDirectory() as folder:
    source = pathlib.Path(folder) / "prompts.txt"
    pool, pairs = prompts(arguments.prompts)
    source.write_text("\n".join(pool) + "\n")
    begun = time.monotonic()
    result = subprocess.run([arguments.rsidiff, "prompts", "filter", "--json", "--out", f"{folder}/out", str(source)],
                            check=True, capture_output=True, text=True)
    seconds = time.monotonic() - begun
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = (pathlib.Path(folder) / "out/report.html").stat().st_size
    found, compared = recall(pathlib.Path(folder) / "out/prompts.jsonl", pairs)

gib = usage.ru_maxrss / 2**20
in_time, in_memory = seconds < GOAL_SECONDS, gib < GOAL_GIB

processor = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
print(f"environment  {processor}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Linux {platform.release()}")
print(f"prompts      {arguments.prompts}, of which {json.loads(result.stdout)}")
print(f"time         {seconds:.1f} s wall, {usage.ru_utime + usage.ru_stime:.1f} s processor, reading and writing included; "
      f"goal under {GOAL_SECONDS} s: {verdict(in_time)}")
print(f"peak memory  {gib:.2f} GiB; goal under {GOAL_GIB} GiB: {verdict(in_memory)}")
print(f"recall       {found} of {compared} pairs that differ by a word ({found / max(compared, 1):.2%})")
print(f"report.html  {report / 1024:.0f} KiB")
sys.exit(0 if in_time and in_memory else 1)
