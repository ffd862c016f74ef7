"""Every rank of three is killed or stopped at every point of a step, of a checkpoint and of a regroup.

By default a third of the cases runs, every rank, point and signal among them; RSIDIFF_FULL_MATRIX=1 runs all.
"""
import itertools
import os
import signal

import pytest
from fleet import STEPS, Fleet, check_same_training

MEMBERS = ("a", "b", "c")  # in rank order; a's process holds the store, and writes checkpoints
TIMEOUT = 3  # seconds; of every operation of the group

# Where a step can be cut: the pass of a fault point, which is the step for points passed once a step.
IN_A_STEP = {
    "before forward": "train.forward:5",
    "after backward, before the sums": "train.backward:9",  # a rank has two micro batches a step
    "inside the sums": "train.reduce:9",  # two buckets a step
    "after the sums, before the optimizer": "train.reduced:5",
    "after the optimizer": "train.applied:5",
    "while a checkpoint is written": "train.checkpoint:1",
}
# Where the regroup can be cut that takes c in. a and b have been in a group before.
IN_A_REGROUP = {"while joining": "train.join", "while the state travels": "train.transfer"}

CASES = list(itertools.product([*IN_A_STEP, *IN_A_REGROUP], range(len(MEMBERS)), ("kill", "stop")))


def chosen():
    if os.environ.get("RSIDIFF_FULL_MATRIX"):
        return CASES
    points = [*IN_A_STEP, *IN_A_REGROUP]
    return [(p, r, s) for p, r, s in CASES if (points.index(p) + r + (s == "stop")) % 3 == 0]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One member without incident: (losses by step, final state)."""
    fleet = Fleet(tmp_path_factory.mktemp("alone"))
    fleet.start("a")
    fleet.form("a")
    fleet.finish("a")
    return {s: loss for _, s, loss in fleet.steps("a")}, fleet.weights("a")


def three_in_a_step(fleet, point, victim, action):
    fault = IN_A_STEP[point]
    if point == "while a checkpoint is written" and victim == "a":
        fault = "train.store:1"  # on the writer's thread; the others are at the step's end
    for name in MEMBERS:
        fleet.start(name, "timeout", TIMEOUT, "checkpoint", 4, fault=f"{fault}:{action}" if name == victim else "")
    fleet.form(*MEMBERS)


def two_take_in_a_third(fleet, point, victim, action):
    fault = IN_A_REGROUP[point]
    for name in MEMBERS:
        nth = 2 if point == "while joining" and name != "c" else 1
        act = ["gate", 3, "timeout", TIMEOUT]
        fleet.start(name, *act, fault=f"{fault}:{nth}:{action}" if name == victim else "")
    fleet.form("a", "b")
    for name in ("a", "b"):
        fleet.await_step(name, 3)
    fleet.touch("regroup.1")
    fleet.touch("go.3")
    fleet.form(*MEMBERS)


def check_survivors(fleet, survivors, alone):
    for name in survivors:
        assert fleet.pids(name) == {fleet.processes[name].pid}  # no process was started anew
    assert len(fleet.finish(*survivors)) == 1  # one fingerprint of parameters, moments and moving average
    applied = {name: [step for _, step, _ in fleet.steps(name)] for name in survivors}
    for name in survivors:
        assert applied[name] == sorted(set(applied[name])), "no survivor applies a step twice"
        assert applied[name][-1] == STEPS
        check_same_training(fleet, name, alone)
    # A step that only some had applied reaches the others as a state; none is lost.
    founders = [name for name in survivors if applied[name][0] == 1]
    assert founders
    for name in founders:
        assert len(applied[name]) >= STEPS - 1
    assert set().union(*applied.values()) == set(range(1, STEPS + 1))


@pytest.mark.parametrize("point,rank,action", chosen(), ids=lambda value: str(value).replace(" ", "-"))
def test_survivors_end_the_same_training(tmp_path, alone, point, rank, action):
    victim = MEMBERS[rank]
    survivors = [name for name in MEMBERS if name != victim]
    fleet = Fleet(tmp_path)
    try:
        (three_in_a_step if point in IN_A_STEP else two_take_in_a_third)(fleet, point, victim, action)
        if action == "kill":
            fleet.await_death(victim)
        else:
            fleet.await_stop(victim)
        fleet.drive(*survivors)
        check_survivors(fleet, survivors, alone)
        if action == "stop":
            check_that_the_stopped_one_is_left_behind(fleet, victim)
    finally:
        fleet.close()


def check_that_the_stopped_one_is_left_behind(fleet, victim):
    """It wakes after all is over: its group is gone, it asks for another one, and no step is its own doing."""
    asked = fleet.joins[victim]
    generations = {generation for generation, _, _ in fleet.steps(victim)}
    fleet.processes[victim].send_signal(signal.SIGCONT)
    asks = fleet.folder / f"join.{victim}.{asked + 1}"
    fleet.await_true("the woken member's join", lambda: asks.exists() or fleet.processes[victim].poll() is not None)
    later = [step for generation, step, _ in fleet.steps(victim) if generation not in generations]
    assert not later
    assert fleet.processes[victim].poll() is None  # it waits for a generation that never comes
