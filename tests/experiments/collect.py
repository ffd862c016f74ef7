"""Collects what an arm came to: its coordinator's evaluations, and the ground-truth checker's verdict on the pictures.

    collect.py RSIDIFF FOLDER ARM RESULT      FOLDER is the data folder of a quickstart whose coordinator runs
"""
import json
import pathlib
import subprocess
import sys

from results import environment, write

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHECK = ROOT / "deploy/examples/shapes/check.py"


class Cluster:
    def __init__(self, rsidiff, folder):
        self.rsidiff, self.folder = rsidiff, folder
        self.address = json.loads((folder / "coordinator" / "coordinator.json").read_text())["grpc"]

    def run(self, *arguments):
        return subprocess.run([self.rsidiff, "--coordinator", self.address, *map(str, arguments)], check=True, capture_output=True, text=True).stdout

    def ask(self, *arguments):
        return json.loads(self.run(*arguments, "--json"))

    def checked(self, run, number):
        """The checker's verdict on the evaluation pictures of a round."""
        pictures = self.folder / "evaluation" / str(number)
        if not (pictures / "samples.jsonl").exists():
            self.run("samples", run, "--round", number, "--evaluation", "--out", pictures)
        return json.loads(subprocess.run([sys.executable, CHECK, pictures], check=True, capture_output=True, text=True).stdout)


def figures(record, checked):
    """A round's figures; those of selection and training are missing in round 0, which has neither."""
    evaluation = record["evaluation"]
    found = {"round": record["round"], "checker": checked["fraction"], "exact": checked["exact"], "pictures": checked["samples"],
             **{name: score["mean"] for name, score in evaluation["scores"].items()},
             "diversity": evaluation["diversity"], "frechet": evaluation["frechet"]}
    selection, train = record.get("selection") or {}, record.get("train") or {}
    if selection.get("selected"):
        found |= {"kept": int(selection["selected"]), "ess": selection["effective_sample_size"], "clipped": selection.get("clipped_share", 0)}
    if train.get("last_loss"):
        found |= {"loss": train["last_loss"]}
    return found


def main():
    cluster, arm, result = Cluster(sys.argv[1], pathlib.Path(sys.argv[2])), sys.argv[3], pathlib.Path(sys.argv[4])
    number = cluster.ask("run", "list")["runs"][-1]["run"]["id"]
    status = cluster.ask("run", "show", number)
    run = status["run"]
    spec = json.loads(json.dumps(run["spec"]).replace(f"{ROOT}/", ""))  # paths as in a clone, wherever this one lies
    write(result, {"arm": arm, "seed": int(spec.get("seed", 0)), "best_round": run.get("best_round", 0), "reason": run["reason"],
                   "collapse": run.get("collapse", ""), "environment": environment(),
                   "rounds": [figures(record, cluster.checked(number, record["round"])) for record in status["rounds"]], "spec": spec})


main()
