"""Prints the tables of docs/experiments.md.

    tables.py FOLDER ARM ...      reads FOLDER/ARM/rounds.json, writes FOLDER/tables.md
"""
import json
import pathlib
import sys

folder, arms = pathlib.Path(sys.argv[1]), sys.argv[2:]
lines = []
for arm in arms:
    data = json.loads((folder / arm / "rounds.json").read_text())
    names = sorted(data["rounds"][0]["evaluation"]["scores"])
    lines += [f"### {arm}", "", f"Best round: {data['run']['best_round']}. {data['run']['reason']}", "",
              "| round | checker | exact | " + " | ".join(names) + " | diversity | Fréchet | kept of drawn | ESS | loss |",
              "|" + "---|" * (8 + len(names))]
    for r in data["rounds"]:
        e, s, t = r["evaluation"], r["selection"] or {}, r["train"] or {}
        cells = [r["round"], f"{r['checker']['fraction']:.3f}", f"{r['checker']['exact']:.3f}"]
        cells += [f"{e['scores'][n]['mean']:.4f}" for n in names]
        cells += [f"{e['diversity']:.4f}", f"{e['frechet']:.4f}"]
        drawn = s.get("samples", 0)
        cells += [f"{s['selected']}/{drawn}" if drawn else "-", f"{s['effective_sample_size']:.0f}" if drawn else "-"]
        cells += [f"{t['first_loss']:.4f} → {t['last_loss']:.4f}" if t.get("steps") else "-"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines.append("")
(folder / "tables.md").write_text("\n".join(lines))
print("\n".join(lines))
