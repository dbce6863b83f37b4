"""Row hashes: the same for ever, blind to how content is stored, different for different content."""

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evergreen.tasks.core.data.rows import fingerprint, hash_rows, unit_interval

GOLDEN = [15721292079179490821, 9891972130367546972, 15233778075810926139]
GOLDEN_FINGERPRINT = "7c6e00fcdd07d0b628dd0fb7979d5360e869f5a57d706c1755ebf25a07f47345"


def one(value, **options):
    return int(hash_rows(pd.DataFrame({"a": [value]}), **options)[0])


def test_hashes_are_those_of_the_first_release():
    frame = pd.DataFrame({"a": [1.0, -2.5, np.nan], "b": ["x", None, "é"]})
    assert hash_rows(frame).tolist() == GOLDEN
    assert fingerprint(frame) == GOLDEN_FINGERPRINT


@pytest.mark.parametrize(
    "values",
    [
        [1, 1.0, True, np.int8(1), np.float32(1), Decimal(1)],
        [0.0, -0.0, 0, False],
        [None, np.nan, pd.NaT, pd.NA],
    ],
)
def test_equal_values_hash_equally_whatever_holds_them(values):
    assert len({one(value) for value in values}) == 1


def test_a_column_hashes_equally_in_every_dtype_that_holds_it():
    values = [3, 1, 2]
    dtypes = ["int64", "int8", "float64", "float32", "Int64", "object", "category"]
    hashes = {tuple(hash_rows(pd.DataFrame({"a": pd.Series(values, dtype=dtype)}))) for dtype in dtypes}
    assert len(hashes) == 1


def test_text_hashes_equally_in_every_dtype_that_holds_it():
    dtypes = ["object", "category", "string"]
    hashes = {
        tuple(hash_rows(pd.DataFrame({"a": pd.Series(["u", None, "v"], dtype=dtype)}))) for dtype in dtypes
    }
    assert len(hashes) == 1


def test_a_moment_hashes_equally_in_every_unit_and_zone():
    moment = pd.Series([datetime(2026, 1, 1, 12, tzinfo=UTC)])
    naive = moment.dt.tz_localize(None)
    held = [moment, naive, naive.astype("datetime64[s]"), moment.dt.tz_convert("Asia/Tokyo")]
    assert len({int(hash_rows(pd.DataFrame({"a": column}))[0]) for column in held}) == 1


def test_order_of_columns_and_rows_does_not_matter_to_the_fingerprint():
    frame = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]})
    assert fingerprint(frame[["b", "a"]].iloc[::-1]) == fingerprint(frame)


@pytest.mark.parametrize(
    "other",
    [
        pd.DataFrame({"a": [1, 2, 2]}),
        pd.DataFrame({"a": [1, 2]}),
        pd.DataFrame({"b": [1, 2, 3]}),
        pd.DataFrame({"a": [1, 2, 3], "b": [0, 0, 0]}),
    ],
)
def test_other_content_has_another_fingerprint(other):
    assert fingerprint(other) != fingerprint(pd.DataFrame({"a": [1, 2, 3]}))


def test_values_that_change_places_between_columns_change_the_hash():
    here, there = pd.DataFrame({"a": [1], "b": [2]}), pd.DataFrame({"a": [2], "b": [1]})
    assert hash_rows(here)[0] != hash_rows(there)[0]


@given(st.lists(st.floats(allow_nan=False) | st.text(max_size=5), min_size=2, max_size=20, unique_by=str))
def test_different_values_hash_differently(values):
    distinct = {float(v) if isinstance(v, float) else v for v in values}
    hashes = hash_rows(pd.DataFrame({"a": pd.Series(values, dtype=object)}))
    assert len(set(hashes)) == len(distinct)


def test_another_seed_gives_independent_places():
    frame = pd.DataFrame({"a": np.arange(20_000)})
    first, second = (unit_interval(hash_rows(frame, seed=seed)) for seed in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03


@pytest.mark.parametrize(
    "column", [np.arange(50_000), np.arange(50_000) / 7, [f"id-{n}" for n in range(50_000)]]
)
def test_places_are_uniform_on_the_unit_interval(column):
    place = unit_interval(hash_rows(pd.DataFrame({"a": column})))
    assert 0.0 <= place.min()
    assert place.max() < 1.0
    assert stats.kstest(place, "uniform").pvalue > 1e-3


def test_an_empty_frame_has_no_hashes():
    assert hash_rows(pd.DataFrame({"a": []})).tolist() == []
