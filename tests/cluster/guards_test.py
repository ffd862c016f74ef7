"""A run that its training destroys, over real processes: the guards say so and end it, and a fork makes good."""

import json

import pytest

from cluster import Cluster, shapes_run

# Each step moves every parameter by a tenth: nothing of the model is left after one round.
DESTROYED = shapes_run(
    "destroyed",
    rounds=5,
    train={"learning_rate": 0.1, "max_grad_norm": 0},
    stop={"patience": 2, "roll_back_after": 1},
    workers={"train_max": 1},
)


@pytest.fixture(scope="module")
def destroyed(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("destroyed")) as cluster:
        cluster.start_worker("w1")
        cluster.id = cluster.submit(DESTROYED)
        status = cluster.wait_for_run(cluster.id)
        assert status["run"]["state"] == "RUN_STATE_SUCCEEDED", (status["run"]["reason"], status["last_error"])
        yield cluster


def test_the_run_says_that_it_collapsed_and_stops_by_patience(destroyed):
    run = destroyed.status(destroyed.id)["run"]
    assert run["collapse"].startswith("round 1 has collapsed: ")
    assert run["best_round"] == 0
    assert "no round beat the base model" in run["reason"]
    assert run["reason"].endswith("; stopped after 2 rounds without a better one")
    assert run["newest_round"] == 2
    shown = destroyed.run("run", "show", destroyed.id).stdout
    assert f"warning: {run['collapse']}" in shown.splitlines() and run["reason"] in shown.splitlines()
    assert destroyed.run("run", "list").stdout.splitlines()[1].endswith("  collapsed")
    metrics = destroyed.metrics()
    assert metrics[f'rsidiff_run_collapsed{{run="{destroyed.id}"}}'] == 1
    diversity = [metrics[f'rsidiff_diversity{{run="{destroyed.id}",round="{n}"}}'] for n in (0, 1)]
    told = [r["evaluation"]["diversity"] for r in destroyed.status(destroyed.id)["rounds"][:2]]
    assert diversity == pytest.approx(told, rel=1e-12)


def test_a_round_that_rolled_back_is_drawn_again_with_the_model_that_it_started_from(destroyed):
    shown = destroyed.run("round", "show", destroyed.id, 2).stdout
    assert "starts at  round 0 (the base model), rolled back" in shown.splitlines()
    sample = destroyed.samples(destroyed.id, 2)[0]
    told = json.loads(destroyed.run("reproduce", sample["id"], "--json").stdout)
    assert told["reproduced_sha256"] == sample["image"]


def test_a_fork_with_a_sane_learning_rate_goes_on(destroyed):
    changes = ["--set", "train.learning_rate=1e-6", "--set", "seed=8", "--set", "name=saved"]
    fork = ["run", "fork", destroyed.id, "--from-round", 2, "--rounds", 3]
    refused = destroyed.run(*fork, "--set", "sampling.width=64", "--set", "sampling.height=64", check=False)
    assert refused.returncode == 2 and "sampling.width" in refused.stderr
    run = int(destroyed.json(*fork, *changes)["run_id"])
    status = destroyed.wait_for_run(run)
    assert status["run"]["state"] == "RUN_STATE_SUCCEEDED"
    assert len(status["rounds"]) == 4
    assert status["run"]["spec"]["train"]["learning_rate"] == 1e-6
    last = status["rounds"][3]
    assert last["phase"] == "ROUND_PHASE_DONE" and last["starts_from"] == 0
    assert last["evaluation"]["diversity"] > status["rounds"][1]["evaluation"]["diversity"]
    assert f"fork of    run {destroyed.id}, from round 2" in destroyed.run("run", "show", run).stdout
