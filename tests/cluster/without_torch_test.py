"""-DRSIDIFF_WORKER=OFF: coordinator and command line build and start where no LibTorch is."""
import re
import subprocess

import pytest

from processes import BIN, SOURCE

# Kept in the build folder, so that only what has changed is built again; the quickest way to compile it all.
BUILD = BIN.parent / "without-torch"
OPTIONS = ["-DRSIDIFF_WORKER=OFF", "-DRSIDIFF_TORCH=/nonexistent", "-DCMAKE_UNITY_BUILD=ON",
           "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O0"]
PROGRAMS = ["rsidiff", "rsidiff-coordinator"]


def output(*command):
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert run.returncode == 0, run.stdout[-6000:]
    return run.stdout


@pytest.fixture(scope="module")
def programs():
    output("cmake", "-S", SOURCE, "-B", BUILD, "-G", "Ninja", *OPTIONS)
    output("cmake", "--build", BUILD, "--parallel", "2", "--target", *PROGRAMS)
    return BUILD / "bin"


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_starts_and_asks_for_no_libtorch(programs, program):
    assert re.search(r"\d+\.\d+\.\d+", output(programs / program, "--version"))
    assert program in output(programs / program, "--help")
    needed = output("ldd", programs / program)  # the libraries' own dependencies too
    assert "libc.so" in needed
    assert not re.search(r"lib(torch|c10)\S*", needed)


def test_there_is_no_worker(programs):
    assert sorted(path.name for path in programs.iterdir()) == PROGRAMS
