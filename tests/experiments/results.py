"""What arms came to: one JSON file an arm and seed, RESULTS/ARM-SEED.json.

    {"arm", "seed", "best_round", "reason", "collapse", "environment", "spec", "rounds": [{"round": 0, FIGURE: VALUE ...} ...]}
"""
import json
import os
import pathlib
import platform
import statistics
import subprocess

# Figure -> its heading and digits, in the order of the tables. The scorers are those of the shapes-*.yaml run files.
FIGURES = {"checker": ("checker", 3), "exact": ("exact", 3), "heldout": ("heldout", 4), "clip": ("clip", 4), "hps": ("hps", 4), "aesthetic": ("aesthetic", 3),
           "diversity": ("diversity", 4), "frechet": ("Fréchet", 4), "drawn_right": ("drawn right", 3), "kept_right": ("kept right", 3),
           "weighted_right": ("by weight", 3), "some_right": ("some right", 3), "kept": ("kept", 0), "ess": ("ESS", 0), "clipped": ("clipped", 2), "loss": ("loss", 4)}


PRODUCT = ("proto", "common", "coordinator", "worker")


def commit():
    """The product's version, with a "+" where files of it were changed; empty outside a repository."""
    def git(*arguments):
        return subprocess.run(["git", "-C", pathlib.Path(__file__).resolve().parents[2], *arguments], capture_output=True, text=True).stdout.strip()
    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--", *PRODUCT) else "")


def environment():
    """What the figures were found with; equal bits depend on the processor (docs/formats.md)."""
    known = pathlib.Path("/proc/cpuinfo").read_text()
    model = next((line.split(":", 1)[1].strip() for line in known.splitlines() if line.startswith("model name")), platform.machine())
    return {"processor": model, "avx512": "avx512f" in known, "cores": os.cpu_count(), "commit": commit()}


def write(path, result):
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    partial.rename(path)


def load(folder, arm):
    """The arm's results, by seed; empty when there is none yet."""
    paths = sorted(path for path in folder.glob(f"{arm}-*.json") if path.stem.removeprefix(f"{arm}-").isdigit())
    return sorted((json.loads(path.read_text()) for path in paths), key=lambda result: result["seed"])


def arms(listing):
    """What arms.txt lists, in its order: {name: [run file, KEY=VALUE ...]}."""
    lines = (line.split("#")[0].split() for line in listing.read_text().splitlines())
    return {words[0]: words[1:] for words in lines if words}


def by_round(results, figure):
    """[(round, mean over the seeds, standard deviation over them or None)] of the rounds that have the figure."""
    found = []
    for number in range(max(len(result["rounds"]) for result in results)):
        values = [value for result in results if number < len(result["rounds"]) and (value := result["rounds"][number].get(figure)) is not None]
        if values:
            found.append((number, statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None))
    return found


def written(figure, mean, spread=None):
    digits = FIGURES[figure][1]
    return f"{mean:.{digits}f}" + ("" if spread is None else f" ± {spread:.{digits}f}")
