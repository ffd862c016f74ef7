"""A worker's own network, which can be cut: a network namespace joined to this machine by a pair of virtual devices."""
import os
import subprocess


def ip(*arguments, check=True):
    return subprocess.run(["ip", *arguments], check=check, capture_output=True, text=True)


def why_impossible():
    """Why this machine makes no network namespaces; None if it does."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        probe = Network("probe")
        probe.__enter__()
        probe.__exit__()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no network namespaces here: {getattr(error, 'stderr', None) or error}".strip()
    return None


class Network:
    """Made by the `with` block. Processes of this machine reach `inside`, those in the namespace reach `outside`."""

    def __init__(self, name):
        number = os.getpid() % 60_000
        self.space = f"rsidiff-{name}-{number}"
        self.device = f"rsi{number}"
        subnet = f"10.{200 + number // 250 % 50}.{number % 250}"
        self.outside, self.inside = f"{subnet}.1", f"{subnet}.2"

    def __enter__(self):
        try:
            ip("netns", "add", self.space)
            ip("link", "add", self.device, "type", "veth", "peer", "name", "inside", "netns", self.space)
            ip("address", "add", f"{self.outside}/30", "dev", self.device)
            ip("link", "set", self.device, "up")
            for command in (["address", "add", f"{self.inside}/30", "dev", "inside"], ["link", "set", "inside", "up"],
                            ["link", "set", "lo", "up"]):
                ip("-n", self.space, *command)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        ip("link", "delete", self.device, check=False)
        ip("netns", "delete", self.space, check=False)

    @property
    def launcher(self):
        """Begins the command line of a process that lives inside."""
        return ["ip", "netns", "exec", self.space]

    def cut(self):
        """Packets are lost in both directions; nobody is told."""
        ip("link", "set", self.device, "down")

    def mend(self):
        ip("link", "set", self.device, "up")
