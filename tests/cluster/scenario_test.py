"""Every scenario ends with what one undisturbed worker makes of the run. RSIDIFF_LONG_SCENARIOS=1: the long ones too."""
import functools
import os

import pytest

import scenario
from scenario_churn import churn

LONG = os.environ.get("RSIDIFF_LONG_SCENARIOS") == "1"
SCENARIOS = {path.stem: scenario.load(path) for path in sorted(scenario.FOLDER.glob("*.yaml"))}
PLAYED = [name for name, one in SCENARIOS.items() if LONG or one["set"] == "default"]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Of a workload: what one worker that nothing happens to makes of it."""

    @functools.cache
    def play(workload):
        return scenario.play({"run": workload, "steps": ["start lone"]}, tmp_path_factory.mktemp(workload))

    return play


@pytest.mark.parametrize("name", PLAYED)
def test_the_outcome_is_that_of_one_quiet_worker(name, reference, tmp_path, capsys):
    workload = SCENARIOS[name]["run"]
    try:
        outcome = scenario.play(SCENARIOS[name], tmp_path)
    except scenario.Skipped as reason:
        with capsys.disabled():
            print(f"\nscenario {name} is skipped: {reason}")
        pytest.skip(str(reason))
    outcome.assert_same(reference(workload), bits=workload not in scenario.GANGS)


def test_a_seed_gives_one_schedule():
    for progress in ({"samples": 25}, {"steps": 30}):
        schedules = {tuple(churn(seed, acts=15, **progress)) for seed in [*range(20), *range(20)]}
        assert len(schedules) == 20
