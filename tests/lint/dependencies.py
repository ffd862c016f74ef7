"""Checks which folder may include what (docs/decisions/0002-layers.md): prints every include that breaks a rule."""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)

# Own code: a folder may include itself and what stands here.
COMMON = ["common/base"]
ENGINE = ["common/base", "common/image", "common/text"]
ALLOWED = {
    "common/base": [],
    "common/rpc": COMMON,
    "common/run": ["proto"],
    "common/scorer": ["proto"],
    "common/config": COMMON + ["proto", "common/scorer"],
    "common/artifact": COMMON + ["proto", "common/rpc"],
    "common/telemetry": COMMON + ["proto"],
    "common/image": COMMON,
    "common/text": COMMON,
    "coordinator/schedule": COMMON + ["proto", "common/run", "common/scorer"],
    "coordinator/state": COMMON + ["proto", "common/run", "coordinator/schedule"],
    "coordinator/prompt": COMMON + ["proto"],
    "coordinator/judge": COMMON + ["proto"],
    "coordinator/service": ["common", "proto", "coordinator/state", "coordinator/schedule"],
    "coordinator/cli": ["common", "proto", "coordinator/prompt", "coordinator/judge"],
    "worker/tensor": COMMON,
    "worker/model": ENGINE + ["worker/tensor"],
    "worker/sampler": ENGINE + ["worker/tensor", "worker/model"],
    "worker/scorer": ENGINE + ["worker/tensor", "worker/model"],
    "worker/train": ENGINE + ["worker/tensor", "worker/model", "worker/sampler"],
    "worker/phase": ENGINE + ["common/artifact", "common/run", "proto", "worker/tensor", "worker/model", "worker/sampler", "worker/scorer", "worker/train"],
    "worker/agent": ["common", "proto", "worker/phase"],
    "worker/command": ["common", "proto", "worker"],
    "worker/main.cc": ["common/config", "worker/command"],
}

# Libraries: headers that only these folders may include.
TORCH = ["worker/tensor", "worker/model", "worker/sampler", "worker/scorer", "worker/train", "worker/phase", "worker/command"]
GRPC = ["common/rpc", "worker/agent", "coordinator/service", "coordinator/cli", "common/artifact/coordinator_store", "common/artifact/open_store"]
LIBRARIES = [
    (re.compile(r"^(torch|ATen|c10)/"), "torch", TORCH),
    (re.compile(r"^(grpc|grpcpp)/|\.grpc\.pb\.h$"), "gRPC", GRPC),
    (re.compile(r"^rocksdb/"), "RocksDB", ["coordinator/state/database", "coordinator/state/storage", "coordinator/judge/judge_cache"]),
    (re.compile(r"^yaml-cpp/"), "yaml-cpp", ["common/config"]),
    (re.compile(r"^prometheus/|^httplib\.h$"), "prometheus-cpp or cpp-httplib",
     ["common/telemetry", "coordinator/service", "coordinator/judge/judge_client", "worker/agent"]),
    (re.compile(r"\.pb\.h$"), "protobuf messages",
     ["common/run", "common/scorer", "common/config", "common/artifact", "common/telemetry", "coordinator", "worker/phase", "worker/agent", "worker/command"]),
]
# The scheduler is pure: no clock, thread, lock or file of the standard library either.
PURE = re.compile(r"^(thread|mutex|chrono|fstream|filesystem|random|condition_variable|absl/synchronization/.*|absl/time/clock\.h)$")


def folder_of(path):
    for folder in sorted(ALLOWED, key=len, reverse=True):
        if path == folder or path.startswith(folder + "/"):
            return folder
    return None


def under(path, prefixes):
    return any(path == p or path.startswith(p + "/") or path.startswith(p + ".") for p in prefixes)


errors = []
files = [p for top in ("common", "coordinator", "worker") for p in sorted((root / top).rglob("*")) if p.suffix in (".h", ".cc", ".cu")]
for file in files:
    name = file.relative_to(root).as_posix()
    folder = folder_of(name)
    if folder is None:
        errors.append(f"{name}: in a folder that tests/lint/dependencies.py does not know")
        continue
    for _, include in INCLUDE.findall(file.read_text(encoding="utf-8")):
        if include.startswith("rsidiff/v1/"):
            own = "proto"
        elif include.split("/")[0] in ("common", "coordinator", "worker"):
            own = include
        else:
            own = None
        if own and not under(own, [folder] + ALLOWED[folder]):
            errors.append(f"{name}: {folder} may not include {include}")
        for pattern, library, allowed in LIBRARIES:
            if pattern.search(include) and not under(name, allowed):
                errors.append(f"{name}: only {', '.join(allowed)} may include {library} headers ({include})")
        if folder == "coordinator/schedule" and PURE.match(include):
            errors.append(f"{name}: the scheduler is pure and may not include <{include}>")
    if file.suffix == ".h" and "#pragma once" not in file.read_text(encoding="utf-8"):
        errors.append(f"{name}: no #pragma once")
print("\n".join(errors) or f"{len(files)} files keep the directions")
sys.exit(bool(errors))
