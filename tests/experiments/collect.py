"""Collects what an arm came to: its coordinator's evaluations, and the ground-truth checker's verdict on the pictures, of the
evaluation and of the training.

    collect.py RSIDIFF FOLDER ARM RESULT      FOLDER is the data folder of a quickstart whose coordinator runs
"""
import collections
import json
import pathlib
import re
import statistics
import subprocess
import sys

from results import environment, write

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy/examples/shapes"))
from check import check, judged  # noqa: E402


class Cluster:
    def __init__(self, rsidiff, folder):
        self.rsidiff, self.folder = rsidiff, folder
        self.address = json.loads((folder / "coordinator" / "coordinator.json").read_text())["grpc"]

    def run(self, *arguments):
        return subprocess.run([self.rsidiff, "--coordinator", self.address, *map(str, arguments)], check=True, capture_output=True, text=True).stdout

    def ask(self, *arguments):
        return json.loads(self.run(*arguments, "--json"))

    def pictures(self, run, number, purpose, *options):
        folder = self.folder / purpose / str(number)
        if not (folder / "samples.jsonl").exists():
            self.run("samples", run, "--round", number, *options, "--out", folder)
        return folder


def selection_right(folder):
    """How good a choice was made: the share of the samples drawn that show everything right, that of the kept ones, by number and
    by weight, and the share of the prompts with such a sample, which is what a perfect choice of one a prompt would keep. Prompts
    that say nothing clear do not count."""
    of_prompt, kept, weights = collections.defaultdict(list), [], []
    for sample, fraction in judged(folder):
        if fraction is None:
            continue
        right = bool(fraction == 1)
        of_prompt[sample["prompt"]].append(right)
        if sample["selected"]:
            kept.append(right)
            weights.append(sample["weight"])
    drawn = [right for rights in of_prompt.values() for right in rights]
    return {"drawn_right": statistics.mean(drawn), "kept_right": statistics.mean(kept), "weighted_right": statistics.fmean(kept, weights),
            "some_right": statistics.mean([any(rights) for rights in of_prompt.values()])}


def figures(cluster, run, record):
    """A round's figures; those of selection and training are missing in round 0, which has neither."""
    evaluation, number = record["evaluation"], record["round"]
    checked = check(cluster.pictures(run, number, "evaluation", "--evaluation"))
    found = {"round": number, "checker": checked["fraction"], "exact": checked["exact"], "pictures": checked["samples"],
             **{name: score["mean"] for name, score in evaluation["scores"].items()},
             "diversity": evaluation["diversity"], "frechet": evaluation["frechet"]}
    selection, train = record.get("selection") or {}, record.get("train") or {}
    if selection.get("selected"):
        found |= {"kept": int(selection["selected"]), "ess": selection["effective_sample_size"], "clipped": selection.get("clipped_share", 0),
                  **selection_right(cluster.pictures(run, number, "training"))}
    if train.get("last_loss"):
        found |= {"loss": train["last_loss"]}
    return found


def main():
    cluster, arm, result = Cluster(sys.argv[1], pathlib.Path(sys.argv[2])), sys.argv[3], pathlib.Path(sys.argv[4])
    number = cluster.ask("run", "list")["runs"][-1]["run"]["id"]
    status = cluster.ask("run", "show", number)
    run = status["run"]
    spec = json.loads(re.sub(r'"/[^"]*/(deploy/examples/)', r'"\1', json.dumps(run["spec"])))  # paths as in any clone
    write(result, {"arm": arm, "seed": int(spec.get("seed", 0)), "best_round": run.get("best_round", 0), "reason": run["reason"],
                   "collapse": run.get("collapse", ""), "environment": environment(),
                   "rounds": [figures(cluster, number, record) for record in status["rounds"]], "spec": spec})


main()
