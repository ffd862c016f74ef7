"""A disk that a test can fill and free again."""
import os
import subprocess
from pathlib import Path


class SmallDisk:
    """A file system of `size` bytes at `folder`, for a `with` block.

    Where this process may not mount one, a limit on the size of every file that the given processes write stands
    in for it; `why_limited` then says why. `launcher` starts a program on the full disk that this stands for.
    """

    def __init__(self, folder, size=256 << 20):
        self.folder = Path(folder)
        self.size = size
        self.why_limited = None
        self.launcher = []
        self._filler = self.folder / "filler"

    def __enter__(self):
        self.folder.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={self.size}", "tmpfs", self.folder]
        mounted = subprocess.run(command, capture_output=True, text=True)
        if mounted.returncode != 0:
            self.why_limited = mounted.stderr.strip()
            self.launcher = ["prlimit", f"--fsize={self.size}", "--"]
            print(f"no file system of its own, a file-size limit instead: {self.why_limited}")
        return self

    def __exit__(self, *_):
        if self.why_limited is None:
            subprocess.run(["umount", "--lazy", self.folder], check=True)

    def fill(self, *processes):
        """Takes the room that is left, so that none of the processes can write here any more."""
        if self.why_limited is not None:
            return self._limit(processes, "4096")
        with open(self._filler, "wb", buffering=0) as filler:
            piece = bytes(1 << 20)
            while piece:
                try:
                    filler.write(piece)
                except OSError:
                    piece = piece[: len(piece) // 2]

    def free(self, *processes):
        if self.why_limited is not None:
            return self._limit(processes, "unlimited")
        os.unlink(self._filler)

    def grow(self, size):
        """Gives the disk more room."""
        self.launcher = []
        if self.why_limited is None:
            subprocess.run(["mount", "-o", f"remount,size={size}", self.folder], check=True)

    @staticmethod
    def _limit(processes, size):
        for process in processes:
            if process.alive:
                subprocess.run(["prlimit", f"--pid={process.popen.pid}", f"--fsize={size}"], check=True)
