"""Random schedules of faults, drawn up front: a seed always gives the same lines of a scenario."""
import random

FLEET = 5
ACTS = ("kill", "stand_still", "nap", "drain", "terminate", "restart_coordinator")


def churn(seed, acts, samples=None, steps=None):
    """The lines of so many acts over two to five workers; README.md beside the scenarios gives their meaning.

    An act comes when the run has drawn so many samples (a random number up to `samples`), or its first training has
    applied so many steps (up to `steps`): by the run's own progress, so that it hits a run under way on any machine.
    """
    schedule = Schedule(random.Random(seed))
    word, last = ("samples", samples) if steps is None else ("step", steps)
    schedule.start(FLEET)
    moments = sorted(schedule.random.randint(1, last) for _ in range(acts))
    kinds = []
    while len(kinds) < acts:  # none again before each had its turn
        kinds += schedule.random.sample(ACTS, len(ACTS))
    for moment, kind in zip(moments, kinds):
        schedule.lines.append(f"wait {word} {moment}")
        getattr(schedule, kind)()
        missing = schedule.random.randint(2, FLEET) - len(schedule.workers)
        if missing > 0:
            schedule.hold(lambda: schedule.start(missing))
    return schedule.lines


class Schedule:
    """Lines, and which workers are there once they have been played."""

    def __init__(self, generator):
        self.random = generator
        self.lines = []
        self.workers = []
        self.known = set()  # those that the coordinator has as active
        self.started = 0

    def hold(self, write):
        """The lines that `write` adds take their time, and a small run is soon over: no work is given out meanwhile."""
        self.lines.append("pause run")
        write()
        self.lines.append("resume run")

    def start(self, number):
        for _ in range(number):
            self.started += 1
            self.workers.append(f"w{self.started}")
            self.lines.append(f"start w{self.started}")

    def leaver(self):
        name = self.random.choice(self.workers)
        self.workers.remove(name)
        return name

    def await_active(self, name):
        if name not in self.known:
            self.hold(lambda: self.lines.append(f"wait state {name} active"))
            self.known.add(name)

    def kill(self):
        self.lines.append(f"kill {self.leaver()}")

    def terminate(self):
        self.lines.append(f"terminate {self.leaver()}")

    def drain(self):
        name = self.leaver()
        self.await_active(name)
        self.lines.append(f"drain {name} {self.random.randint(1, 4)}s")

    def nap(self):
        """Shorter than its leases last."""
        name = self.random.choice(self.workers)
        self.lines += [f"pause {name}", "wait seconds 0.5", f"resume {name}"]

    def stand_still(self):
        """Longer than its leases last; what the others have in hand goes on."""
        name = self.random.choice(self.workers)
        self.await_active(name)
        self.lines.append(f"pause {name}")
        self.hold(lambda: self.lines.append(f"wait state {name} lost"))
        self.lines.append(f"resume {name}")
        self.known.discard(name)

    def restart_coordinator(self):
        self.lines += ["kill coordinator", f"wait seconds {self.random.uniform(0, 1):.1f}", "start coordinator"]
