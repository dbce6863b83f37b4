from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.tasks.core.challenge.alpha import plan_alpha
from evergreen.tasks.core.errors import ConfigError

START = datetime(2026, 1, 1, tzinfo=UTC)


def run(days, *, level=0.05):
    """Spend at every day of a rising list; return what each look spent."""
    spent = []
    for day in days:
        now = START + timedelta(days=day)
        spent.append((now, plan_alpha(spent, now=now, level=level).alpha))
    return spent


def test_each_look_spends_a_quarter_of_what_is_left():
    assert [0.0125, 0.009375, 0.00703125] == pytest.approx([alpha for _, alpha in run([0, 7, 14])])


def test_what_is_left_is_said_before_and_after():
    look = plan_alpha([(START, 0.02)], now=START + timedelta(days=1), level=0.05)
    assert (0.03, 0.0225) == pytest.approx((look.left_before, look.left_after))


def test_a_look_is_forgotten_after_ninety_days():
    spent = [(START, 0.04)]
    assert plan_alpha(spent, now=START + timedelta(days=89, hours=23), level=0.05).left_before < 0.011
    assert plan_alpha(spent, now=START + timedelta(days=90), level=0.05).left_before == 0.05


def test_entries_of_the_future_count_too():
    assert plan_alpha([(START + timedelta(days=5), 0.05)], now=START, level=0.05).alpha == 0.0


@given(st.lists(st.floats(0, 400), min_size=1, max_size=60))
def test_no_window_of_ninety_days_ever_spends_more_than_the_level(days):
    spent = run(sorted(days))
    for end, _ in spent:
        assert sum(a for at, a in spent if end - timedelta(days=90) < at <= end) <= 0.05 + 1e-12
    assert all(alpha > 0 for _, alpha in spent)


@pytest.mark.parametrize("level", [0, 1, -0.1])
def test_levels_that_are_none_are_refused(level):
    with pytest.raises(ConfigError, match="level is"):
        plan_alpha([], now=START, level=level)
