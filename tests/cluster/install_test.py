"""`cmake --install` gives a tree that runs elsewhere: only glibc and LibTorch come from the host."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

SOURCE = pathlib.Path(os.environ["RSIDIFF_SOURCE"])
BUILD = pathlib.Path(os.environ["RSIDIFF_BIN"]).parent
CACHE = (BUILD / "CMakeCache.txt").read_text()
GLIBC = re.compile(r"^(ld-linux-x86-64|lib(c|m|dl|rt|pthread|resolv|util))\.so")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    built = tmp_path_factory.mktemp("install") / "first"
    subprocess.run(["cmake", "--install", BUILD, "--prefix", built], check=True, stdout=subprocess.DEVNULL)
    # Moved after the installation: nothing may depend on the prefix.
    return pathlib.Path(shutil.move(built, built.parent / "moved"))


def torch_of_the_build():
    """The folder of LibTorch that the worker was built with, and takes when it is told of no other."""
    environment = re.search(r"^RSIDIFF_TORCH:\w+=(.*)$", CACHE, re.M)[1]
    return next(pathlib.Path(environment).glob("lib/python3*/site-packages/torch/lib"))


def libraries(program, environment):
    """Shared libraries as the loader resolves them: name -> path (None: not found)."""
    run = subprocess.run([program], env={**environment, "LD_TRACE_LOADED_OBJECTS": "1"}, check=True, capture_output=True, text=True)
    found = re.findall(r"^\s*(\S+) => (not found|/\S+)", run.stdout, re.M)
    return {name: None if path == "not found" else os.path.realpath(path) for name, path in found}


@pytest.mark.parametrize("program", ["bin/rsidiff", "bin/rsidiff-coordinator", "libexec/rsidiff/rsidiff-worker"])
def test_libraries_come_from_the_tree(tree, program):
    if not (tree / program).exists():
        assert "RSIDIFF_WORKER:BOOL=OFF" in CACHE
        return
    # What bin/rsidiff-worker sets; the loader cannot be asked through a script.
    environment = {"LD_LIBRARY_PATH": str(torch_of_the_build())} if program.endswith("worker") else {}
    resolved = libraries(tree / program, environment)
    outside = {n: p for n, p in resolved.items()
               if p is None or not (p.startswith(str(tree.resolve())) or GLIBC.match(n) or "/site-packages/" in p)}
    assert resolved and not outside


@pytest.mark.parametrize("program", ["rsidiff", "rsidiff-coordinator", "rsidiff-worker"])
def test_programs_start_without_environment(tree, program):
    if (tree / "bin" / program).exists():
        run = subprocess.run([tree / "bin" / program, "--help"], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert program in run.stdout


def test_worker_says_where_it_looked_for_torch(tree):
    if (tree / "bin/rsidiff-worker").exists():
        run = subprocess.run([tree / "bin/rsidiff-worker", "--help"], env={"PATH": "/usr/bin:/bin", "RSIDIFF_TORCH": "/nowhere"}, capture_output=True, text=True)
        assert run.returncode == 1 and "RSIDIFF_TORCH=/nowhere" in run.stderr


def test_torch_is_loaded_from_the_environment_that_is_named(tree, tmp_path):
    if not (tree / "bin/rsidiff-worker").exists():
        return
    built_with = torch_of_the_build()
    named = tmp_path / "env/lib" / built_with.parents[2].name / "site-packages/torch/lib"
    named.parent.mkdir(parents=True)
    named.symlink_to(built_with)
    for torch, environment in [(named, {"RSIDIFF_TORCH": str(tmp_path / "env")}), (built_with, {})]:
        environment |= {"PATH": "/usr/bin:/bin", "LD_DEBUG": "libs"}
        run = subprocess.run([tree / "bin/rsidiff-worker", "--help"], env=environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr[-2000:]
        # Not their real paths, which are the same in both.
        loaded = set(re.findall(r"calling init: (\S+/lib(?:torch|torch_cpu|c10)\.so)", run.stderr))
        assert loaded == {f"{torch}/lib{name}.so" for name in ("torch", "torch_cpu", "c10")}


def test_examples_are_there_with_all_that_is_no_download(tree):
    share = tree / "share/rsidiff"
    assert (share / "examples/shapes/base/model_index.json").exists()
    assert (share / "convert/convert_scorer.py").exists() and (share / "docs/run-file.md").exists()
    for example in (share / "examples").glob("*.yaml"):
        run = subprocess.run([tree / "bin/rsidiff", "run", "submit", example, "--dry-run"], capture_output=True, text=True)
        assert not re.search(r"prompts\.(train|evaluation)", run.stderr), run.stderr
