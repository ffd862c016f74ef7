"""Members of a training come, go and die; what is trained stays the same."""
import signal

import pytest
from fleet import STEPS, Fleet, check_same_training


@pytest.fixture
def fleet(tmp_path):
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.close()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One member without incident: (losses by step, final state)."""
    fleet = Fleet(tmp_path_factory.mktemp("alone"))
    fleet.start("a")
    fleet.form("a")
    fleet.finish("a")
    steps = fleet.steps("a")
    assert [s for _, s, _ in steps] == list(range(1, STEPS + 1))
    return {s: loss for _, s, loss in steps}, fleet.weights("a")


@pytest.mark.parametrize("world", [2, 3])
def test_world_size_does_not_change_the_training(fleet, alone, world):
    names = ["a", "b", "c"][:world]
    for name in names:
        fleet.start(name)
    fleet.form(*names)
    assert len(fleet.finish(*names)) == 1
    for name in names:
        assert [s for _, s, _ in fleet.steps(name)] == list(range(1, STEPS + 1))
        check_same_training(fleet, name, alone)


def test_survivors_of_killed_members_finish(fleet, alone):
    """c dies in a forward pass; then a, the store's host, dies while buckets travel; then b goes on alone."""
    fleet.start("a", fault="train.reduce:15:kill")  # two buckets a step
    fleet.start("b")
    fleet.start("c", fault="train.forward:5:kill")
    fleet.form("a", "b", "c")
    fleet.await_death("c")
    fleet.form("a", "b")
    fleet.await_death("a")
    fleet.form("b")
    fleet.finish("b")
    # Every step was applied exactly once.
    assert [s for _, s, _ in fleet.steps("b")] == list(range(1, STEPS + 1))
    check_same_training(fleet, "b", alone)


def test_member_that_dies_after_a_step_and_its_successor(fleet, alone):
    """a dies right after applying step 6; b, and a newcomer under a new name, finish together."""
    fleet.start("a", fault="train.applied:6:kill")
    fleet.start("b", "gate", 6)
    fleet.form("a", "b")
    fleet.await_death("a")
    fleet.touch("go.6")
    fleet.start("d")
    fleet.form("b", "d")
    assert len(fleet.finish("b", "d")) == 1
    assert [s for _, s, _ in fleet.steps("b")] == list(range(1, STEPS + 1))
    # Where the last bytes of step 6 died with a, b redoes that step.
    joined = fleet.steps("d")[0][1]
    assert joined in (6, 7)
    assert [s for _, s, _ in fleet.steps("d")] == list(range(joined, STEPS + 1))
    check_same_training(fleet, "d", alone)


def test_planned_growth_and_departure_lose_no_step(fleet, alone):
    """1 -> 3 -> 2: b and c join at step 3, a (source and store's host) leaves at step 8."""
    fleet.start("a", "gate", 3, "gate", 8, "leave", 8)
    fleet.form("a")
    fleet.await_step("a", 3)
    for name in ("b", "c"):
        fleet.start(name)
    fleet.touch("regroup.1")
    fleet.touch("go.3")
    fleet.form("a", "b", "c")
    fleet.await_step("a", 8)
    fleet.touch("regroup.2")
    fleet.touch("go.8")
    fleet.form("b", "c")
    assert len(fleet.finish("b", "c")) == 1
    assert fleet.await_file("result.a")[0] == "left"
    # The flag is read before a step and takes effect after it: the step under way is applied everywhere.
    left = fleet.steps("a")[-1][1]
    joined = fleet.steps("b")[0][1]
    assert [s for _, s, _ in fleet.steps("a")] == list(range(1, left + 1))
    for name in ("b", "c"):
        assert [s for _, s, _ in fleet.steps(name)] == list(range(joined, STEPS + 1))
        check_same_training(fleet, name, alone)
    assert {s: g for g, s, _ in fleet.steps("a")}[joined] == 2
    assert {s: g for g, s, _ in fleet.steps("b")}[left + 1] == 3


def test_stopped_member_is_left_behind_and_cannot_come_back(fleet, alone):
    """b is stopped, not dead: the operation's timeout frees a, and b's old group is of no use to it."""
    fleet.start("a", "gate", 4, "timeout", 3)
    fleet.start("b", "gate", 4, "timeout", 3)
    fleet.form("a", "b")
    fleet.await_step("a", 4)
    fleet.await_step("b", 4)
    fleet.processes["b"].send_signal(signal.SIGSTOP)
    fleet.touch("go.4")
    fleet.form("a")
    fleet.finish("a")
    assert [s for _, s, _ in fleet.steps("a")] == list(range(1, STEPS + 1))
    check_same_training(fleet, "a", alone)
    fleet.processes["b"].send_signal(signal.SIGCONT)
    assert fleet.await_file("join.b.2")[1] == "4"
    assert [s for _, s, _ in fleet.steps("b")] == [1, 2, 3, 4]
