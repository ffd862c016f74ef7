"""Runs the checks of .clang-tidy on the files that see neither LibTorch nor gRPC nor CLI11.

    tidy.py SOURCE_DIR BUILD_DIR [--all]       BUILD_DIR holds compile_commands.json

Those headers cost up to a minute a file; --all takes every file, in about an hour on two cores.
"""
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from compile_commands import compile_commands

source, build = map(pathlib.Path, sys.argv[1:3])
folders = ("common", "coordinator", "worker") if "--all" in sys.argv else ("common", "coordinator/schedule", "coordinator/state", "coordinator/prompt", "coordinator/judge")
entries = [e for e in compile_commands(build) if e["file"].startswith(tuple(f"{source}/{folder}/" for folder in folders))]


def check(file, database):
    run = subprocess.run(["clang-tidy", "--quiet", "-p", database, "--extra-arg=-Wno-everything", file], capture_output=True, text=True)
    return run.stdout if run.returncode else ""


with tempfile.TemporaryDirectory() as database, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    (pathlib.Path(database) / "compile_commands.json").write_text(json.dumps(entries))
    errors = [e for e in pool.map(lambda entry: check(entry["file"], database), entries) if e]
print("\n".join(errors) or f"{len(entries)} files pass")
sys.exit(bool(errors) or not entries)
