"""Selection and weights against NumPy and SciPy, over random rounds. The formulas here are those of docs/method.md."""

import json
import os
import subprocess

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import softmax
from scipy.stats import rankdata

TOOL = os.path.join(os.environ["RSIDIFF_BIN"], "selection_parity_tool")
SEEDS = range(200)
DEFAULTS = {"temperature": 1, "penalty": 1, "margin": 1, "min": 0.1, "max": 5, "ess_floor": 0.3}


def maybe(rng, settings):
    """Some of them; the others are left to their defaults."""
    return {key: value for key, value in settings.items() if rng.random() < 0.7}


def draw_scorer(rng):
    """Two functions that draw n scores: of the round, and of round 1."""
    place, scale = rng.uniform(-2, 25), 10.0 ** rng.uniform(-3, 1)

    def fine(n):
        return rng.normal(place, scale, n)

    def coarse(n):
        return rng.integers(0, 3, n) * scale  # equal scores are frequent

    def constant(n):
        return np.full(n, 0.1)

    return [(fine, fine), (coarse, coarse), (coarse, constant)][rng.choice(3, p=[0.5, 0.4, 0.1])]


def records(prompts, scores, distances):
    return [{"index": index, "prompt_id": int(prompt), "distance": distance,
             "scores": {f"s{j}": score for j, score in enumerate(row)}}
            for index, (prompt, row, distance) in enumerate(zip(prompts, scores.tolist(), distances, strict=True))]


def draw_case(seed):
    rng = np.random.default_rng(seed)
    scorers = [{"name": f"s{j}", "role": "SCORER_ROLE_SELECTION",
                **maybe(rng, {"weight": rng.choice([1, -1], p=[0.8, 0.2]) * rng.uniform(0.1, 3)})}
               for j in range(rng.integers(1, 5))]
    held_out = {"name": "held-out", "role": "SCORER_ROLE_HELD_OUT", "weight": 100}  # has no say
    draws = [draw_scorer(rng) for _ in scorers]
    k = int(rng.integers(1, 9))
    prompts = np.repeat(np.sort(rng.choice(100, size=rng.integers(1, 12), replace=False)), k)
    count, reference = len(prompts), int(rng.integers(2, 60))
    selection = {"method": "SELECTION_METHOD_" + str(rng.choice(["SUM", "RANK", "ALL"], p=[0.4, 0.4, 0.2])),
                 **maybe(rng, {"keep": int(rng.integers(1, k + 1)), "gate": rng.normal(-1)})}
    weights = {"method": "WEIGHT_METHOD_" + str(rng.choice(["UNIFORM", "PREFERENCE", "GAUSSIAN", "KNN"])),
               **maybe(rng, {"temperature": 10.0 ** rng.uniform(-1, 1), "penalty": rng.uniform(0, 3),
                             "margin": rng.uniform(0, 2), "min": rng.uniform(1e-4, 1), "max": rng.uniform(1, 20),
                             "ess_floor": 1 if seed % 20 == 0 else rng.uniform(0, 0.98)})}
    return {"spec": {"scorers": [*scorers, held_out], "selection": selection, "weights": weights},
            "reference": records(np.zeros(reference), np.column_stack([of_round_1(reference) for _, of_round_1 in draws]),
                                 np.zeros(reference)),
            "samples": records(prompts, np.column_stack([of_round(count) for of_round, _ in draws]),
                               rng.normal(0.5, 2, count).tolist())}


@pytest.fixture(scope="module")
def rounds():
    cases = [draw_case(seed) for seed in SEEDS]
    done = subprocess.run([TOOL], input=json.dumps(cases), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(zip(cases, json.loads(done.stdout), strict=True))


def column(samples, key):
    return np.array([sample[key] for sample in samples])


def matrix(samples, key, width):
    return np.array([[sample[key][f"s{j}"] for j in range(width)] for sample in samples])


def scorer_weights(spec):
    return np.array([scorer.get("weight", 1) for scorer in spec["scorers"][:-1]])


def z_scores(scores, reference):
    constant = np.ptp(reference, axis=0) == 0
    return np.where(constant, 0, (scores - reference.mean(0)) / np.where(constant, 1, reference.std(0)))


def rank_rewards(scores, weights):
    """Of one prompt's samples."""
    count = len(scores)
    ranks = (rankdata(scores, axis=0) - 1) / (count - 1) if count > 1 else np.ones_like(scores)
    return ranks @ weights / np.abs(weights).sum()


def selected(rewards, summed_z, settings):
    """Of one prompt's samples: which are, and each one's place."""
    order = np.argsort(-rewards, kind="stable")
    places = np.empty(len(rewards), dtype=int)
    places[order] = np.arange(len(rewards))
    if settings["method"].endswith("ALL"):
        return np.ones(len(rewards), dtype=bool), places
    return (places < settings.get("keep", 1)) & (summed_z >= settings.get("gate", -np.inf)), places


@pytest.mark.parametrize("seed", SEEDS)
def test_selection(rounds, seed):
    case, got = rounds[seed]
    spec, samples = case["spec"], got["samples"]
    weights, settings = scorer_weights(spec), spec["selection"]
    scores, reference = (matrix(case[key], "scores", len(weights)) for key in ("samples", "reference"))
    z = z_scores(scores, reference)
    np.testing.assert_allclose(matrix(samples, "z", len(weights)), z, rtol=1e-8, atol=1e-8)
    prompts, rewards = column(samples, "prompt_id"), column(samples, "reward")
    for prompt in np.unique(prompts):
        of = prompts == prompt
        expected = rank_rewards(scores[of], weights) if settings["method"].endswith("RANK") else z[of] @ weights
        np.testing.assert_allclose(rewards[of], expected, rtol=1e-8, atol=1e-8)
        # By the rewards that came out: rounding may order sums that are equal on paper.
        chosen, places = selected(rewards[of], z[of] @ weights, settings)
        np.testing.assert_array_equal(column(samples, "selected")[of], chosen)
        np.testing.assert_array_equal(column(samples, "rank")[of], places)


@pytest.mark.parametrize("seed", SEEDS)
def test_summary(rounds, seed):
    case, got = rounds[seed]
    samples, summary = got["samples"], got["summary"]
    chosen, rewards, prompts = (column(samples, key) for key in ("selected", "reward", "prompt_id"))
    assert (summary["samples"], summary["selected"]) == (len(samples), chosen.sum())
    assert summary["prompts"] == len(np.unique(prompts))
    assert summary["prompts_without_selection"] == len(np.setdiff1d(prompts, prompts[chosen]))
    assert summary["reward_mean"] == pytest.approx(rewards.mean(), rel=1e-9, abs=1e-9)
    scores = matrix(samples, "scores", len(case["spec"]["scorers"]) - 1)
    for key, rows in (("all", scores), ("kept", scores[chosen])):
        for j in range(scores.shape[1] if len(rows) else 0):
            assert summary[key][f"s{j}"]["mean"] == pytest.approx(rows[:, j].mean(), rel=1e-9)
            assert summary[key][f"s{j}"]["stddev"] == pytest.approx(rows[:, j].std(), rel=1e-9, abs=1e-12)


def effective_size(weights):
    return weights.sum() ** 2 / (weights**2).sum()


def mean_one(weights):
    return weights / weights.mean()


def before_the_floor(settings, prompts, rewards, distances):
    """The weights, and the share of them that a bound changed."""
    method, s = settings["method"], DEFAULTS | settings
    if method.endswith("UNIFORM"):
        return np.ones(len(prompts)), 0
    weights = np.empty(len(prompts))
    for prompt in np.unique(prompts):
        of = prompts == prompt
        weights[of] = of.sum() * softmax(rewards[of] / s["temperature"])
    if not method.endswith("PREFERENCE"):
        weights = weights * np.exp(-s["penalty"] * np.maximum(0, distances - s["margin"]))
    clipped = np.clip(weights, s["min"], s["max"])
    return mean_one(clipped), (clipped != weights).mean()


def flattened(weights, wanted):
    """weights^alpha over its mean, with the largest alpha in [0, 1] whose effective size is `wanted` or more."""
    def excess(alpha):
        return effective_size(weights**alpha) - wanted

    return weights if excess(1) >= 0 else mean_one(weights ** brentq(excess, 0, 1, xtol=1e-15))


@pytest.mark.parametrize("seed", SEEDS)
def test_weights(rounds, seed):
    case, got = rounds[seed]
    chosen = [sample for sample in got["samples"] if sample["selected"]]
    assert all(sample["weight"] == 0 for sample in got["samples"] if not sample["selected"])
    if not chosen:
        assert got["summary"]["effective_sample_size"] == 0
        return
    weights = column(chosen, "weight")
    settings = case["spec"]["weights"]
    wanted = settings.get("ess_floor", DEFAULTS["ess_floor"]) * len(chosen)
    unfloored, clipped = before_the_floor(settings, *(column(chosen, key) for key in ("prompt_id", "reward", "distance")))
    # At a floor of 1 every alpha that rounding cannot tell from 0 will do.
    np.testing.assert_allclose(weights, flattened(unfloored, wanted), rtol=1e-5 if wanted == len(chosen) else 1e-7)
    assert weights.mean() == pytest.approx(1, rel=1e-12)
    assert got["summary"]["effective_sample_size"] == pytest.approx(effective_size(weights), rel=1e-12)
    assert effective_size(weights) >= wanted * (1 - 1e-12)
    assert got["summary"]["clipped_share"] == pytest.approx(clipped)


def test_the_rounds_reach_every_branch(rounds):
    seen = set()
    for case, got in rounds:
        samples, weights = got["samples"], case["spec"]["weights"]
        chosen = [sample for sample in samples if sample["selected"]]
        seen |= {"dropped: " + sample["reason"].split()[1] for sample in samples if sample["reason"].startswith("dropped")}
        if any(a["reward"] == b["reward"] and a["prompt_id"] == b["prompt_id"] for a, b in zip(samples, samples[1:])):
            seen.add("equal rewards")
        if not chosen:
            seen.add("nothing selected")
            continue
        unfloored, clipped = before_the_floor(weights, *(column(chosen, key) for key in ("prompt_id", "reward", "distance")))
        if 0 < clipped < 1:
            seen.add("clipped")
        if effective_size(unfloored) < weights.get("ess_floor", DEFAULTS["ess_floor"]) * len(chosen):
            seen.add("floor")
    assert seen == {"dropped: place", "dropped: summed", "equal rewards", "nothing selected", "clipped", "floor"}
