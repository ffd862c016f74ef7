"""Rewrites the tables of docs/experiments.md, and its curves, from the results of the arms.

    report.py RESULTS [--docs DIR] [--check]    replaces what stands between <!-- NAME --> and <!-- end --> in the page, and
                                                writes images/experiment-curves.svg; --check only says whether both are as
                                                they would be written
"""
import argparse
import pathlib
import re
import statistics
import sys

import curves
from results import FIGURES, arms, by_round, load, written

HERE = pathlib.Path(__file__).resolve().parent
METHOD = ("sft", "preference", "rsidiff")
ABLATIONS = ("no-filter", "no-weights")  # beside them once they have as many rounds
LAST_OF_A_VARIATION = 3
EARLY, LATE = range(1, 4), range(5, 9)  # rounds whose mean is compared between arms: single ones are within the noise of the pictures
ABLATED = tuple(("rsidiff", name) for name in ABLATIONS)
COMPARED = (("rsidiff", "preference"), *ABLATED, ("preference", "sft"))
SUMMARY = ("checker", "exact", "heldout", "clip", "hps", "aesthetic", "diversity", "frechet")
VARIED = ("checker", "exact", "heldout", "aesthetic", "diversity", "frechet", "drawn_right", "kept_right", "weighted_right", "kept", "ess", "loss")
DIFFERENCES = ("checker", "exact", "heldout", "clip", "aesthetic", "diversity")
FROM_THE_BASE = ("exact", "heldout")


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(row) + " |" for row in rows)]


def headings(names):
    return [FIGURES[name][0] for name in names]


def cell(results, figure, number):
    found = {at: rest for at, *rest in by_round(results, figure)}.get(number)
    return "-" if found is None else written(figure, *found)


def summary(method):
    """Base model and each arm after its last round, over the seeds."""
    some = next(iter(method.values()))
    rows = [["base", "0"] + [cell(some, figure, 0) for figure in SUMMARY]]
    for name, results in method.items():
        last = len(results[0]["rounds"]) - 1
        rows.append([name, str(last)] + [cell(results, figure, last) for figure in SUMMARY])
    return table(["arm", "round"] + headings(SUMMARY), rows)


def every_figure(results, first=0):
    """Each round from the first one on, with every figure that the results have."""
    known = [figure for figure in FIGURES if by_round(results, figure)]
    last = max(len(result["rounds"]) for result in results)
    return table(["round"] + headings(known), [[str(number)] + [cell(results, figure, number) for figure in known] for number in range(first, last)])


def rounds(method):
    """Every figure of every round of each arm."""
    lines = []
    for name, results in method.items():
        lines += [f"#### {name}, {len(results)} seed{'s' if len(results) > 1 else ''}", "", *every_figure(results)]
        lines += ["", *(f"- seed {result['seed']}: {result['reason']}" + (f"; {result['collapse']}" if result["collapse"] else "") for result in results), ""]
    return lines[:-1]


def mean(result, figure, numbers):
    return statistics.mean(result["rounds"][number][figure] for number in numbers)


def differences(folder, compared, numbers):
    """How far an arm is above another with the same seed in the mean of some rounds, over the seeds that both have."""
    rows = []
    for name, other in compared:
        own, its = ({result["seed"]: result for result in load(folder, arm) if len(result["rounds"]) > max(numbers)} for arm in (name, other))
        seeds = sorted(own.keys() & its.keys())
        if len(seeds) < 2:
            continue
        cells = []
        for figure in DIFFERENCES:
            apart = [mean(own[seed], figure, numbers) - mean(its[seed], figure, numbers) for seed in seeds]
            cells.append(f"{statistics.mean(apart):+z.{FIGURES[figure][1]}f} ± {statistics.stdev(apart):.{FIGURES[figure][1]}f}")
        rows.append([f"{name} − {other}", str(len(seeds)), *cells])
    return table(["arms", "seeds"] + headings(DIFFERENCES), rows)


def variations(folder, listing, run_file):
    """One row an arm that changes a setting of the run file, seed 1, after as many rounds; the arm that changes nothing first."""
    rows = []
    for name, (changed, *changes) in listing.items():
        results = [result for result in load(folder, name) if result["seed"] == 1]
        if changed == run_file and results and len(results[0]["rounds"]) > LAST_OF_A_VARIATION:
            cells = [(cell(results, figure, 0) + " → " if figure in FROM_THE_BASE else "") + cell(results, figure, LAST_OF_A_VARIATION) for figure in VARIED]
            rows.append([name, " ".join(f"`{change}`" for change in changes) or "-", *cells])
    return table(["arm", "change"] + headings(VARIED), rows)


def longer(folder):
    """The method gone on, with one seed, beside its last round in the tables above."""
    results = load(folder, "longer")
    return every_figure(results, max(LATE)) if results else []


def controls(folder):
    """The procedure fed with something else than what the method selects: controls.py."""
    shown = ("checker", "exact", "heldout", "clip", "hps", "aesthetic", "kept", "loss")
    rows = []
    for name in ("control-drawings", "control-truth"):
        if results := load(folder, name):
            rows += [[name.removeprefix("control-"), str(number)] + [cell(results, figure, number) for figure in shown] for number in range(len(results[0]["rounds"]))]
    return table(["fed with", "round"] + headings(shown), rows)


def replace(page, name, lines):
    block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not block.search(page):
        raise SystemExit(f"the page has no block <!-- {name} -->")
    return block.sub(lambda match: match[1] + "\n" + "\n".join(lines) + "\n\n" + match[2], page)


def written_anew(page, folder):
    """The page and the curves as the results have them."""
    method = {name: found for name in METHOD if (found := load(folder, name))}
    if not method:
        raise SystemExit(f"{folder}: no result of {', '.join(METHOD)}")
    method |= {name: found for name in ABLATIONS if (found := load(folder, name)) and len(found[0]["rounds"]) > max(LATE)}
    listing = arms(HERE / "arms.txt")
    blocks = {"summary": summary(method), "differences": differences(folder, COMPARED, LATE),
              "ablations": differences(folder, ABLATED, EARLY), "rounds": rounds(method), "longer": longer(folder), "controls": controls(folder),
              "variations": variations(folder, listing, "rsidiff"), "sft variations": variations(folder, listing, "sft")}
    for name, lines in blocks.items():
        page = replace(page, name, lines)
    return page, curves.draw(method)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--docs", type=pathlib.Path, default=HERE.parents[1] / "docs")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    page = arguments.docs / "experiments.md"
    text, drawing = written_anew(page.read_text(), arguments.results)
    contents = {page: text, arguments.docs / "images" / "experiment-curves.svg": drawing}
    if arguments.check:
        stale = [str(path) for path, wanted in contents.items() if path.read_text() != wanted]
        sys.exit(f"not what {arguments.results} says: {', '.join(stale)}" if stale else 0)
    for path, wanted in contents.items():
        path.write_text(wanted)
    print(page)


if __name__ == "__main__":
    main()
