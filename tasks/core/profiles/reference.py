"""The reference: profiles frozen with a version, so that later decisions never need its training rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from evergreen.tasks.core.arrays import IntArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.profiles.grid import ColumnGrid, Grid, make_grid
from evergreen.tasks.core.profiles.profile import ColumnProfile, Profile, measure_profile
from evergreen.tasks.core.training.features import feature_frame, outcomes

# Whether a model's grid still fits a new reference: while it does, its profiles of all times can be added.


MOST_IN_A_CELL = 0.02
"""Largest share of a new reference that one cell may hold, unless the cell is a single value or category."""


class GridDecision(NamedTuple):
    """Whether an earlier grid is reused, and the reason."""

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


def keep_grid(old: Grid, reference: Profile) -> GridDecision:
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
        return GridDecision(False, changed)
    if reference.grid.id != old.id:
        raise InputError(
            f"The profile was counted over grid {reference.grid.id}, not over {old.id}. Measure it over the old grid."
        )
    for name, column in reference.columns.items():
        cell, share = _fullest(column, old.columns[name])
        if share > MOST_IN_A_CELL:
            where = _cell_name(cell, old.columns[name])
            why = f"{100 * share:.1f} % of column '{name}' fall into one cell ({where})"
            return GridDecision(False, why)
    return GridDecision(True, "the schema is the same and no cell holds more than 2 % of the rows")


def _fullest(column: ColumnProfile, grid: ColumnGrid) -> tuple[int, float]:
    """Return the fullest cell that could be split, and its share of the rows that are in a bin."""
    numeric = grid.kind == "numeric"
    atoms = grid.single_value_bins if numeric else np.arange(grid.bins) < grid.bins - 1
    counts = np.where(atoms, 0, column.counts_array)
    cell = int(counts.argmax())
    return cell, float(counts[cell] / max(column.finite, 1))


def _cell_name(cell: int, grid: ColumnGrid) -> str:
    if grid.kind == "categorical":
        return "unseen categories"
    low = f"from {grid.edges[cell - 1]:g}" if cell else ""
    high = f"below {grid.edges[cell]:g}" if cell < len(grid.edges) else ""
    return f"{low} {high}".strip() or "all values"


OUTCOME, SCORE, DECISION, LOSS = "@outcome", "@score", "@decision", "@loss"
"""Names of the columns that are no features; no column of a data set can be mistaken for them in a report."""


class FittedProfile(NamedTuple):
    """A profile over the grid that fits it, an earlier or a new one, and the reason."""

    profile: Profile
    reason: str


def reference_profiles(
    rows: Rows,
    scored: Scored,
    *,
    schema: Schema,
    config: ModelConfig,
    score_source: str,
    earlier: Grid | None = None,
) -> dict[str, Any]:
    """Return the reference of a version in its JSON form.

    Parameters
    ----------
    rows : Rows
        Training rows: features and outcome are counted on them.
    scored : Scored
        Answers on rows the model was not trained on: score and decision are counted on them.
    score_source : str
        Where ``scored`` comes from, e.g. ``out_of_fold``.
    earlier : Grid, optional
        The inputs' grid of an earlier version, kept while it fits (`fit_inputs`).

    Returns
    -------
    dict
        ``inputs`` (features and ``@outcome``, jointly) and ``answers`` (``@score…``, ``@decision``,
        ``@outcome``): two profiles, each over a grid of its own, since their rows differ; ``grid`` says why the
        inputs' grid is what it is.
    """
    frame, classes = answer_frame(scored, config=config), frozenset({DECISION, OUTCOME})
    hashed = classes if config.data.target in config.data.private else frozenset()
    categorical = classes & frozenset(frame.columns) if _has_classes(config) else frozenset()
    answers = make_grid(frame, categorical=categorical, private=hashed, outcome=OUTCOME)
    inputs = fit_inputs(rows, schema=schema, config=config, earlier=earlier)
    return {
        "inputs": inputs.profile.to_dict(),
        "answers": measure_profile(frame, answers).to_dict(),
        "score_source": score_source,
        "grid": inputs.reason,
    }


def fit_inputs(
    rows: Rows, *, schema: Schema, config: ModelConfig, earlier: Grid | None = None
) -> FittedProfile:
    """Return the profile of features and ``@outcome``: over an earlier grid while that fits, else over a fresh one.

    A grid belongs to the model: while versions share it, their windows' profiles add up. It fits while the schema is
    the same, no cell holds more than 2 % of a column's rows (`evergreen.tasks.core.profiles.reference.keep_grid`),
    and no class is
    new.
    """
    frame = feature_frame(rows.frame, schema).assign(**{OUTCOME: outcomes(rows.frame, schema, config)})
    fresh = _input_grid(frame, schema=schema, config=config)
    if earlier is None:
        return FittedProfile(measure_profile(frame, fresh), "laid over these rows: the model had none")
    reason = schema_change(earlier, fresh)
    if not reason:
        profile = measure_profile(frame, earlier)
        decision = keep_grid(earlier, profile)
        # the last count of a categorical outcome is that of unknown classes
        is_new = earlier.columns[OUTCOME].kind == "categorical" and profile.columns[OUTCOME].counts[-1] > 0
        if decision.keep and not is_new:
            return FittedProfile(profile, f"kept from the version before: {decision.reason}")
        reason = "the outcome has a new class" if decision.keep else decision.reason
    return FittedProfile(measure_profile(frame, fresh), f"laid anew: {reason}")


def answer_frame(scored: Scored, *, config: ModelConfig) -> pd.DataFrame:
    """Return score, decision and outcome as columns: ``@score``, or one ``@score:<class>`` a class.

    Of a private target the classes are numbered.
    """
    hidden = config.data.target in config.data.private
    score = scored.require("score")
    columns: dict[str, Any] = {OUTCOME: scored.y}
    if score.ndim == 1:
        columns[SCORE] = score.astype(np.float64)
    else:
        names = range(1, score.shape[1] + 1) if hidden else scored.classes
        columns |= {f"{SCORE}:{name}": score[:, place] for place, name in enumerate(names)}
    if scored.label is not None:
        columns[DECISION] = scored.label
    return pd.DataFrame(columns)


def _has_classes(config: ModelConfig) -> bool:
    return config.problem in ("binary", "multiclass")


def _input_grid(frame: pd.DataFrame, *, schema: Schema, config: ModelConfig) -> Grid:
    private = frozenset(config.data.private)
    return make_grid(
        frame,
        categorical=frozenset([*schema.categorical, *([OUTCOME] if _has_classes(config) else [])]),
        private=private | ({OUTCOME} if config.data.target in private else frozenset()),
        outcome=OUTCOME,
    )


# Profiles of many windows of the same rows at once: each value is coded once, whatever the number of windows.


_SPECIAL = 3  # codes -3, -2, -1: -inf, +inf, null


def count_windows(frame: pd.DataFrame, grid: Grid, *, window: IntArray, many: int) -> list[Profile]:
    """Count the rows of each window over a grid; counts and joint tables alone, without moments and extremes.

    Parameters
    ----------
    frame : DataFrame, shape (n, p)
        Must hold the grid's columns.
    grid : Grid
        What to count over.
    window : array of int, shape (n,)
        Window of each row, 0 … many - 1; -1: none.
    many : int
        Number of windows.

    See Also
    --------
    evergreen.tasks.core.profiles.profile.measure_profile : the whole profile, of one window.
    """
    inside = np.flatnonzero(window >= 0)
    of = window[inside]
    frame = frame.iloc[inside]
    outcome = None if grid.outcome is None else grid.columns[grid.outcome]
    groups = None if outcome is None else outcome.coarse[outcome.codes(frame[grid.outcome])]
    across = 0 if outcome is None else len(outcome.cuts) + 1
    by_column = [_columns(frame[name], one, of, many, across, groups) for name, one in grid.columns.items()]
    windows = [[column[place] for column in by_column] for place in range(many)]
    return [Profile(grid=grid, columns=dict(zip(grid.columns, one, strict=True))) for one in windows]


def _columns(
    column: pd.Series, grid: ColumnGrid, of: IntArray, many: int, across: int, groups: IntArray | None
) -> list[ColumnProfile]:
    """Return the column's profile in each window; ``across`` is the number of coarse groups of the outcome."""
    codes = grid.codes(column)
    counts = _table(of, codes + _SPECIAL, many, grid.bins + _SPECIAL)
    if groups is None:
        joint = np.zeros((many, 0, 0), dtype=np.int64)
    else:
        up = len(grid.cuts) + 1
        joint = _table(of, grid.coarse[codes] * across + groups, many, up * across).reshape(many, up, across)
    return [_profile(own, table) for own, table in zip(counts, joint, strict=True)]


def _profile(counts: IntArray, joint: IntArray) -> ColumnProfile:
    minus, plus, nulls, *bins = counts.tolist()
    special = {"nulls": nulls, "plus_inf": plus, "minus_inf": minus}
    table = tuple(map(tuple, joint.tolist()))
    return ColumnProfile(n=sum(counts.tolist()), counts=tuple(bins), joint=table, **special)


def _table(of: IntArray, codes: IntArray, many: int, width: int) -> IntArray:
    return np.bincount(of * width + codes, minlength=many * width).reshape(many, width)
