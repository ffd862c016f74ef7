"""The prompt filter as the first phase of a run: texts when it is submitted, embeddings on workers."""

import json
import subprocess

import pytest

from cluster import SHAPES, Cluster, shapes_run
from processes import BIN

PROMPTS = [
    "a huge red square over a small blue box on white",
    "a tiny orange star to the left of a violet star",
    "a turquoise cross on a beige background",
    "turquoise cross on a beige background",
    "the turquoise cross on a beige background",
    "a yellow triangle in front of a grey wall",
    "two green rings beside a black circle",
    "a pink heart under a brown diamond",
]
DISTANCE = 0.1


def embeddings(prompts):
    """transformers' pooled output, rows of length 1."""
    import torch
    from transformers import CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(SHAPES / "base/tokenizer")
    model = CLIPTextModel.from_pretrained(SHAPES / "base/text_encoder").eval()
    ids = tokenizer(prompts, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        pooled = model(ids).pooler_output
    return torch.nn.functional.normalize(pooled, dim=1).numpy()


def clarities(prompts, folder):
    """{prompt: clarity} as the filter of the texts finds it."""
    (folder / "pool.txt").write_text("\n".join(prompts) + "\n")
    subprocess.run([BIN / "rsidiff", "prompts", "filter", folder / "pool.txt", "--out", folder / "judged"], check=True)
    lines = map(json.loads, (folder / "judged/prompts.jsonl").read_text().splitlines())
    return {line["prompt"]: line["clarity"] for line in lines}


def cover(clarity, distance):
    """{rejected prompt: (nearest kept one, distance)} of the greedy covering: clearest, then shortest first."""
    order = sorted(clarity, key=lambda prompt: (-clarity[prompt], len(prompt), prompt))
    rows = dict(zip(order, embeddings(order)))
    kept, rejected = [], {}
    for prompt in order:
        nearest = min(kept, key=lambda other: 1 - rows[prompt] @ rows[other], default=None)
        gap = 2 if nearest is None else 1 - rows[prompt] @ rows[nearest]
        assert abs(gap - distance) > 1e-4, "too close to call"
        if gap < distance:
            rejected[prompt] = (nearest, gap)
        else:
            kept.append(prompt)
    return rejected


# The scores of the texts are off: what is rejected is the embeddings' doing.
NO_TEXTS = {"clarity": 0, "specificity": 0, "diversity": 0}


def filtered_run(folder, prompts, texts=NO_TEXTS, evaluation=None, **filter):
    path = folder / "prompts.txt"
    path.write_text("\n".join(prompts) + "\n")
    section = {"train": [str(path)], "per_round": 0, "filter": {**texts, **filter}}
    if evaluation:
        (folder / "evaluation.txt").write_text("\n".join(evaluation) + "\n")
        section["evaluation"] = [str(folder / "evaluation.txt")]
    return shapes_run("filtered", rounds=1, prompts=section, workers={"train_max": 1})


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    rejected = cover(clarities(PROMPTS, tmp_path_factory.mktemp("texts")), DISTANCE)
    assert len(rejected) == 2, "of the three turquoise crosses one stays"
    return rejected


def test_prompts_that_mean_the_same_are_rejected_with_the_reason(expected, tmp_path):
    drawn = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        with Cluster(folder) as cluster:
            for number in range(workers):
                cluster.start_worker(f"w{number}")
            run = cluster.submit(filtered_run(folder, PROMPTS, embedding_distance=DISTANCE))
            status = cluster.wait_for_run(run)
            assert status["run"]["state"] == "RUN_STATE_SUCCEEDED", status["run"]["reason"]
            found = status["run"]["embedding_filter"]
            assert (found["judged"], found["diversity"], found.get("specificity", 0)) == (8, len(expected), 0)

            listed = cluster.json("prompts", "list", run, "--rejected")
            assert {line["prompt"] for line in listed} == set(expected)
            for line in listed:
                nearest, gap = expected[line["prompt"]]
                assert line["rejected_by"] == "diversity"
                assert line["reason"] == f'means the same as another: "{nearest}"'
                assert line["embedding_distance"] == pytest.approx(gap, abs=1e-4)
            shown = cluster.run("run", "show", run).stdout
            assert f"embeddings rejected 0 of 8 training prompts by specificity, {len(expected)} by diversity" in shown
            assert f"{len(expected)} by diversity" in cluster.run("round", "show", run, 1).stdout

            samples = cluster.samples(run, 1)
            assert {sample["prompt"] for sample in samples} == set(PROMPTS) - set(expected)
            assert len(cluster.samples(run, 1, evaluation=True)) == 6, "evaluation prompts are not filtered"
            drawn.append([(sample["prompt"], sample["image"]) for sample in samples])
    assert drawn[0] == drawn[1]


def test_prompts_that_say_no_more_than_none_are_rejected(tmp_path):
    rows = embeddings([*PROMPTS, "", "a"])
    distances = 1 - rows[:-2] @ rows[-2]
    assert distances.min() > 1 - rows[-1] @ rows[-2], "the shapes model does not tell an empty prompt"
    threshold = float(distances.min() + 1 - rows[-1] @ rows[-2]) / 2
    with Cluster(tmp_path) as cluster:
        cluster.start_worker("w")
        run = cluster.submit(filtered_run(tmp_path, [*PROMPTS, "a"], embedding_specificity=threshold))
        assert cluster.wait_for_run(run)["run"]["state"] == "RUN_STATE_SUCCEEDED"
        listed = cluster.json("prompts", "list", run, "--rejected")
        assert [(line["prompt"], line["rejected_by"]) for line in listed] == [("a", "specificity")]
        run = cluster.submit(filtered_run(tmp_path, PROMPTS, embedding_specificity=2))
        status = cluster.wait_for_run(run)
        assert status["run"]["state"] == "RUN_STATE_FAILED"
        assert "rejects all 8 training prompts" in status["run"]["reason"]


def test_texts_and_embeddings_filter_one_after_the_other(expected, tmp_path):
    bad = {"something nice": "specificity", "a red blue circle": "clarity", "a pink heart under a brown diamond!": "diversity"}
    reasons = {
        "something nice": "says too little",
        "a red blue circle": "contradicts itself",
        "a pink heart under a brown diamond!": 'says the same as another: "a pink heart under a brown diamond"',
    }
    crosses = [f"a turquoise {end} a beige background" for end in ("cross on", "plus on", "cross against")]
    kept = [prompt for prompt in PROMPTS if "turquoise" not in prompt] + crosses
    by_embedding = cover(clarities(kept, tmp_path), DISTANCE)
    assert len(by_embedding) == 2, "the embeddings find what the words do not"
    evaluation = [*bad, "a pink heart under a brown diamond", "a yellow ring", "A yellow ring."]
    with Cluster(tmp_path) as cluster:
        cluster.start_worker("w")
        spec = filtered_run(tmp_path, [*kept, *bad], texts={}, evaluation=evaluation, embedding_distance=DISTANCE)
        run = cluster.submit(spec)
        status = cluster.wait_for_run(run)
        assert status["run"]["state"] == "RUN_STATE_SUCCEEDED", status["run"]["reason"]

        listed = {line["prompt"]: line for line in cluster.json("prompts", "list", run, "--rejected")}
        assert set(listed) == {*bad, *by_embedding}
        for prompt, score in bad.items():
            assert listed[prompt]["rejected_by"] == score
            assert listed[prompt]["reason"].startswith(reasons[prompt])
        for prompt, (nearest, gap) in by_embedding.items():
            assert listed[prompt]["reason"] == f'means the same as another: "{nearest}"'
            assert listed[prompt]["embedding_distance"] == pytest.approx(gap, abs=1e-4)

        assert {sample["prompt"] for sample in cluster.samples(run, 1)} == set(kept) - set(by_embedding)
        # Evaluation prompts are not filtered, whatever the filter would say of them.
        assert {sample["prompt"] for sample in cluster.samples(run, 1, evaluation=True)} == set(evaluation)
