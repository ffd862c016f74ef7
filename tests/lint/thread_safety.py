"""Compiles every file that locks with clang's thread-safety analysis as errors, without making object files.

    thread_safety.py SOURCE_DIR BUILD_DIR       BUILD_DIR holds compile_commands.json
"""
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

from compile_commands import compile_commands

source, build = map(pathlib.Path, sys.argv[1:3])
LOCKS = re.compile(r"ABSL_GUARDED_BY|absl::Mutex|absl::MutexLock")


def locks(file):
    stem = file.with_suffix("")
    return any(LOCKS.search(p.read_text(encoding="utf-8")) for p in (file, stem.with_suffix(".h")) if p.exists())


def check(entry):
    words = entry["arguments"]
    words = words[next(i for i, w in enumerate(words) if re.search(r"(\+\+|/c\+\+)$", w)) + 1:]
    words = [w for w in words if not w.startswith("-o") and w != "-c"]
    command = ["clang++", "-fsyntax-only", "-Wno-everything", "-Wthread-safety", "-Werror=thread-safety", *words]
    run = subprocess.run(command, cwd=entry["directory"], capture_output=True, text=True)
    return run.stderr if run.returncode else ""


entries = [e for e in compile_commands(build)
           if e["file"].startswith(tuple(f"{source}/{top}/" for top in ("common", "coordinator", "worker"))) and locks(pathlib.Path(e["file"]))]
with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    errors = [e for e in pool.map(check, entries) if e]
print("\n".join(errors) or f"{len(entries)} files that lock are annotated")
sys.exit(bool(errors) or not entries)
