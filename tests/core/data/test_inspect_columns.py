"""Columns that name, count or repeat rows are told from columns that describe them."""

import numpy as np
import pandas as pd
import pytest

from evergreen.tasks.core.data.columns import Kind, inspect_columns

N = 400
RNG = np.random.default_rng(0)


def why(column, *, positions=None):
    return inspect_columns(pd.DataFrame({"c": column}), positions=positions)["c"].useless


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (np.arange(N), "counts rows"),
        (np.arange(N)[::-1] + 5, "counts rows"),
        (RNG.permutation(N), "counts rows"),
        (np.cumsum(RNG.integers(1, 9, N)), "counts rows"),
        (RNG.choice(10**9, N, replace=False), "identifier"),
        ([f"user-{i}" for i in range(N)], "names rows"),
        (["same"] * N, "constant"),
        ([None] * N, "every value is null"),
        ([1, "a"] * (N // 2), "mixes numbers and text"),
        ([{"a": 1}] * N, "holds values of type dict"),
    ],
)
def test_a_column_that_names_or_counts_rows_is_no_feature(column, said):
    assert said in why(column)


@pytest.mark.parametrize(
    "column",
    [
        RNG.normal(size=N),
        np.exp(RNG.normal(size=N) * 2),
        np.rint(np.exp(RNG.normal(size=N) * 1.5 + 9)),
        RNG.integers(0, 50, N),
        RNG.choice([f"horse-{i}" for i in range(100)], N),
        RNG.random(N) < 0.5,
        [1.0, None] * (N // 2),
    ],
    ids=["measurement", "heavy tail", "amount in cents", "small numbers", "entity", "flag", "often empty"],
)
def test_a_column_that_describes_rows_is_a_feature(column):
    assert why(column, positions=np.arange(N, dtype=float)) == ""


@pytest.mark.parametrize("column", [np.arange(N) // 100, np.sqrt(np.arange(N)), -np.arange(N) / 7])
def test_a_column_that_only_goes_one_way_with_time_is_a_copy_of_the_clock(column):
    positions = np.arange(N, dtype=float)

    assert "copy of the clock" in why(column.astype(float) + 0.5, positions=positions)
    assert why(column.astype(float) + 0.5) == ""


def test_text_that_repeats_in_all_rows_is_no_identifier_in_a_sample():
    whole = pd.DataFrame({"c": np.repeat([f"u{i}" for i in range(200)], 50)})
    sample = whole.sample(150, random_state=0)

    assert inspect_columns(sample)["c"].useless != ""
    assert inspect_columns(sample, whole=whole)["c"].useless == ""


def test_a_named_column_of_times_is_one_whatever_its_text():
    frame = pd.DataFrame({"c": ["31.12.2024"] * 3})

    assert inspect_columns(frame, times=["c"])["c"].kind is Kind.DATETIME
