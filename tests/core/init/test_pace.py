"""A champion is judged by three looks before it is followed; equals take over only where models surely age."""

import numpy as np
import pytest

from evergreen.tasks.core.init.freshness import Freshness, propose_pace, propose_succession
from evergreen.tasks.core.init.windows import ProposedKey

DAY = 86_400.0


def pace(look, positions, *, clock="timestamp", evaluation="28d"):
    windows = [
        ProposedKey(key="monitoring.window", value=look),
        ProposedKey(key="evaluation.validation_window", value=evaluation),
    ]
    return {entry.key: entry.value for entry in propose_pace(windows, positions, clock=clock)}


def both(span):
    return {"retraining.cooldown": span, "retraining.every": span}


YEARS = np.arange(0.0, 900 * DAY, 3_600.0)


@pytest.mark.parametrize(("look", "three"), [("14d", "42d"), ("2h", "6h"), ("30m", "90m"), ("1d", "3d")])
def test_three_looks_lie_between_two_retrainings(look, three):
    assert pace(look, YEARS) == both(three)


def test_a_look_that_counts_rows_lasts_as_long_as_so_many_rows_usually_take():
    # 500 rows of an hour: 20.8 days; three: 62.5
    assert pace("500 rows", YEARS) == both("70d")


def test_looks_that_take_years_give_way_to_the_evaluation_window():
    daily = np.arange(0.0, 1_095 * DAY, DAY)

    assert pace("500 rows", daily, evaluation="112d") == both("112d")
    assert pace("500 rows", daily[:300], evaluation="28d") == both("28d")


def test_row_numbers_are_counted_and_the_cooldown_of_hours_is_left():
    assert pace("1000 rows", np.arange(50_000.0), clock="rows") == {"retraining.every": "3000 rows"}


def test_without_a_clock_nothing_is_proposed():
    assert propose_pace([ProposedKey(key="monitoring.window", value="1d")], None, clock="timestamp") == ()
    assert propose_pace([], YEARS, clock="timestamp") == ()


def test_where_freshness_pays_a_newer_model_that_is_not_worse_takes_over():
    entries = propose_succession(Freshness(kind="trees", gain=0.12, p_value=0.0004, blocks=491))

    assert {entry.key: entry.value for entry in entries} == {
        "evaluation.policy": "non_inferiority",
        "evaluation.margin": 0.02,
        "retraining.back_off": 1.0,
    }
    assert "fresh models lose 12% less than one of its first third (p < .001)" in entries[0].why


@pytest.mark.parametrize("found", [None, Freshness(kind="trees", gain=0.1, p_value=0.02, blocks=50)])
def test_where_it_does_not_surely_pay_a_challenger_must_be_better(found):
    assert propose_succession(found) == ()


def test_a_chance_is_written_as_statisticians_do():
    why = propose_succession(Freshness(kind="linear", gain=0.05, p_value=0.004, blocks=80))[0].why

    assert "(p = .004)" in why
