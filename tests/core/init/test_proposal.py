"""Windows fit how dense the data are; clocks and problems are read from the columns themselves."""

import numpy as np
import pandas as pd
import pytest

from evergreen.tasks.core.config.units import parse_span
from evergreen.tasks.core.errors import DataError, NotLearnable, UnknownName
from evergreen.tasks.core.init.clock import certain_clock, read_clock, read_times, text_format
from evergreen.tasks.core.init.proposal import (
    SAMPLE_ROWS,
    check_roles,
    choose_rows,
    guess_problem,
    propose_candidates,
)
from evergreen.tasks.core.init.windows import LENGTHS, propose_windows, resemblance, seconds

DAY = 86_400.0


def windows(positions, *, clock="timestamp", group=None):
    entries = propose_windows(positions, clock=clock, rows=len(positions), group=group)
    return {entry.key: entry.value for entry in entries}


def every(step, *, days):
    return np.arange(0.0, days * DAY, step)


def test_half_hourly_rows_of_years_are_evaluated_on_28_days():
    assert windows(every(1_800, days=944)) == {
        "evaluation.validation_window": "28d",
        "split.holdout": "14d",
        "monitoring.window": "14d",
        "retraining.window": "270d",
    }


def test_hourly_rows_take_longer_to_make_a_thousand():
    assert windows(every(3_600, days=730)) == {
        "evaluation.validation_window": "42d",
        "split.holdout": "21d",
        "monitoring.window": "21d",
        "retraining.window": "545d",
    }


def test_daily_rows_take_a_tenth_of_history_and_learn_from_all_of_it():
    assert windows(every(DAY, days=1_095)) == {
        "evaluation.validation_window": "112d",
        "monitoring.window": "500 rows",
        "retraining.window": "full",
    }


def test_two_days_are_cut_into_blocks_shorter_than_a_day():
    proposed = windows(np.sort(np.random.default_rng(0).uniform(0, 2 * DAY, 2_000)), clock="seconds")

    assert proposed["evaluation.validation_window"] == "8h"
    assert proposed["evaluation.block"] == "30m"


def test_a_flood_of_rows_is_looked_at_often_and_learned_from_in_part():
    proposed = windows(every(10, days=120))

    assert proposed["monitoring.window"] == "2h"
    assert proposed["split.max_rows"] == 200_000


def test_race_days_are_counted_where_there_are_races():
    days = np.arange(0, 900, 3.5) // 1 * DAY
    positions = np.repeat(days, 90)
    group = np.repeat(np.arange(len(days) * 9), 10)

    assert windows(positions, group=group)["evaluation.validation_window"] == "98d"


@pytest.mark.parametrize("rows", [300, 5_000, 50_000, 2_000_000])
def test_row_numbers_get_windows_in_rows(rows):
    proposed = windows(np.arange(rows, dtype=float), clock="rows")

    spans = [parse_span(v) for k, v in proposed.items() if k.endswith("window") and v != "full"]
    assert {span.unit for span in spans} == {"rows"}
    assert parse_span(proposed["evaluation.validation_window"]).amount <= 0.21 * rows


@pytest.mark.parametrize(
    ("step", "days"), [(60.0, 2), (60.0, 60), (3_600.0, 9), (3_600.0, 40), (3_600.0, 1_000), (DAY / 2, 200)]
)
def test_an_evaluation_window_takes_a_fifth_at_most_and_seven_blocks_at_least(step, days):
    positions = every(step, days=days)
    proposed = windows(positions)

    length = seconds(proposed["evaluation.validation_window"])
    block = parse_span(proposed["evaluation.block"]).amount if "evaluation.block" in proposed else DAY
    inside = positions[positions > positions[-1] - length]
    assert length <= 0.2 * (positions[-1] - positions[0])
    assert len(np.unique(inside // block)) >= 7


@pytest.mark.parametrize(("step", "days"), [(600.0, 200), (3_600.0, 1_000), (600.0, 700)])
def test_a_holdout_has_what_the_gate_needs_and_fifteen_percent_of_the_training_window_at_most(step, days):
    positions = every(step, days=days)
    proposed = windows(positions)
    training, held = proposed["retraining.window"], seconds(proposed["split.holdout"])
    learned = 0.8 * days * DAY if training == "full" else seconds(training)

    assert held <= 0.15 * learned
    assert held / step >= 500
    assert held / DAY >= 14


def test_a_holdout_of_a_ranking_holds_fifty_groups():
    positions = np.repeat(every(DAY, days=1_200), 20)
    few, many = np.arange(24_000) // 20, np.arange(24_000) // 4

    # 20 rows a day: 500 take 25 days; one group a day: fifty take as many days
    assert windows(positions, group=many)["split.holdout"] == "28d"
    assert windows(positions, group=few)["split.holdout"] == "56d"


def test_where_a_holdout_for_the_gate_would_be_long_the_default_share_stays():
    assert "split.holdout" not in windows(every(DAY, days=1_095))
    assert "split.holdout" not in windows(every(60, days=60))
    assert "split.holdout" not in windows(np.arange(2_000.0), clock="rows")
    assert windows(np.arange(50_000.0), clock="rows")["split.holdout"] == "1000 rows"


def test_without_a_clock_few_rows_are_held_out_in_a_larger_share():
    assert propose_windows(None, clock="timestamp", rows=400)[0].key == "split.holdout"
    assert propose_windows(None, clock="timestamp", rows=5_000) == ()


def test_lengths_grow():
    assert [seconds(text) for text in LENGTHS] == sorted(seconds(text) for text in LENGTHS)


def test_overlapping_targets_resemble_each_other_as_long_as_they_overlap():
    noise = np.random.default_rng(0).normal(size=4_000)
    overlapping = np.convolve(noise, np.ones(48), mode="valid")

    # the mean of 48 rows: the correlation falls in a straight line, to one half after 24 rows of an hour
    found = resemblance(overlapping, every(3_600, days=2_000)[: len(overlapping)])

    assert found == pytest.approx(24 * 3_600, rel=0.15)
    assert resemblance(noise, every(3_600, days=2_000)[:4_000]) == 0.0


def test_overlapping_targets_get_a_purge():
    entries = propose_windows(every(3_600, days=700), clock="timestamp", rows=16_800, lasting=24 * 3_600.0)

    assert {entry.key: entry.value for entry in entries}["split.purge"] == "1d"


@pytest.mark.parametrize(
    ("column", "clock", "form"),
    [
        (pd.date_range("2024-01-01", periods=40, freq="D"), "timestamp", None),
        (pd.Series(pd.date_range("2024-01-01", periods=40, freq="D").astype(str)), "timestamp", None),
        (
            pd.Series(pd.date_range("2024-01-01", periods=40, freq="D").strftime("%d/%m/%Y")),
            "timestamp",
            "%d/%m/%Y",
        ),
        (
            pd.Series(pd.date_range("2024-01-01", periods=40, freq="D").strftime("%m/%d/%Y")),
            "timestamp",
            "%m/%d/%Y",
        ),
        (pd.Series([20240101, 20240131, 20241231]), "timestamp", "%Y%m%d"),
        (pd.Series(np.arange(50)), "rows", None),
        (pd.Series(np.arange(50) * 97.5), "seconds", None),
        (pd.Series([1_700_000_000, 1_700_000_060, 1_700_000_120]), "seconds", None),
    ],
)
def test_the_kind_of_a_clock_is_read_from_its_values(column, clock, form):
    found = read_clock(pd.Series(column, name="t"))

    assert (found.clock, found.time_format) == (clock, form)


def test_day_and_month_are_told_apart_by_the_order_of_the_rows():
    days = pd.date_range("2024-01-01", periods=12, freq="D")

    assert text_format(pd.Series(days.strftime("%d/%m/%Y"))) == "%d/%m/%Y"
    assert text_format(pd.Series(days.strftime("%m/%d/%Y"))) == "%m/%d/%Y"


def test_a_clock_is_taken_unasked_only_when_it_is_certain():
    frame = pd.DataFrame({"at": pd.date_range("2024-01-01", periods=50, freq="h"), "x": range(50)})

    assert certain_clock(read_times(frame)).column == "at"
    assert certain_clock(read_times(frame.sample(frac=1, random_state=0))) is None
    assert certain_clock(read_times(frame.assign(paid=frame["at"]))) is None
    assert certain_clock(read_times(frame.assign(paid=frame["at"][::-1].to_numpy()))).column == "at"
    assert certain_clock(read_times(frame.drop(columns="at"))) is None


@pytest.mark.parametrize(
    ("values", "group", "problem"),
    [
        ([0, 1] * 30, None, "binary"),
        (["no", "yes"] * 30, None, "binary"),
        (list("abc") * 30, None, "multiclass"),
        ([1, 2, 3] * 30, None, "multiclass"),
        ([1.5, 2, 3] * 30, None, "regression"),
        (list(range(90)), None, "regression"),
        ([0, 1, 2] * 30, "race", "ranking"),
    ],
)
def test_the_target_says_the_problem(values, group, problem):
    assert guess_problem(pd.Series(values, name="y"), group=group)[0] == problem


@pytest.mark.parametrize(
    ("values", "group", "said"),
    [
        ([f"id{i}" for i in range(90)], None, "too many to be classes"),
        (list("abc") * 30, "race", "needs numbers"),
    ],
)
def test_a_target_that_poses_no_problem_is_refused(values, group, said):
    with pytest.raises(DataError, match=said):
        guess_problem(pd.Series(values, name="y"), group=group)


@pytest.mark.parametrize(("values", "code"), [([None, None], "no_labels"), ([1, 1, None], "one_class")])
def test_a_target_without_two_values_cannot_be_learned(values, code):
    with pytest.raises(NotLearnable) as caught:
        guess_problem(pd.Series(values, name="y"))
    assert code == caught.value.reason_code


@pytest.mark.parametrize("problem", ["binary", "multiclass", "regression", "ranking"])
def test_the_first_candidate_is_the_simplest(problem):
    few, many = propose_candidates(problem, rows=1_000), propose_candidates(problem, rows=50_000)

    assert few[0]["estimator"].startswith("sklearn.linear_model.")
    assert [one["name"] for one in many] == [one["name"] for one in few][: len(many)]
    assert len(few) == 3


def test_a_sample_keeps_stretches_of_time_whole():
    rows = choose_rows(1_000_000, timed=True, rng=np.random.default_rng(0))

    assert len(rows) == SAMPLE_ROWS
    assert (rows[0], rows[-1]) == (0, 999_999)
    assert np.mean(np.diff(rows) == 1) > 0.99


def test_a_role_that_no_column_has_names_the_likeliest():
    with pytest.raises(UnknownName, match="Did you mean 'price'"):
        check_roles(["price", "at"], origin="'a.csv'", target="prize", time=None)


def test_one_column_cannot_have_two_roles():
    with pytest.raises(DataError, match="--target and as --time"):
        check_roles(["price", "at"], origin="'a.csv'", target="at", time="at")
