"""Self-evolution runs over real processes: what comes out, and that nothing is lost or changed by faults."""

import hashlib
import io
import json
import math
import socket
import time
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from cluster import Cluster, shapes_run
from processes import BIN, Process, wait_until

ROUNDS = 2
SAMPLES = 12  # 6 prompts, 2 samples each
EVALUATIONS = 6

# One member trains, so that the weights, and with them every later picture, are the same bits however many
# workers there are. A gang's sums have an order of their own; the elastic runs below use gangs.
TINY = shapes_run("tiny", workers={"train_max": 1})
LORA = shapes_run(
    "adapter", train={"method": "lora", "learning_rate": 3.0e-2, "lora": {"rank": 2}}, workers={"train_min": 2}
)


def pictures(cluster, run):
    """{(round, evaluation, index): (digest, selected)} of everything that a run drew."""
    found = {}
    for number in range(ROUNDS + 1):
        for evaluation in (False, True):
            if number == 0 and not evaluation:
                continue
            for sample in cluster.samples(run, number, evaluation):
                found[number, evaluation, sample["index"]] = (sample["image"], sample["selected"])
    return found


def succeeded(status):
    run = status["run"]
    assert run["state"] == "RUN_STATE_SUCCEEDED", (run["reason"], status["last_error"])
    return status


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Two workers that share two runs, which have both ended."""
    with Cluster(tmp_path_factory.mktemp("reference")) as cluster:
        cluster.start_worker("w1")
        cluster.start_worker("w2")
        cluster.tiny = cluster.submit(TINY)
        cluster.lora = cluster.submit(LORA)
        succeeded(cluster.wait_for_run(cluster.tiny))
        succeeded(cluster.wait_for_run(cluster.lora))
        yield cluster


@pytest.mark.parametrize("name", ["tiny", "lora"])
def test_every_round_has_its_samples_and_finite_scores(reference, name):
    run = getattr(reference, name)
    status = reference.status(run)
    assert [r["round"] for r in status["rounds"]] == [0, 1, 2]
    for number in range(ROUNDS + 1):
        evaluation = reference.samples(run, number, evaluation=True)
        assert len(evaluation) == EVALUATIONS
        assert all(set(s["scores"]) == {"clip", "heldout"} for s in evaluation)
        training = reference.samples(run, number) if number > 0 else []
        assert len(training) == (SAMPLES if number > 0 else 0)
        assert all(math.isfinite(v) for s in training + evaluation for v in s["scores"].values())
        if number > 0:
            kept = [s for s in training if s["selected"]]
            assert len(kept) == 6  # one of each prompt
            assert sum(s["weight"] for s in kept) / len(kept) == pytest.approx(1)
            assert len({int(s["seed"]) & 0xFFFFFFFF for s in training}) == SAMPLES
        summary = next(r for r in status["rounds"] if r["round"] == number)["evaluation"]
        assert summary["complete"] and summary["diversity"] > 0
        assert (summary["frechet"] == 0) == (number == 0)


@pytest.mark.parametrize("name", ["tiny", "lora"])
def test_every_sample_tells_how_it_was_judged(reference, name):
    run = getattr(reference, name)
    base = reference.status(run)["run"]["statistics"]["clip"]
    for number in (1, 2):
        samples = reference.samples(run, number)
        for sample in samples:
            # The held-out scorer has no part in it. Both rounds are measured by round 1.
            z = (sample["scores"]["clip"] - base["mean"]) / base["stddev"]
            assert sample["z"] == {"clip": pytest.approx(z)}
        for index in range(0, SAMPLES, 2):
            best, other = sorted(samples[index : index + 2], key=lambda s: -s["reward"])
            assert (best["rank"], best["selected"], best["reason"]) == (0, True, "kept: best of 2")
            assert (other["rank"], other["selected"], other["reason"]) == (1, False, "dropped: place 2 of 2, selection.keep is 1")
            assert "distance" not in other
        # One of each prompt is kept, so nothing but the distance tells the weights apart.
        kept = sorted((s for s in samples if s["selected"]), key=lambda s: s["distance"])
        assert len({s["distance"] for s in kept}) == len(kept)
        assert all(near["weight"] >= far["weight"] for near, far in zip(kept, kept[1:]))


def test_both_workers_trained_the_adapter(reference):
    applied = sum(reference.worker_metrics(w)["rsidiff_worker_training_steps_total"] for w in ("w1", "w2"))
    by_one, by_two = TINY["train"]["steps"], 2 * LORA["train"]["steps"]
    assert applied == ROUNDS * (by_one + by_two)


def test_both_workers_took_part(reference):
    makers = {
        run: Counter(s["worker"] for n in (1, 2) for s in reference.samples(run, n))
        for run in (reference.tiny, reference.lora)
    }
    # Which of them draws for which run is left open: a run this small may stay where its model is loaded.
    assert {worker for counts in makers.values() for worker in counts} == {"w1", "w2"}, makers
    drawn = 0
    for name in ("w1", "w2"):
        metrics = reference.worker_metrics(name)
        drawn += metrics['rsidiff_worker_samples_total{kind="generate"}']
        assert metrics['rsidiff_worker_tasks_total{kind="generate",outcome="error"}'] == 0
        assert metrics['rsidiff_worker_busy_seconds_total{kind="generate"}'] > 0
        assert metrics["process_resident_memory_bytes"] > 0
        assert reference.worker_page(name, "/readyz") is not None
    assert drawn == 2 * (ROUNDS * SAMPLES + (ROUNDS + 1) * EVALUATIONS)


def draw_with_diffusers(pipeline, sample):
    import torch
    from diffusers import DDIMScheduler

    torch.set_num_threads(1)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(int(sample["seed"]))
    drawn = pipeline(
        sample["prompt"], num_inference_steps=4, guidance_scale=2.5, generator=generator, output_type="np"
    ).images[0]
    return np.round(drawn * 255).astype(int)


def recorded_picture(cluster, sample):
    digest = sample["image"]
    png = (cluster.data / "artifacts" / digest[:2] / digest).read_bytes()
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_the_exported_round_draws_the_recorded_picture_in_diffusers(reference, tmp_path):
    from diffusers import StableDiffusionPipeline

    reference.run("export", reference.tiny, "--round", 2, "--out", tmp_path / "model")
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "model", safety_checker=None)
    for sample in reference.samples(reference.tiny, 2, evaluation=True)[:2]:
        difference = np.abs(draw_with_diffusers(pipeline, sample) - recorded_picture(reference, sample))
        assert difference.max() <= 1
    best = reference.status(reference.tiny)["run"]["best_round"]
    reference.run("export", reference.tiny, "--round", "best", "--out", tmp_path / "best")
    assert json.loads((tmp_path / "best/rsidiff.json").read_text())["round"] == best


def test_the_exported_adapter_draws_the_recorded_picture_in_diffusers(reference, tmp_path):
    from diffusers import StableDiffusionPipeline

    reference.run("export", reference.lora, "--round", 2, "--out", tmp_path / "adapter")
    pipeline = StableDiffusionPipeline.from_pretrained(LORA["model"]["path"], safety_checker=None)
    sample = reference.samples(reference.lora, 2, evaluation=True)[0]
    base = draw_with_diffusers(pipeline, sample)
    pipeline.load_lora_weights(tmp_path / "adapter")
    tuned = draw_with_diffusers(pipeline, sample)
    assert np.abs(tuned - recorded_picture(reference, sample)).max() <= 1
    assert np.abs(tuned - base).max() > 1


def reproduce(cluster, sample, *arguments, **environment):
    done = cluster.run("reproduce", sample, "--json", *arguments, check=False, environment=environment)
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("name", ["tiny", "lora"])
def test_samples_are_reproduced_bit_for_bit(reference, name, tmp_path):
    run = getattr(reference, name)
    of_base, tuned = reference.samples(run, 1)[7], reference.samples(run, 2)[11]
    evaluation = reference.samples(run, 2, evaluation=True)[5]  # in the chunk that is filled up
    for sample in (of_base, tuned, evaluation):
        code, told, error = reproduce(reference, sample["id"], "--out", tmp_path / "again.png")
        assert code == 0, (told, error)
        assert told["same_picture"] and told["same_latents"] and told["same_environment"]
        assert told["reproduced_sha256"] == sample["image"]
        assert hashlib.sha256((tmp_path / "again.png").read_bytes()).hexdigest() == sample["image"]
    assert evaluation["id"] == f"{run}/2/eval/5"
    assert "1 thread;" in of_base["environment"] and "torch 2.11.0" in of_base["environment"]


def test_another_environment_is_told_with_the_pixels_distance(reference):
    sample = reference.samples(reference.tiny, 2)[0]
    code, told, _ = reproduce(reference, sample["id"], "--tolerance", 2, ATEN_CPU_CAPABILITY="default")
    assert not told["same_environment"] and "DEFAULT" in told["environment"]
    assert told["recorded_environment"] == sample["environment"]
    assert told["largest_difference"] <= 2 and code == 0
    artifacts = reference.data / "artifacts"
    assert not (artifacts / told["reproduced_sha256"][:2] / told["reproduced_sha256"]).exists() or told["same_picture"]


def test_one_worker_that_streams_every_artifact_draws_the_same(reference, tmp_path):
    with Cluster(tmp_path) as cluster:
        cluster.start_worker("lone", "--artifacts", "stream")
        run = cluster.submit(TINY)
        succeeded(cluster.wait_for_run(run))
        assert pictures(cluster, run) == pictures(reference, reference.tiny)
        assert any((tmp_path / "cache/artifacts").glob("??/*"))


LABELS = {"generate_on": ["big"], "train_on": ["big"], "score_on": ["small"]}


@pytest.mark.parametrize(
    "of_scorer, of_maker, asked",
    [(["--tasks", "score"], ["--tasks", "generate,train"], {}), (["--label", "small"], ["--label", "big"], LABELS)],
    ids=["tasks", "labels"],
)
def test_workers_do_what_they_are_for(reference, tmp_path, of_scorer, of_maker, asked):
    with Cluster(tmp_path) as cluster:
        cluster.start_worker("scorer", *of_scorer)
        cluster.start_worker("maker", *of_maker)
        run = cluster.submit({**TINY, "workers": {**TINY["workers"], **asked}})
        succeeded(cluster.wait_for_run(run))
        assert pictures(cluster, run) == pictures(reference, reference.tiny)
        assert {s["worker"] for n in range(1, ROUNDS + 1) for s in cluster.samples(run, n)} == {"maker"}
        everything = ROUNDS * SAMPLES + (ROUNDS + 1) * EVALUATIONS
        trained = ROUNDS * TINY["train"]["steps"]
        for name, made, scored, steps in [("scorer", 0, everything, 0), ("maker", everything, 0, trained)]:
            metrics = cluster.worker_metrics(name)
            assert metrics['rsidiff_worker_samples_total{kind="generate"}'] == made
            assert metrics['rsidiff_worker_samples_total{kind="score"}'] == scored
            assert metrics["rsidiff_worker_training_steps_total"] == steps


def test_killed_processes_lose_and_change_nothing(reference, tmp_path):
    def drawn(cluster, run, number):
        counts = [t for t in cluster.status(run)["tasks"] if t["kind"] == "TASK_KIND_GENERATE"]
        done = [t["samples_done"] for t in counts if t["round"] == number and t["purpose"] == "PURPOSE_TRAINING"]
        return done and done[0] > 0

    # It may not even notice the restart: a worker of a known incarnation need not register again.
    def heard(cluster, worker, since_us):
        return any(w["name"] == worker and int(w["seen_us"]) > since_us
                   for w in cluster.json("worker", "list")["workers"])

    with Cluster(tmp_path) as cluster:
        cluster.start_worker("w1")
        cluster.start_worker("w2")
        run = cluster.submit(TINY)
        wait_until(lambda: drawn(cluster, run, 1), 60, "the first samples of round 1")
        cluster.coordinator.kill()
        cluster.start_coordinator()
        restarted_us = time.time() * 1e6
        wait_until(lambda: heard(cluster, "w1", restarted_us), 30, "w1 after the restart")
        cluster.workers["w1"].kill()
        cluster.start_worker("w3")
        succeeded(cluster.wait_for_run(run))
        assert pictures(cluster, run) == pictures(reference, reference.tiny)


def test_training_survives_the_loss_of_a_member(tmp_path):
    train = {"steps": 60, "global_batch": 8, "micro_batch": 2, "checkpoint_every": 10}
    spec = shapes_run("gang", rounds=1, train=train, workers={"train_min": 2})
    with Cluster(tmp_path) as cluster:
        for name in ("w1", "w2", "w3"):
            cluster.start_worker(name)
        run = cluster.submit(spec)
        wait_until(lambda: cluster.status(run).get("training", {}).get("step", "0") != "0", 120, "a training step")
        cluster.workers["w1"].kill()
        status = succeeded(cluster.wait_for_run(run))
        summary = next(r for r in status["rounds"] if r["round"] == 1)["train"]
        assert summary["steps"] == 60
        assert summary["generations"] >= 2


def holds_a_lease(cluster):
    return any(worker["held"] for worker in cluster.json("worker", "list")["workers"])


def test_a_drained_worker_ends_well_and_a_newcomer_goes_on(tmp_path):
    with Cluster(tmp_path) as cluster:
        leaver = cluster.start_worker("leaver")
        run = cluster.submit(TINY)
        wait_until(lambda: holds_a_lease(cluster), 60, "a lease")
        cluster.run("worker", "drain", "leaver")
        assert leaver.wait() == 0
        assert "drained" in leaver.text()
        stopped = cluster.start_worker("stopped")
        wait_until(lambda: holds_a_lease(cluster), 60, "a lease")
        assert stopped.terminate() == 0
        cluster.start_worker("newcomer")
        succeeded(cluster.wait_for_run(run))
        states = {w["name"]: w["state"] for w in cluster.json("worker", "list")["workers"]}
        assert states == {
            "leaver": "WORKER_STATE_DRAINED",
            "stopped": "WORKER_STATE_DRAINED",
            "newcomer": "WORKER_STATE_ACTIVE",
        }
        # Drained, not lost: no lease had to run out.
        assert cluster.metrics()["rsidiff_lease_expirations_total"] == 0


def test_the_older_of_two_processes_with_one_name_gives_way(tmp_path):
    with Cluster(tmp_path) as cluster:
        older = cluster.start_worker("twin")
        wait_until(lambda: "registered as 'twin'" in older.text(), 30, "the registration")
        newer = cluster.start_worker("twin")
        assert older.wait() == 1
        assert "another process works under the name 'twin'" in older.text()
        assert newer.alive


def test_bad_starts_say_what_is_wrong(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        serve = [BIN / "rsidiff-worker", "serve", "--coordinator", "127.0.0.1:1", "--cache", tmp_path]
        busy = Process("busy", [*serve, "--http", f"127.0.0.1:{port}"], tmp_path / "busy.log")
        assert busy.wait() == 1
        assert f"127.0.0.1:{port}" in busy.text()
    nobody = Process("nobody", serve, tmp_path / "nobody.log")
    wait_until(lambda: "no coordinator at 127.0.0.1:1 yet" in nobody.text(), 30, "the message")
    assert "refused" in nobody.text()  # why
    assert nobody.terminate() == 0
    wrong = Process("wrong", [BIN / "rsidiff-worker", "serve", "--coordinator", "head", "--host", "127.0.0.1"], tmp_path / "wrong.log")
    assert wrong.wait() == 2
    assert "--coordinator: not a HOST:PORT address, no port: 'head'" in wrong.text()
    usage = Process("usage", [BIN / "rsidiff-worker", "serve"], tmp_path / "usage.log", {"RSIDIFF_COORDINATOR": ""})
    assert usage.wait() == 2
