"""Profiles: counts over a grid that add up."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evergreen.tasks.core.errors import DataError, InputError
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.profiles.grid import MOST_CATEGORIES, Grid, make_grid, quantile_edges, tokens
from evergreen.tasks.core.profiles.profile import Profile, add_profiles, measure_profile
from evergreen.tasks.core.profiles.reference import reference_profiles
from tests.support.training_data import make_rows, model_config, schema


def frame_of(n=5000, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "zeros": np.where(rng.random(n) < 0.6, 0.0, rng.exponential(size=n)),
            "c": rng.choice(["a", "b", None], size=n, p=[0.7, 0.2, 0.1]),
            "y": rng.integers(0, 2, n),
        }
    )


def grid_of(frame):
    return make_grid(frame, categorical=frozenset({"c", "y"}), outcome="y")


def test_a_smooth_column_has_at_least_200_bins_of_about_equal_mass():
    frame = frame_of(n=50_000)
    grid = grid_of(frame)
    counts = measure_profile(frame, grid).columns["x"].counts
    assert 200 <= len(counts)
    assert max(counts) <= 0.02 * 50_000


def test_a_heavy_value_has_a_bin_of_its_own():
    frame = frame_of()
    grid = grid_of(frame)
    place = grid.columns["zeros"].edges.index(0.0) + 1
    zeros = int((frame["zeros"] == 0).sum())
    assert zeros == measure_profile(frame, grid).columns["zeros"].counts[place]


def test_bins_are_closed_on_the_left():
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    grid = make_grid(frame, categorical=frozenset())
    below, at = (grid.columns["x"].codes(pd.Series([value]))[0] for value in (np.nextafter(2.0, 0), 2.0))
    assert below + 1 == at


def test_few_distinct_values_keep_a_bin_each():
    values = np.repeat(np.arange(24.0), 100)
    frame = pd.DataFrame({"hour": values})
    profile = measure_profile(frame, make_grid(frame, categorical=frozenset()))
    assert [100] * 24 == [count for count in profile.columns["hour"].counts if count]


def test_quantile_edges_agree_with_numpy_on_distinct_values():
    values = np.random.default_rng(0).normal(size=2560)
    expected = np.quantile(values, np.arange(1, 256) / 256, method="higher")
    edges = quantile_edges(values)
    assert 255 == len(edges)
    # both split the sorted values into parts whose sizes differ by at most one
    assert (
        1
        >= np.abs(np.searchsorted(np.sort(values), edges) - np.searchsorted(np.sort(values), expected)).max()
    )


def test_nulls_and_infinities_are_counted_apart():
    frame = frame_of()
    odd = frame.assign(x=[np.inf, -np.inf, np.nan, *[0.0] * 4997])
    column = measure_profile(odd, grid_of(frame)).columns["x"]
    assert (5000, 1, 1, 1, 4997) == (
        column.n,
        column.nulls,
        column.plus_inf,
        column.minus_inf,
        sum(column.counts),
    )


def test_a_category_the_reference_never_had_is_unseen():
    frame = frame_of()
    later = frame.assign(c="new")
    counts = measure_profile(later, grid_of(frame)).columns["c"].counts
    assert (0, 5000) == (counts[-2], counts[-1])


def test_rare_categories_are_pooled_and_are_not_unseen():
    names = [f"c{i}" for i in range(MOST_CATEGORIES + 50)]
    frame = pd.DataFrame({"c": names * 2 + ["c0"]})
    grid = make_grid(frame, categorical=frozenset({"c"}))
    counts = measure_profile(frame, grid).columns["c"].counts
    assert (100, 0) == (counts[-2], counts[-1])


def test_one_is_one_however_it_is_written():
    assert ["1", "1", "1", "1.5"] == tokens(pd.Series([1, 1.0, "1", 1.5], dtype=object)).tolist()


def test_private_categories_stand_as_hashes():
    frame = pd.DataFrame({"name": ["Ada", "Grace"] * 5})
    grid = make_grid(frame, categorical=frozenset({"name"}), private=frozenset({"name"}))
    assert "Ada" not in json.dumps(measure_profile(frame, grid).to_dict())
    assert [5, 5, 0, 0] == list(measure_profile(frame, grid).columns["name"].counts)


@settings(max_examples=30)
@given(st.integers(0, 5000), st.floats(-1e6, 1e6))
def test_profiles_of_parts_add_up_to_the_profile_of_the_whole(cut, shift):
    frame = frame_of()
    frame["x"] += shift
    frame.loc[::7, "x"] = np.nan
    grid = grid_of(frame)
    whole = measure_profile(frame, grid)
    added = measure_profile(frame.iloc[:cut], grid) + measure_profile(frame.iloc[cut:], grid)
    for name, column in whole.columns.items():
        other = added.columns[name]
        exact = ("n", "nulls", "plus_inf", "minus_inf", "counts", "joint", "minimum", "maximum")
        assert [getattr(column, field) for field in exact] == [getattr(other, field) for field in exact]
        assert column.mean == pytest.approx(other.mean, rel=1e-9, abs=1e-9)
        assert column.squares == pytest.approx(other.squares, rel=1e-9, abs=1e-9)


def test_moments_agree_with_numpy():
    frame = frame_of()
    column = measure_profile(frame, grid_of(frame)).columns["x"]
    assert np.var(frame["x"], ddof=1) == pytest.approx(column.variance, rel=1e-9)
    assert frame["x"].mean() == pytest.approx(column.mean, rel=1e-9)


def test_the_joint_table_has_the_margins_of_its_column_and_its_outcome():
    frame = frame_of()
    profile = measure_profile(frame, grid_of(frame))
    joint = np.array(profile.columns["x"].joint)
    assert joint.shape[0] <= 10
    assert joint.shape[1] <= 10
    outcomes = np.array(profile.columns["y"].joint).sum(axis=0)
    assert outcomes.tolist() == joint.sum(axis=0).tolist()
    assert (5000 / 9) == pytest.approx(joint.sum(axis=1)[:-1].mean())


def test_a_profile_survives_json():
    frame = frame_of()
    profile = measure_profile(frame, grid_of(frame))
    again = Profile.from_dict(json.loads(json.dumps(profile.to_dict())))
    assert profile == again
    assert profile.grid.id == again.grid.id


def test_profiles_over_different_grids_do_not_add():
    first, second = (measure_profile(f, grid_of(f)) for f in (frame_of(), frame_of(seed=1)))
    with pytest.raises(InputError, match="different grids"):
        first + second


def test_an_empty_column_has_a_grid_and_a_profile():
    frame = pd.DataFrame({"x": [np.nan] * 3, "c": [None] * 3})
    grid = make_grid(frame, categorical=frozenset({"c"}))
    columns = measure_profile(frame, Grid.from_dict(grid.to_dict())).columns
    assert (3, 3, None) == (columns["x"].nulls, columns["c"].nulls, columns["x"].minimum)


def test_the_reference_holds_inputs_and_answers_and_no_raw_row():
    rows = make_rows(n=500)
    truth = rows.frame["y"].to_numpy()
    scored = Scored(
        y=truth, score=np.linspace(0, 1, 500), label=truth, classes=("no", "yes"), positive_class="yes"
    )
    reference = reference_profiles(
        rows, scored, schema=schema(), config=model_config(), score_source="out_of_fold"
    )
    inputs, answers = (Profile.from_dict(reference[name]) for name in ("inputs", "answers"))
    assert {"signal", "noise", "colour", "@outcome"} == set(inputs.columns)
    assert {"@outcome", "@score", "@decision"} == set(answers.columns)
    assert 500 == inputs.columns["signal"].n
    assert len(json.dumps(reference)) < 200_000


def test_a_column_view_sums_to_its_rows_and_cannot_be_written():
    frame = frame_of()
    column = measure_profile(
        frame.assign(x=[np.inf, -np.inf, np.nan, *[0.0] * 4997]), grid_of(frame)
    ).columns["x"]
    assert [1, 1, 1] == column.cells_array[-3:].tolist()
    assert 5000 == column.cells_array.sum()
    with pytest.raises(ValueError, match="read-only"):
        column.counts_array[0] = 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40), st.booleans(), st.sampled_from([1.0, 0.0, 1e200, np.nan]))
def test_the_short_form_of_a_window_loses_nothing(n, joint, factor):
    frame = frame_of()
    grid = make_grid(frame, categorical=frozenset({"c", "y"}), outcome="y" if joint else None)
    window = frame.iloc[:n].assign(x=lambda rows: rows["x"] * factor)
    profile = measure_profile(window, grid)
    plain = json.loads(json.dumps(profile.to_window_dict(), allow_nan=False))
    assert profile == Profile.from_window_dict(plain, grid)


def test_the_short_form_of_an_hour_is_small():
    rng = np.random.default_rng(0)
    reference = pd.DataFrame({f"x{i}": rng.normal(size=5000) for i in range(30)})
    profile = measure_profile(reference.iloc[:500], make_grid(reference, categorical=frozenset()))
    assert len(json.dumps(profile.to_window_dict())) < 40_000


def test_the_short_form_belongs_to_its_grid():
    frame = frame_of()
    plain = measure_profile(frame, grid_of(frame)).to_window_dict()
    with pytest.raises(InputError, match="different grids"):
        Profile.from_window_dict(plain, grid_of(frame_of(seed=1)))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 5000), max_size=20))
def test_hours_add_up_to_a_day_in_one_go(cuts):
    frame = frame_of()
    grid = grid_of(frame)
    bounds = [0, *sorted(cuts), len(frame)]
    parts = [measure_profile(frame.iloc[a:b], grid) for a, b in itertools.pairwise(bounds)]
    whole, added = measure_profile(frame, grid), add_profiles(parts)
    for name, column in whole.columns.items():
        other = added.columns[name]
        assert (column.n, column.cells_array.tolist()) == (other.n, other.cells_array.tolist())
        assert (column.minimum, column.maximum, column.joint) == (other.minimum, other.maximum, other.joint)
        assert (column.mean, column.squares) == pytest.approx(
            (other.mean, other.squares), rel=1e-9, abs=1e-12
        )


def test_profiles_of_different_columns_or_without_the_outcome_do_not_add():
    frame = frame_of()
    grid = grid_of(frame)
    whole = measure_profile(frame, grid)
    with pytest.raises(InputError, match="different columns"):
        whole + measure_profile(frame, grid, columns=["x", "y"])
    with pytest.raises(InputError, match="joint tables"):
        measure_profile(frame, grid, columns=["x"]).columns["x"] + whole.columns["x"]


def test_text_among_numbers_is_named():
    frame = frame_of()
    with pytest.raises(DataError, match=r"'x' should hold numbers and does not: .*'much'"):
        measure_profile(frame.assign(x="much"), grid_of(frame))


def test_true_is_not_one_in_a_column_of_both():
    assert ["True", "1", "1"] == tokens(pd.Series([True, 1, 1.0], dtype=object)).tolist()


@pytest.mark.parametrize("dtype", ["category", "string", "Int64", "boolean", "datetime64[ns]", "float32"])
def test_tokens_of_any_dtype_are_those_of_its_values(dtype):
    values = {
        "category": ["a", None, "b"],
        "string": ["a", None, "b"],
        "Int64": [1, None, 2],
        "boolean": [True, None, False],
        "datetime64[ns]": ["2026-01-01", None, "2026-01-02 03:04"],
        "float32": [1.0, None, 2.5],
    }[dtype]
    expected = {
        "Int64": ["1", None, "2"],
        "boolean": ["True", None, "False"],
        "float32": ["1", None, "2.5"],
        "datetime64[ns]": ["2026-01-01 00:00:00", None, "2026-01-02 03:04:00"],
    }.get(dtype, values)
    column = pd.Series(pd.to_datetime(values, format="mixed") if "date" in dtype else values, dtype=dtype)
    assert expected == tokens(column).tolist()
