"""What collect.py wrote of each arm and seed, as figures by round."""
import json
import statistics

# Figure -> its value of a round, or None where the round has none.
COMMON = {
    "checker": lambda r: r["checker"]["fraction"],
    "exact": lambda r: r["checker"]["exact"],
    "diversity": lambda r: r["evaluation"]["diversity"],
    "Fréchet": lambda r: r["evaluation"]["frechet"],
    "kept": lambda r: (r["selection"] or {}).get("selected") or None,
    "ESS": lambda r: (r["selection"] or {}).get("effective_sample_size") or None,
    "clipped": lambda r: (r["selection"] or {}).get("clipped_share") if (r["selection"] or {}).get("selected") else None,
    "loss": lambda r: (r["train"] or {}).get("last_loss") or None,
}


def load(folder, arm):
    """The arm's runs, by seed."""
    paths = sorted(folder.glob(f"{arm}-*/rounds.json"), key=lambda path: int(path.parent.name.rsplit("-", 1)[1]))
    return [json.loads(path.read_text()) for path in paths]


def figures(runs):
    """Names of the figures in their order: scorers between the checker's and the rest."""
    scorers = {name: (lambda r, name=name: r["evaluation"]["scores"][name]["mean"]) for name in sorted(runs[0]["rounds"][0]["evaluation"]["scores"])}
    return {"checker": COMMON["checker"], "exact": COMMON["exact"], **scorers, **COMMON}


def by_round(runs, figure):
    """[(round, mean over the seeds, standard deviation over them or None)] of the rounds that have the figure."""
    found = []
    for number in range(max(len(run["rounds"]) for run in runs)):
        values = [value for run in runs if number < len(run["rounds"]) and (value := figure(run["rounds"][number])) is not None]
        if values:
            found.append((number, statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None))
    return found
