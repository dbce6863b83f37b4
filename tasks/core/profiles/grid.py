"""The grid of a model: bin edges and categories, fixed once, so that profiles of any rows can be added."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from evergreen.tasks.core.arrays import BoolArray, FloatArray, IntArray
from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.profiles.count import NULL, TABLE_PAYS, EdgeTable, edge_table, numeric_codes
from evergreen.tasks.core.serial import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd


# Categories as text: one token a category, whichever library or file type it came from.


def category_token(value: Any, *, hashed: bool = False) -> str:
    """Return a category as text, so that 1, 1.0 and '1' are one.

    >>> [category_token(value) for value in (1, 1.0, "1", Decimal("1.00"), Decimal("2.50"), True)]
    ['1', '1', '1', '1', '2.5', 'True']
    """
    text = _text(value)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12] if hashed else text


def tokens(column: pd.Series, *, hashed: bool = False) -> pd.Series:
    """Return the tokens of a column, of type object; null stays null."""
    import pandas as pd

    if column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) != "string":
        present = column[column.notna()]  # True, 1 and 1.0 are equal as keys but not as categories
        named = present.map(partial(category_token, hashed=hashed))
        return named.reindex(column.index).astype(object)
    codes, distinct = pd.factorize(column)
    names = [category_token(value, hashed=hashed) for value in distinct.tolist()]
    table = np.array([*names, None], dtype=object)
    return pd.Series(table[codes], index=column.index, name=column.name, dtype=object)


def _text(value: Any) -> str:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    if isinstance(value, Decimal) and value.is_finite():
        return str(int(value)) if value == value.to_integral_value() else f"{value.normalize():f}"
    return str(value)


FINE_BINS = 256
MOST_CATEGORIES = 200
MOST_POOLED = 2000
COARSE_BINS = 9
"""Groups of a column in its joint table with the outcome; a tenth holds the missing values."""


@dataclass(frozen=True, kw_only=True)
class ColumnGrid(Struct):
    """How one column is counted."""

    kind: str
    """`numeric` or `categorical`."""
    edges: tuple[float, ...] = ()
    """Numeric: ascending; bin 0 lies below the first edge, bin i is ``[edges[i-1], edges[i])``. A value with more
    than 1/256 of the reference has a bin of its own."""
    categories: tuple[str, ...] = ()
    pooled: tuple[str, ...] = ()
    """``categories``, ``pooled``: those with a bin of their own (the most frequent), and known ones counted as
    *other*."""
    cuts: tuple[int, ...] = (0,)
    """First bins of the coarse groups used in the joint table with the outcome; the first is 0."""
    hashed: bool = False
    """Category names are stored as hashes (private columns)."""

    @property
    def bins(self) -> int:
        """Number of counts: bins, or categories beside *other* and *unseen*."""
        return len(self.edges) + 1 if self.kind == "numeric" else len(self.categories) + 2

    def edge_table(self, rows: int) -> EdgeTable:
        """Return what numbers are counted with; a table is made once it pays for so many rows, then kept."""
        is_worth_it = rows >= TABLE_PAYS or "_table" in vars(self)
        return self._table if is_worth_it else EdgeTable(edges=np.asarray(self.edges, dtype=np.float64))

    @cached_property
    def _table(self) -> EdgeTable:
        return edge_table(np.asarray(self.edges, dtype=np.float64))

    @cached_property
    def coarse(self) -> IntArray:
        """Coarse group of each bin, shape (bins + 3,); the last three, for codes -3 to -1, are the missing one."""
        groups = np.searchsorted(np.asarray(self.cuts), np.arange(self.bins), side="right") - 1
        return np.append(groups, [len(self.cuts)] * 3)

    @property
    def single_value_bins(self) -> BoolArray:
        """Which bins hold a single number, shape (bins,) of a numeric column: those that end at the next number."""
        edges = np.asarray(self.edges, dtype=np.float64)
        inner = edges[1:] == np.nextafter(edges[:-1], np.inf)
        return np.concatenate([[False], inner, [False] * min(1, len(edges))])

    @cached_property
    def _code_by_name(self) -> dict[str, int]:
        own = {name: code for code, name in enumerate(self.categories)}
        return {**dict.fromkeys(self.pooled, len(own)), **own}

    def codes(self, column: pd.Series) -> IntArray:
        """Return the bin of each value, shape (n,); -1 for null, -2 for +inf, -3 for -inf."""
        import pandas as pd

        if self.kind == "numeric":
            values = column_numbers(column)
            return numeric_codes(values, self.edge_table(len(values)))
        codes, names = pd.factorize(tokens(column, hashed=self.hashed))
        return np.append(self.token_codes(names.tolist()), NULL)[codes]

    def token_codes(self, names: Sequence[str]) -> IntArray:
        """Return the bin of each category, given as a token (hashed where the column is private)."""
        unseen = len(self.categories) + 1
        return np.array([self._code_by_name.get(name, unseen) for name in names], dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        plain: dict[str, Any] = {"kind": self.kind, "cuts": list(self.cuts)}
        if self.kind == "numeric":
            return {**plain, "edges": list(self.edges)}
        names = {"categories": list(self.categories), "pooled": list(self.pooled)}
        return {**plain, **names, "hashed": self.hashed}


@dataclass(frozen=True, kw_only=True)
class Grid(Struct):
    """The grids of a model's columns."""

    columns: dict[str, ColumnGrid]
    """By column."""
    outcome: str | None = None
    """Column that the others are counted jointly with; it must be one of ``columns``."""

    @cached_property
    def id(self) -> str:
        """Short hash of the content; only profiles of equal grids add."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_grid(
    frame: pd.DataFrame,
    *,
    categorical: frozenset[str],
    private: frozenset[str] = frozenset(),
    outcome: str | None = None,
) -> Grid:
    """Make the grid of reference rows.

    Parameters
    ----------
    frame : DataFrame, shape (n, p)
        Reference rows; every column gets a grid.
    categorical, private : frozenset of str
        Columns counted by category; columns whose category names are hashed.
    outcome : str, optional
        The column the others are counted jointly with.
    """
    columns = {}
    for name in map(str, frame.columns):
        if name in categorical:
            columns[name] = _category_grid(frame[name], hashed=name in private)
        else:
            columns[name] = _numeric_grid(frame[name])
    return Grid(columns=columns, outcome=outcome)


def quantile_edges(values: FloatArray, *, bins: int = FINE_BINS) -> FloatArray:
    """Return ascending edges of bins of about equal mass; ties merged, heavy values in a bin of their own.

    Parameters
    ----------
    values : array, shape (n,)
        Finite; empty gives no edges.

    Examples
    --------
    >>> quantile_edges(np.array([0.0] * 90 + list(range(1, 11))), bins=4).tolist()
    [0.0, 5e-324, 3.0, 6.0, 8.0]
    """
    if not len(values):
        return np.zeros(0)
    distinct, counts = np.unique(values, return_counts=True)
    heavy = distinct[counts > len(values) / bins]
    light = values[~np.isin(values, heavy)]
    places = np.arange(1, bins) * len(light) // bins
    quantiles = np.sort(light)[np.unique(places)] if len(light) else light
    with np.errstate(over="ignore"):
        edges = np.unique(np.concatenate([quantiles, heavy, np.nextafter(heavy, np.inf)]))
    return edges[np.isfinite(edges)]


def column_numbers(column: pd.Series) -> FloatArray:
    """Return a column as floats, shape (n,); null is NaN.

    Raises
    ------
    DataError
        When it holds what is no number; times are none.
    """
    place = f"Column '{column.name}'"
    if column.dtype.kind in "mM":  # they would be counted in a unit that differs from file to file
        raise DataError(f"{place} holds times, not numbers. Derive numbers from them to use them.")
    try:
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    except (ValueError, TypeError) as error:
        remedy = "Correct the data, or list the column as categorical."
        raise DataError(f"{place} should hold numbers and does not: {error}. {remedy}") from None


def _numeric_grid(column: pd.Series) -> ColumnGrid:
    values = column_numbers(column)
    edges = quantile_edges(values[np.isfinite(values)])
    grid = ColumnGrid(kind="numeric", edges=tuple(edges.tolist()))
    return ColumnGrid(kind="numeric", edges=grid.edges, cuts=_cuts(grid, column))


def _category_grid(column: pd.Series, *, hashed: bool) -> ColumnGrid:
    counts = tokens(column, hashed=hashed).value_counts()
    names = sorted(counts.index, key=lambda name: (-int(counts[name]), name))
    own, rest = names[:MOST_CATEGORIES], names[MOST_CATEGORIES : MOST_CATEGORIES + MOST_POOLED]
    cuts = tuple(range(min(len(own), COARSE_BINS - 1) + 1))
    return ColumnGrid(kind="categorical", categories=tuple(own), pooled=tuple(rest), cuts=cuts, hashed=hashed)


def _cuts(grid: ColumnGrid, column: pd.Series) -> tuple[int, ...]:
    """Cut the fine bins into coarse groups of about equal reference mass."""
    codes = grid.codes(column)
    mass = np.bincount(codes[codes >= 0], minlength=grid.bins).cumsum()
    if not mass[-1]:
        return (0,)
    wanted = mass[-1] * np.arange(1, COARSE_BINS) / COARSE_BINS
    firsts = np.searchsorted(mass, wanted, side="left") + 1
    return tuple(np.unique(np.r_[0, firsts[firsts < grid.bins]]).tolist())
