"""Prints the tables of docs/experiments.md: arm x round x figure, mean and spread over the seeds.

    tables.py FOLDER ARM ...      reads FOLDER/ARM-SEED/rounds.json, writes FOLDER/tables.md
"""
import pathlib
import sys

from results import by_round, figures, load

DIGITS = {"checker": 3, "exact": 3, "kept": 0, "ESS": 0, "clipped": 2}

folder, arms = pathlib.Path(sys.argv[1]), sys.argv[2:]
lines = []
for arm in arms:
    runs = load(folder, arm)
    shown = figures(runs)
    columns = {name: {number: rest for number, *rest in by_round(runs, figure)} for name, figure in shown.items()}
    lines += [f"### {arm}", "", f"{len(runs)} seeds; mean ± standard deviation over them.", "",
              "| round | " + " | ".join(shown) + " |", "|" + "---|" * (1 + len(shown))]
    for number in sorted({number for column in columns.values() for number in column}):
        cells = []
        for name, column in columns.items():
            mean, spread = column.get(number, (None, None))
            digits = DIGITS.get(name, 4)
            cells.append("-" if mean is None else f"{mean:.{digits}f}" + ("" if spread is None else f" ± {spread:.{digits}f}"))
        lines.append(f"| {number} | " + " | ".join(cells) + " |")
    lines += [""] + [f"- seed {run['run']['spec']['seed']}: {run['run']['reason']}" + (f"; {run['run']['collapse']}" if run["run"].get("collapse") else "")
                     for run in runs] + [""]
(folder / "tables.md").write_text("\n".join(lines))
print("\n".join(lines))
