"""The coordinator is killed again and again while workers work: nothing acknowledged is lost, nothing is doubled,
and no task is computed a second time.

RSIDIFF_KILL_CYCLES=200 kills so many times (default 25), RSIDIFF_SEED=N repeats a schedule.
"""
import os
import random
import time

from cluster import Cluster
from journal import JournalLoad, assert_sound

CYCLES = int(os.environ.get("RSIDIFF_KILL_CYCLES", 25))
CHECK_EVERY = 5


def test_nothing_acknowledged_is_lost_or_doubled(tmp_path):
    seed = int(os.environ.get("RSIDIFF_SEED", random.randrange(1 << 31)))
    print(f"RSIDIFF_SEED={seed} RSIDIFF_KILL_CYCLES={CYCLES}")
    schedule = random.Random(seed)
    restarts = []
    with Cluster(tmp_path, lease_ttl=15) as cluster, JournalLoad(cluster, seed=seed) as load:
        for cycle in range(CYCLES):
            time.sleep(schedule.uniform(0.05, 0.6))
            assert load.alive, load.text()
            cluster.coordinator.kill()
            if cycle % CHECK_EVERY == 0:
                assert_sound(cluster.data)
            before = time.monotonic()
            cluster.start_coordinator()
            restarts.append(time.monotonic() - before)
        figures = load.verdict()
        assert cluster.metrics()["rsidiff_coordinator_epoch"] == CYCLES + 1
        assert cluster.coordinator.terminate() == 0
        assert_sound(cluster.data)
    assert figures["granted"] == figures["acknowledged"] > 0
    restarts.sort()
    print(f"{CYCLES} kills: {figures}; seconds to ready: median {restarts[len(restarts) // 2]:.2f}, "
          f"longest {restarts[-1]:.2f}")
