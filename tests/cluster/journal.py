"""Fake workers that keep a journal of what the coordinator acknowledged (journal_load.cc), and the offline check."""
import json
import subprocess
from pathlib import Path

from processes import BIN, Process


class JournalLoad(Process):
    """Submits small runs until it is told to end, through as many deaths of the coordinator as there are."""

    def __init__(self, cluster, workers=3, seed=1):
        self.journal = Path(cluster.folder / "journal.jsonl")
        command = [BIN / "journal_load", cluster.address, self.journal, workers, seed]
        super().__init__("journal_load", command, cluster.folder / "journal_load.log")

    def verdict(self, timeout=120):
        """Lets it finish its run and compare; its figures."""
        code = self.terminate(timeout)
        assert code == 0, self.text()
        return json.loads(self.text().splitlines()[-1])


def check(data, *arguments):
    """The coordinator's own check of a database that nobody uses: (exit code, what it found)."""
    command = [BIN / "rsidiff-coordinator", "check", "--data", data, "--json", *arguments]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def assert_sound(data):
    code, found = check(data)
    assert code == 0 and found["ok"], found
