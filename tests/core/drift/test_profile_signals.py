"""Signals of profiles: golden values, the reference itself, private columns, missing ones."""

import numpy as np
import pandas as pd
import pytest

from evergreen.tasks.core.drift.profile_signals import prepare_signals
from evergreen.tasks.core.drift.types import DriftKind
from evergreen.tasks.core.profiles.grid import make_grid
from evergreen.tasks.core.profiles.profile import Profile, measure_profile


def frame_of(n, *, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "x": rng.normal(size=n) + shift,
            "c": rng.choice(list("abcdefghijkl"), n),
            "constant": 1.0,
            "@outcome": rng.integers(0, 2, n),
        }
    )


@pytest.fixture(scope="module")
def reference():
    frame = frame_of(20_000)
    grid = make_grid(frame, categorical=frozenset({"c", "@outcome"}))
    return measure_profile(frame, grid)


def read(frame, reference, **options):
    window = measure_profile(frame, reference.grid)
    found = prepare_signals(reference, kind=DriftKind.DATA, min_effect=0.03, **options).measure(window)
    return {(key.column, key.name): place for place, key in enumerate(found.keys)}, found


def test_four_rows_in_four_bins_by_hand():
    # Reference 1, 2, 3, 4, four times each: mid-ranks 1/8, 3/8, 5/8, 7/8; off 1/2 by 3/8, 1/8, 1/8, 3/8, mean 1/4.
    rows = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0] * 4})
    reference = measure_profile(rows, make_grid(rows, categorical=frozenset()))
    at, found = read(pd.DataFrame({"x": [4.0, 4.0, np.nan, 3.0]}), reference)
    # Three are there: (7/8 + 7/8 + 5/8) / 3 - 1/2 = 7/24; (3/8 + 3/8 + 1/8) / 3 - 1/4 = 1/24. A quarter is missing.
    assert found.values[at["x", "location"]] == pytest.approx(7 / 24, abs=1e-12)
    assert found.values[at["x", "spread"]] == pytest.approx(1 / 24, abs=1e-12)
    assert found.values[at["x", "missing"]] == pytest.approx(1 / 4, abs=1e-12)
    # Variance of the reference's mid-ranks: mean of (3/8)², (1/8)², (1/8)², (3/8)² = 5/64; of three rows 5/192.
    assert found.errors[at["x", "location"]] == pytest.approx(np.sqrt(5 / 192), abs=1e-12)


def test_the_reference_against_itself_has_not_moved(reference):
    prepared = prepare_signals(reference, kind=DriftKind.DATA, min_effect=0.03)
    found = prepared.measure(reference)
    at = {(key.column, key.name): place for place, key in enumerate(found.keys)}
    for name in ("location", "spread"):
        assert found.values[at["x", name]] == pytest.approx(0.0, abs=1e-12)
    shares = [
        found.values[place] for (column, name), place in at.items() if column == "c" and name != "missing"
    ]
    assert sum(shares) == pytest.approx(1.0, abs=1e-12)


def test_a_shift_of_half_a_standard_deviation_moves_location_by_fourteen_hundredths(reference):
    at, found = read(frame_of(50_000, seed=1, shift=0.5), reference)
    # Φ(0.5 / √2) - 0.5 = 0.1382
    assert found.values[at["x", "location"]] == pytest.approx(0.1382, abs=0.004)


def test_errors_are_those_of_the_rows(reference):
    drawn = [read(frame_of(500, seed=seed), reference) for seed in range(2, 302)]
    values = np.array([found.values for _, found in drawn])
    at, found = drawn[0]
    for key in [("x", "location"), ("x", "spread"), ("x", "share:5"), ("c", "unseen"), ("c", "share:other")]:
        place = at[key]
        assert values[:, place].std() == pytest.approx(found.errors[place], rel=0.15, abs=0.001), key


def test_signals_of_two_windows_average_to_those_of_both(reference):
    first, second = (measure_profile(frame_of(400, seed=seed), reference.grid) for seed in (5, 6))
    prepared = prepare_signals(reference, kind=DriftKind.DATA, min_effect=0.03)
    mean = (prepared.measure(first).values + prepared.measure(second).values) / 2
    np.testing.assert_allclose(prepared.measure(first + second).values, mean, atol=1e-12)


def test_hashed_categories_are_numbered():
    frame = frame_of(1000)[["c"]]
    grid = make_grid(frame, categorical=frozenset({"c"}), private=frozenset({"c"}))
    keys = prepare_signals(measure_profile(frame, grid), kind=DriftKind.DATA, min_effect=0.03).keys
    assert [key.name for key in keys] == [
        *(f"share:{i}" for i in range(1, 9)),
        "share:other",
        "unseen",
        "missing",
    ]


def test_a_category_never_seen_is_counted_as_such(reference):
    frame = frame_of(400)
    frame.loc[:99, "c"] = "new"
    at, found = read(frame, reference)
    assert found.values[at["c", "unseen"]] == 0.25


def test_columns_of_answers_are_followed_only_when_named(reference):
    at, _ = read(frame_of(100), reference)
    assert {column for column, _ in at} == {"x", "c", "constant"}
    at, _ = read(frame_of(100), reference, columns=["@outcome"])
    assert {column for column, _ in at} == {"@outcome"}


@pytest.mark.parametrize("rows", [0, 1])
def test_a_window_of_one_row_or_none_is_measured_without_a_crash(reference, rows):
    at, found = read(frame_of(500).head(rows), reference)
    assert np.isfinite(found.values[at["x", "location"]]) == bool(rows)


def test_an_all_null_column_is_missing_and_says_nothing_else(reference):
    frame = frame_of(100)
    frame["x"] = np.nan
    at, found = read(frame, reference)
    assert found.values[at["x", "missing"]] == 1.0
    assert np.isnan(found.values[at["x", "location"]])
    assert np.isnan(found.errors[at["x", "location"]])


def test_a_column_the_profile_lacks_is_unknown(reference):
    prepared = prepare_signals(reference, kind=DriftKind.DATA, columns=["x"], min_effect=0.03)
    assert np.isnan(prepared.measure(Profile(grid=reference.grid)).values).all()


def test_a_column_that_was_empty_at_training_is_followed_by_what_is_missing_alone():
    frame = pd.DataFrame({"x": [np.nan] * 50})
    reference = measure_profile(frame, make_grid(frame, categorical=frozenset()))
    keys = prepare_signals(reference, kind=DriftKind.DATA, min_effect=0.03).keys
    assert [key.name for key in keys] == ["missing"]
