"""Whether a model's grid still fits a new reference: while it does, its profiles of all times can be added."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tasks.core.errors import InputError
from tasks.core.profiles.column_profile import ColumnProfile
from tasks.core.profiles.grid import ColumnGrid, Grid
from tasks.core.profiles.profile import Profile

MOST_IN_A_CELL = 0.02
"""Largest share of a new reference that one cell may hold, unless the cell is a single value or category."""


class Kept(NamedTuple):
    """Whether a grid is kept, and why (not)."""

    keep: bool
    reason: str


def schema_change(old: Grid, new: Grid) -> str:
    """Return how two grids differ but for edges and categories; empty where they do not.

    >>> schema_change(Grid(columns={}), Grid(columns={"x": ColumnGrid(kind="numeric")}))
    "column 'x' is new"
    """
    for name in sorted(old.columns.keys() ^ new.columns.keys()):
        return f"column '{name}' is {'new' if name in new.columns else 'gone'}"
    for name, grid in old.columns.items():
        other = new.columns[name]
        if grid.kind != other.kind:
            return f"column '{name}' was {grid.kind} and is {other.kind}"
        if grid.hashed != other.hashed:
            return f"column '{name}' {'is no longer' if grid.hashed else 'has become'} private"
    return "" if old.outcome == new.outcome else f"the outcome was {old.outcome!r} and is {new.outcome!r}"


def keep_grid(old: Grid, reference: Profile) -> Kept:
    """Judge whether a model's grid still resolves what its new reference looks like.

    It does while the schema is the same and no cell holds more than 2 % of a column's rows. A cell that is one value
    (bins ``[v, nextafter(v))``), a category, or *other* may hold more: no other grid would split it. The rows of
    *unseen* categories may not.

    Parameters
    ----------
    old : Grid
        The model's grid.
    reference : Profile
        Of the new reference's rows, counted over ``old``; over another grid only to learn that the schema changed.

    Raises
    ------
    InputError
        When the profile was counted over another grid of the same schema.

    Examples
    --------
    >>> old = Grid(columns={"x": ColumnGrid(kind="numeric", edges=(0.0,))})
    >>> counted = ColumnProfile(n=100, nulls=0, counts=(99, 1))
    >>> keep_grid(old, Profile(grid=old, columns={"x": counted})).reason
    "99.0 % of column 'x' fall into one cell (below 0)"
    """
    changed = schema_change(old, reference.grid)
    if changed:
        return Kept(False, changed)
    if reference.grid.id != old.id:
        raise InputError(
            f"The profile was counted over grid {reference.grid.id}, not over {old.id}. Measure it over the old grid."
        )
    for name, column in reference.columns.items():
        cell, share = _fullest(column, old.columns[name])
        if share > MOST_IN_A_CELL:
            where = _cell_name(cell, old.columns[name])
            return Kept(
                False, f"{share:.1%} of column '{name}' fall into one cell ({where})".replace("%", " %")
            )
    return Kept(True, "the schema is the same and no cell holds more than 2 % of the rows")


def _fullest(column: ColumnProfile, grid: ColumnGrid) -> tuple[int, float]:
    """Return the fullest cell that could be split, and its share of the rows that are in a bin."""
    counts = np.where(_atoms(grid), 0, column.counts_array)
    cell = int(counts.argmax())
    return cell, float(counts[cell] / max(column.finite, 1))


def _atoms(grid: ColumnGrid) -> np.ndarray:
    """Return which cells no grid would split, shape (bins,)."""
    if grid.kind == "categorical":
        return np.arange(grid.bins) < grid.bins - 1
    edges = np.asarray(grid.edges)
    single = np.nextafter(edges[:-1], np.inf) == edges[1:]
    return np.concatenate([[False], single, [False]])[: grid.bins]


def _cell_name(cell: int, grid: ColumnGrid) -> str:
    if grid.kind == "categorical":
        return "unseen categories"
    low = f"from {grid.edges[cell - 1]:g}" if cell else ""
    high = f"below {grid.edges[cell]:g}" if cell < len(grid.edges) else ""
    return f"{low} {high}".strip() or "all values"
