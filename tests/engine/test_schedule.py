"""The learning rate's course, by hand."""

from math import cos, pi

import pytest

from patchword import recipes
from patchword.engine.loop import step
from patchword.engine.schedule import Schedule
from patchword.errors import ConfigError
from patchword.recipes.pick import Found
from tests.engine.small import feed, fresh, plan


def course(schedule, steps, warmup=0):
    return [schedule.rate(step, steps, warmup) for step in range(steps)]


def test_cosine():
    half = 0.5**0.5
    expected = [1.0, (1 + half) / 2, 0.5, (1 - half) / 2]
    assert course(Schedule(), 4) == pytest.approx(expected)
    assert course(Schedule(end=0.2), 4) == pytest.approx([0.2 + 0.8 * e for e in expected])


def test_linear_and_constant():
    assert course(Schedule(kind="linear"), 4) == pytest.approx([1.0, 0.75, 0.5, 0.25])
    assert course(Schedule(kind="linear", end=0.2), 4) == pytest.approx([1.0, 0.8, 0.6, 0.4])
    assert course(Schedule(kind="constant"), 3) == [1.0, 1.0, 1.0]


def test_the_rate_rises_to_its_peak_then_follows_the_curve():
    rates = course(Schedule(kind="linear"), 8, warmup=4)
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25])
    rates = course(Schedule(kind="poly", power=2.0, end=0.1), 4, warmup=2)
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.1 + 0.9 * 0.25])
    rates = course(Schedule(kind="constant", warmup_start=0.2), 5, warmup=4)
    assert rates == pytest.approx([0.4, 0.6, 0.8, 1.0, 1.0])
    assert course(Schedule(), 3, warmup=3) == pytest.approx([1 / 3, 2 / 3, 1.0])


def test_the_last_step_of_deit_is_a_hair_above_its_floor():
    """300 epochs of 1,251 steps, of which 5 are warm-up."""
    steps, warmup = 300 * 1251, 5 * 1251
    schedule = Schedule(warmup_epochs=5.0, warmup_start=0.001, end=0.01)
    assert schedule.warmup(steps, 1251) == warmup
    assert schedule.rate(0, steps, warmup) == pytest.approx(0.001 + 0.999 / warmup)
    assert schedule.rate(warmup, steps, warmup) == 1.0
    middle = warmup + (steps - warmup) // 4
    expected = 0.01 + 0.99 * 0.5 * (1 + cos(pi / 4))
    assert schedule.rate(middle, steps, warmup) == pytest.approx(expected, abs=1e-5)
    assert 0.01 < schedule.rate(steps - 1, steps, warmup) < 0.01 + 1e-6


def test_warmup_is_counted_in_epochs_or_as_a_share():
    assert Schedule(warmup_epochs=3.4).warmup(1000, 10) == 34
    assert Schedule(warmup_epochs=3.4).warmup(20, 10) == 20  # no longer than the training
    assert Schedule(warmup_share=0.05).warmup(1000, 10) == 50
    assert Schedule(warmup_epochs=0.0, warmup_share=0.05).warmup(1000, 10) == 0
    assert Schedule().warmup(1000, 10) == 0


@pytest.mark.parametrize("pictures", [1_000, 50_000, 1_000_000])
def test_steps_fall_where_bit_s_do(pictures):
    """Its supports: the end of the warm-up, three falls by 10, the end."""
    recipe = recipes.fitted(
        "bit_hyperrule", "resnetv2_50x1_bit", Found(pictures, (300, 400), False, False, True)
    )
    supports = {
        1_000: [100, 200, 300, 400, 500],
        50_000: [500, 3000, 6000, 9000, 10_000],
        1_000_000: [500, 6000, 12_000, 18_000, 20_000],
    }[pictures]
    warmup, *falls, steps = supports
    assert (recipe.steps, recipe.schedule.warmup(steps, 1)) == (steps, warmup)
    for n in [*range(warmup, steps, 7), *falls, *(fall + 1 for fall in falls)]:
        wanted = 0.1 ** sum(fall < n for fall in falls)
        assert recipe.schedule.rate(n, steps, warmup) == pytest.approx(wanted)
    assert recipe.schedule.rate(warmup // 2 - 1, steps, warmup) == pytest.approx(0.5)


def test_a_warmup_in_steps_leaves_most_of_a_short_training_alone():
    schedule = Schedule(warmup_steps=10_000)
    assert schedule.warmup(112_600, 1251) == 10_000
    assert schedule.warmup(900, 10) == 180
    for wrong in ({"falls": (0.5, 1.5)}, {"factor": 0.0}):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            Schedule(**wrong)


def test_every_group_has_its_share_of_the_rate():
    state = fresh()
    wanted = plan(steps=4, warmup=2, schedule=Schedule(kind="linear"))
    batches = feed()(0)
    peaks = (0.1, 0.02, 0.3)
    for group, peak in zip(state.optimizer.param_groups, peaks, strict=True):
        group["peak"] = peak
    for rate in (0.5, 1.0, 1.0, 0.5):
        step(state, next(batches), wanted)
        found = [group["lr"] for group in state.optimizer.param_groups]
        assert found == pytest.approx([peak * rate for peak in peaks])
