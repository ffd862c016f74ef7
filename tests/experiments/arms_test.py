"""arms.sh, collect.py and report.py: a tiny arm gets from its pictures into the page, a copy of docs/experiments.md."""
import json
import re
import shutil
import subprocess
import sys

import pytest

from processes import BIN, SOURCE

HERE = SOURCE / "tests/experiments"
TINY = ["prompts.per_round=6", "prompts.evaluation_limit=4", "sampling.samples_per_prompt=2", "sampling.steps=2", "sampling.chunk=4",
        "selection.gate=-100", "train.steps=2", "train.global_batch=4", "train.micro_batch=2", "train.warmup_steps=0"]
PICTURES = 8  # two of each evaluation prompt
SCORES = {"checker", "exact", "heldout", "clip", "hps", "aesthetic", "diversity", "frechet"}


def arms(*arguments):
    return subprocess.run(["bash", HERE / "arms.sh", *map(str, arguments)], capture_output=True, text=True)


def report_says(docs, results):
    """Empty when the page is as the results have it."""
    return subprocess.run([sys.executable, HERE / "report.py", results, "--docs", docs, "--check"], capture_output=True, text=True).stderr


@pytest.fixture
def docs(tmp_path):
    copy = tmp_path / "docs"
    (copy / "images").mkdir(parents=True)
    shutil.copy(SOURCE / "docs/experiments.md", copy)
    return copy


def test_an_arm_gets_from_its_pictures_into_the_page(docs, tmp_path):
    results, out = tmp_path / "results", tmp_path / "out"
    options = ["--bin", BIN, "--docs", docs, "--results", results, "--out", out, "--workers", 1, "--rounds", 1, "--seeds", 1]
    for setting in TINY:
        options += ["--set", setting]
    ran = arms(*options, "rsidiff")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.endswith(f"{docs}/experiments.md\n")

    result = json.loads((results / "rsidiff-1.json").read_text())
    assert (result["arm"], result["seed"], result["spec"]["sampling"]["steps"]) == ("rsidiff", 1, 2)
    base, tuned = result["rounds"]
    assert (base["round"], tuned["round"]) == (0, 1)
    assert base["pictures"] == tuned["pictures"] == PICTURES
    assert SCORES <= base.keys() and SCORES | {"kept", "ess", "loss"} <= tuned.keys()
    assert tuned["kept"] == 6  # the best of each prompt
    assert 0 <= tuned["drawn_right"] <= tuned["some_right"] <= 1 and tuned["kept_right"] <= tuned["some_right"]
    assert 0 <= tuned["weighted_right"] <= 1 and "drawn_right" not in base

    page = (docs / "experiments.md").read_text()
    summary = re.search(r"<!-- summary -->(.*?)<!-- end -->", page, re.S)[1]
    rows = re.findall(r"^\| (\w+) \| (\d) \| (\S+) \| (\S+) \|", summary, re.M)
    assert rows == [(name, str(of["round"]), f"{of['checker']:.3f}", f"{of['exact']:.3f}") for name, of in (("base", base), ("rsidiff", tuned))]
    assert ">rsidiff</text>" in (docs / "images/experiment-curves.svg").read_text()
    assert (docs / "images/experiment-rsidiff.png").read_bytes().startswith(b"\x89PNG")
    assert not report_says(docs, results)

    # What has a result is not run again; what no longer fits the results is named.
    shutil.rmtree(out)
    wrong = summary.replace("| rsidiff | 1 |", "| rsidiff | 2 |")
    (docs / "experiments.md").write_text(page.replace(summary, wrong))
    assert f"not what {results} says: {docs}/experiments.md" in report_says(docs, results)
    assert arms(*options, "rsidiff").returncode == 0
    assert list(out.iterdir()) == []
    assert (docs / "experiments.md").read_text() == page


@pytest.mark.parametrize("arm, words", [("base", "it is round 0 of every arm"), ("rsidif", "arms.txt has no arm 'rsidif'")])
def test_what_is_no_arm_is_named_before_anything_runs(docs, tmp_path, arm, words):
    refused = arms("--bin", BIN, "--docs", docs, "--results", tmp_path / "results", "--out", tmp_path / "out", "sft", arm)
    assert refused.returncode == 2 and words in refused.stderr
    assert not (tmp_path / "out").exists()
