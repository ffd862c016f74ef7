"""A real coordinator for benchmarks: on a disk, under load by coordinator_load, and what the machine is."""
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[3]
os.environ.setdefault("RSIDIFF_SOURCE", str(SOURCE))
os.environ.setdefault("RSIDIFF_BIN", str(SOURCE / "build/bench/bin"))
sys.path.insert(0, str(SOURCE / "tests/cluster"))

from cluster import Cluster  # noqa: E402
from processes import BIN  # noqa: E402

LEASE_TTL = 15  # the default


def file_system(folder):
    """Type and device of what `folder` lies on."""
    folder = Path(folder).resolve()
    mounts = [line.split()[:3] for line in open("/proc/mounts")]
    device, _, kind = max((m for m in mounts if folder == Path(m[1]) or Path(m[1]) in folder.parents or m[1] == "/"), key=lambda m: len(m[1]))
    return kind, device


def sync_milliseconds(folder, count=200):
    """Median and 99th percentile of appending 512 bytes and fdatasync."""
    times = []
    with open(Path(folder) / "sync-probe", "wb", buffering=0) as probe:
        for _ in range(count):
            begin = time.perf_counter()
            probe.write(bytes(512))
            os.fdatasync(probe.fileno())
            times.append((time.perf_counter() - begin) * 1e3)
    os.unlink(Path(folder) / "sync-probe")
    times.sort()
    return statistics.median(times), times[int(len(times) * 0.99)]


def print_environment(folder):
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    kind, device = file_system(folder)
    assert kind not in ("tmpfs", "ramfs"), f"{folder} is on {kind}: a benchmark of durable writes needs a disk"
    median, high = sync_milliseconds(folder)
    print(f"{cpu}, {os.cpu_count()} processors, Linux {platform.release()}, load {os.getloadavg()[0]:.1f}")
    print(f"data on {kind} ({device}); append and fdatasync of 512 bytes: p50 {median:.2f} ms, p99 {high:.2f} ms")


class BenchFolder:
    """A new folder under `parent`, which is on a disk; gone after the `with` block."""

    def __init__(self, parent=SOURCE / "build"):
        Path(parent).mkdir(parents=True, exist_ok=True)
        self.path = Path(tempfile.mkdtemp(prefix="coordinator-bench-", dir=parent))

    def __enter__(self):
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


def allow_many_connections():
    """Both sides of two thousand connections need as many descriptors."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def coordinator(folder):
    return Cluster(folder, lease_ttl=LEASE_TTL, arguments=("--log-level", "warning"))


def load_command(address, **options):
    command = [BIN / "coordinator_load", "--coordinator", address]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}"] + ([] if value is True else [value])
    return [str(part) for part in command]


def run_load(address, **options):
    """The figures of one run of coordinator_load."""
    done = subprocess.run(load_command(address, **options), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def processor_seconds(pid):
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def verdict(ok):
    return "met" if ok else "MISSED"
