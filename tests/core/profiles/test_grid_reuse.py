"""A grid belongs to the model: it is kept while it resolves the new reference."""

import numpy as np
import pandas as pd
import pytest

from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.profiles.grid import Grid, make_grid
from evergreen.tasks.core.profiles.profile import measure_profile
from evergreen.tasks.core.profiles.reference import keep_grid, schema_change


def frame_of(n=5000, seed=0, shift=0.0, kinds=("a", "b")):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "x": rng.normal(size=n) + shift,
            "zeros": np.where(rng.random(n) < 0.6, 0.0, rng.exponential(size=n)),
            "c": rng.choice(list(kinds), n),
        }
    )


def grid_of(frame, **options):
    return make_grid(frame, categorical=frozenset({"c"}), **options)


def judged(old_frame, new_frame):
    old = grid_of(old_frame)
    return keep_grid(old, measure_profile(new_frame, old))


def test_a_grid_is_kept_for_new_rows_of_the_same_kind_heavy_values_and_all():
    assert judged(frame_of(), frame_of(seed=1)).keep


def test_a_grid_whose_outer_cell_fills_is_laid_anew():
    keep, reason = judged(frame_of(), frame_of(seed=1, shift=1.0))
    assert not keep
    assert "column 'x' fall into one cell (from 2." in reason


def test_two_percent_is_still_kept_and_more_is_not():
    frame = pd.DataFrame({"x": np.linspace(0, 1, 10_000)})
    old = make_grid(frame, categorical=frozenset())
    within, beyond = (
        pd.DataFrame({"x": np.r_[np.linspace(0, 0.98, 10_000 - extra), np.linspace(5, 6, extra)]})
        for extra in (200, 201)
    )
    assert keep_grid(old, measure_profile(within, old)).keep
    assert (
        "2.0 % of column 'x' fall into one cell (from 0.9961"
        in keep_grid(old, measure_profile(beyond, old)).reason
    )


def test_a_new_value_that_many_rows_share_needs_a_cell_of_its_own():
    assert "zeros" in judged(frame_of(), frame_of(seed=1).assign(zeros=0.5)).reason


def test_categories_the_old_grid_never_knew_need_a_new_one():
    keep, reason = judged(frame_of(), frame_of(seed=1, kinds=("a", "b", "new")))
    assert not keep
    assert "column 'c' fall into one cell (unseen categories)" in reason


def test_a_column_that_was_null_and_is_no_longer_needs_a_new_grid():
    empty = frame_of().assign(x=np.nan)
    assert "column 'x' fall into one cell (all values)" in judged(empty, frame_of(seed=1)).reason
    assert judged(empty, empty).keep
    assert judged(frame_of(), empty).keep


def test_a_constant_column_keeps_its_grid_until_it_varies():
    constant = frame_of().assign(x=3.0)
    assert judged(constant, constant).keep
    assert not judged(constant, frame_of()).keep


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (lambda f: grid_of(f.assign(z=1.0)), "column 'z' is new"),
        (lambda f: grid_of(f.drop(columns="x")), "column 'x' is gone"),
        (
            lambda f: make_grid(f, categorical=frozenset({"c", "x"})),
            "column 'x' was numeric and is categorical",
        ),
        (lambda f: grid_of(f, private=frozenset({"c"})), "column 'c' has become private"),
        (lambda f: grid_of(f, outcome="c"), "the outcome was None and is 'c'"),
    ],
)
def test_a_changed_schema_is_named_and_needs_a_new_grid(new, said):
    frame = frame_of()
    changed = new(frame)
    assert said == schema_change(grid_of(frame), changed)
    assert (False, said) == keep_grid(grid_of(frame), measure_profile(frame.assign(z=1.0), changed))


def test_a_profile_over_other_edges_cannot_tell():
    frame = frame_of()
    with pytest.raises(InputError, match="Measure it over the old grid"):
        keep_grid(grid_of(frame), measure_profile(frame, grid_of(frame_of(seed=1))))


def test_no_rows_are_no_reason_for_a_new_grid():
    frame = frame_of()
    assert judged(frame, frame.iloc[:0]).keep
    assert "" == schema_change(Grid(columns={}), Grid(columns={}))
