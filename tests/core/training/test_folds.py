"""Folds of a cross-validation: forward in time, nothing learned from what was not yet known."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.errors import NotLearnable
from evergreen.tasks.core.training.cross_validation import forward_folds, make_folds, random_folds
from tests.support.training_data import make_rows, model_config, schema


def test_forward_folds_learn_from_the_past_alone():
    folds = forward_folds(np.arange(12.0), count=3)
    assert [(3, 3), (6, 3), (9, 3)] == [(len(f.train), len(f.test)) for f in folds]
    assert all(fold.train.max() < fold.test.min() for fold in folds)


def test_a_moment_is_never_cut():
    positions = np.repeat(np.arange(5.0), 10)
    for fold in forward_folds(positions, count=3):
        assert not set(positions[fold.train]) & set(positions[fold.test])


def test_purge_leaves_a_gap_before_the_rows_judged_on():
    for fold in forward_folds(np.arange(100.0), count=4, known_at=np.arange(100.0) + 7):
        assert 7 <= fold.test.min() - fold.train.max()


def test_a_row_whose_outcome_was_not_known_is_not_learned_from():
    positions = np.arange(10.0)
    known = positions + 3
    folds = forward_folds(positions, count=1, known_at=known)
    # the first row judged on is 5; known by then are the outcomes of rows 0, 1 and 2
    assert [0, 1, 2] == folds[0].train.tolist()


def test_the_configurations_label_delay_counts():
    rows = make_rows(n=100)
    config = model_config(data={"time": "at", "label_delay": "5h"}, split={"purge": "2h"})
    for fold in make_folds(rows, rows.frame["y"].to_numpy(), schema=schema(), config=config):
        assert 5 * 3600.0 <= rows.positions[fold.test].min() - rows.positions[fold.train].max()


def test_a_late_label_time_keeps_a_row_out_of_training():
    rows = make_rows(n=60)
    known = rows.positions + 3600.0
    known[0] = 1e12
    rows = Rows(rows.frame.assign(known=known), rows.positions)
    config = model_config(data={"time": "at", "clock": "seconds", "label_time": "known"})
    folds = make_folds(rows, rows.frame["y"].to_numpy(), schema=schema(label_time="known"), config=config)
    assert all(0 not in fold.train for fold in folds)
    assert any(1 in fold.train for fold in folds)


def test_groups_stay_whole_even_when_they_straddle_a_boundary():
    rng = np.random.default_rng(0)
    positions, units = np.sort(rng.random(200) * 50), rng.integers(0, 30, 200)
    for fold in forward_folds(positions, count=3, units=units):
        assert not set(units[fold.train]) & set(units[fold.test])


@given(st.integers(4, 80), st.integers(2, 4), st.integers(0, 5))
def test_random_folds_judge_each_row_once(n, count, seed):
    folds = random_folds(n, count=count, rng=np.random.default_rng(seed))
    assert list(range(n)) == sorted(np.concatenate([fold.test for fold in folds]).tolist())
    for fold in folds:
        assert n == len(fold.train) + len(fold.test)
        assert not set(fold.train) & set(fold.test)


def test_random_folds_spread_a_rare_class_evenly():
    y = np.array([1] * 10 + [0] * 190)
    folds = random_folds(200, count=5, rng=np.random.default_rng(3), strata=y)
    assert [2] * 5 == [int(y[fold.test].sum()) for fold in folds]


def test_random_folds_do_not_divide_an_entity():
    units = np.repeat(np.arange(20), 5)
    for fold in random_folds(100, count=4, rng=np.random.default_rng(0), units=units):
        assert not set(units[fold.train]) & set(units[fold.test])


def test_repeats_deal_the_rows_anew():
    rows = make_rows(timed=False)
    config = model_config(training={"folds": 3, "repeats": 2})
    folds = make_folds(rows, rows.frame["y"].to_numpy(), schema=schema(), config=config)
    assert 6 == len(folds)
    assert not np.array_equal(folds[0].test, folds[3].test)


def test_a_fold_without_both_classes_is_left_out():
    rows = make_rows(n=120)
    y = np.array(["no"] * 45 + ["yes", "no", "yes"] * 25)
    config = model_config(data={"time": "at"}, training={"folds": 3})
    folds = make_folds(rows, y, schema=schema(), config=config)
    assert [(60, 30), (90, 30)] == [(len(f.train), len(f.test)) for f in folds]


def test_too_few_usable_folds_cannot_be_learned_from():
    rows = Rows(pd.DataFrame({"signal": range(9), "y": ["a"] * 8 + ["b"]}), np.arange(9.0))
    with pytest.raises(NotLearnable) as caught:
        make_folds(
            rows, rows.frame["y"].to_numpy(), schema=schema(), config=model_config(data={"time": "at"})
        )
    assert ("too_few_folds", 0.0, 2.0) == (
        caught.value.reason_code,
        caught.value.observed,
        caught.value.limit,
    )


def test_a_purge_in_rows_counts_on_a_clock_of_time_too():
    rows = make_rows(n=100)
    config = model_config(data={"time": "at"}, split={"purge": "6 rows"})
    for fold in make_folds(rows, rows.frame["y"].to_numpy(), schema=schema(), config=config):
        assert 6 == fold.test.min() - fold.train.max()


@pytest.mark.parametrize(("key", "problem"), [("entity", "binary"), ("group", "ranking")])
def test_too_few_folds_name_the_column_whose_rows_stay_together(key, problem):
    rows = make_rows(n=100)
    rows.frame["who"] = "one"
    config = model_config(problem=problem, data={key: "who"})
    with pytest.raises(
        NotLearnable, match=rf"100 training rows of one value of 'who' \(data\.{key}\)"
    ) as caught:
        make_folds(rows, rows.frame["y"].to_numpy(), schema=schema(**{key: "who"}), config=config)
    assert f"correct data.{key}" in str(caught.value)
