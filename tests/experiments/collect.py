"""Collects an arm's rounds from its coordinator: evaluation scores, and the ground-truth checker's verdict.

    collect.py RSIDIFF FOLDER ARM      writes FOLDER/rounds.json
"""
import json
import pathlib
import subprocess
import sys

root = pathlib.Path(__file__).resolve().parents[2]
rsidiff, folder, arm = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
coordinator = json.loads((folder / "coordinator" / "coordinator.json").read_text())["grpc"]


def ask(*arguments):
    return json.loads(subprocess.run([rsidiff, "--coordinator", coordinator, *arguments, "--json"], check=True, capture_output=True, text=True).stdout)


run_id = str(ask("run", "list")["runs"][-1]["run"]["id"])
status = ask("run", "show", run_id)
rounds = []
for record in status["rounds"]:
    number = record["round"]
    pictures = folder / "evaluation" / str(number)
    if not (pictures / "samples.jsonl").exists():
        subprocess.run([rsidiff, "--coordinator", coordinator, "samples", run_id, "--round", str(number), "--evaluation", "--out", pictures], check=True, stdout=subprocess.DEVNULL)
    checked = subprocess.run([sys.executable, root / "deploy/examples/shapes/check.py", pictures], check=True, capture_output=True, text=True)
    rounds.append({"round": number, "evaluation": record["evaluation"], "selection": record.get("selection"), "train": record.get("train"), "checker": json.loads(checked.stdout)})
(folder / "rounds.json").write_text(json.dumps({"arm": arm, "run": status["run"], "rounds": rounds}, indent=1))
