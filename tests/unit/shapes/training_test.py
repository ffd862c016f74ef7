"""What the shapes world's training scripts share: slots, and a loop that a stop does not change."""
import os
import random
import sys
from pathlib import Path

import pytest

os.environ.setdefault("SHAPES_WORK", "unset")
sys.path.insert(0, str(Path(os.environ["RSIDIFF_SOURCE"]) / "deploy/examples/shapes/make"))
import torch  # noqa: E402

import slots  # noqa: E402
import training  # noqa: E402
import world  # noqa: E402


def make_module():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 4))


def loss_of(module):
    def loss(_):
        x = torch.randn(16, 3, 8, 8)
        error = (module(x) - x.mean((2, 3))[:, :1]).square().mean()
        return error, {}
    return loss


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "WORK", tmp_path)
    monkeypatch.setattr(training, "log", lambda *_: None)
    return tmp_path


def trained(steps_of_each_start, muon):
    """The weights after as many starts as numbers given; each start but the last is cut off after so many steps."""
    for count in steps_of_each_start:
        module = make_module()
        run = training.Training("test", module, training.Options(12, muon=muon, ema=0.9, warmup=2))
        while run.step < count:
            run.update(loss_of(module)(run.step)[0])
        run.checkpoint()
    run.run(loss_of(module))
    return module.state_dict()


@pytest.mark.parametrize("muon", [True, False])
def test_a_run_that_was_cut_off_ends_with_the_same_weights(work, muon):
    whole = trained([0], muon)
    (work / "checkpoints/test.pt").unlink()
    pieces = trained([3, 7, 11], muon)
    assert all(torch.equal(whole[k], pieces[k]) for k in whole)


def test_muon_learns(work):
    module = make_module()
    run = training.Training("test", module, training.Options(60, learning_rate=1e-2, warmup=2))
    first = loss_of(module)(0)[0].item()
    run.run(loss_of(module))
    assert sum(loss_of(module)(0)[0].item() for _ in range(10)) / 10 < first / 2


def test_muons_update_is_near_orthogonal():
    torch.manual_seed(1)
    for shape in ((12, 40), (40, 12)):
        values = torch.linalg.svdvals(training.Muon.orthogonal(torch.randn(shape)))
        assert values.min() > 0.5 and values.max() < 1.3


def test_the_rate_rises_stays_and_falls_to_zero():
    options = training.Options(100, warmup=10, decay=0.4)
    rates = [training.rate(step, options) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9:60] == [1.0] * 51
    assert all(a > b for a, b in zip(rates[60:], rates[61:])) and rates[99] < 0.03


def test_both_orders_of_a_relation_show_the_same():
    above = world.parse("a red circle above a small blue box on white")
    below = world.parse("a small blue box below a red circle on white")
    one, other = slots.slots(above), slots.slots(below)
    assert all(one[k] == other[k] for k in slots.PICTURE)
    assert one["a.shape"] != other["a.shape"]


def test_every_one_attribute_change_changes_a_slot():
    rng = random.Random(2)
    for _ in range(500):
        spec = world.sample_spec(rng)
        changed = world.corrupt(spec, rng)
        picture = [slots.slots(s)[k] for s in (spec, changed) for k in slots.PICTURE]
        assert picture[:len(slots.PICTURE)] != picture[len(slots.PICTURE):]


def test_perfect_logits_are_all_right_and_unsaid_attributes_are_not_asked_of_a_picture():
    spec = world.parse("a red circle")
    target = slots.labels([spec])
    logits = torch.cat([20.0 * torch.nn.functional.one_hot(target[:, k], size) for k, size in enumerate(slots.SIZES_OF.values())], 1)
    loss, right = slots.loss(logits, target)
    assert loss < 1e-3 and right == 1
    start = sum(list(slots.SIZES_OF.values())[:list(slots.SIZES_OF).index("background")])
    logits[:, start:start + slots.SIZES_OF["background"]] = torch.tensor([-20.0, 0, 0, 20, 0])
    loss, right = slots.loss(logits, target, picture=True)
    assert right == 1 and torch.isfinite(torch.as_tensor(loss))
