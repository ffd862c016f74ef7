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

source, build = map(pathlib.Path, sys.argv[1:3])
folders = ("common", "coordinator", "worker") if "--all" in sys.argv else ("common", "coordinator/schedule", "coordinator/state", "coordinator/prompt", "coordinator/judge")
files = [e["file"] for e in json.loads((build / "compile_commands.json").read_text())
         if e["file"].startswith(tuple(f"{source}/{folder}/" for folder in folders))]


def check(file):
    run = subprocess.run(["clang-tidy", "--quiet", "-p", str(build), "--extra-arg=-Wno-everything", file], capture_output=True, text=True)
    return run.stdout if run.returncode else ""


with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    errors = [e for e in pool.map(check, files) if e]
print("\n".join(errors) or f"{len(files)} files pass")
sys.exit(bool(errors) or not files)
