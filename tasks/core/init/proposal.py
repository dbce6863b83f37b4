"""Propose a whole configuration from what the columns hold: roles, kinds, what to leave out, windows, candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from evergreen.tasks.core.data.columns import ColumnFacts, Kind, inspect_columns, is_whole
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.errors import DataError, NotLearnable, unknown_name
from evergreen.tasks.core.init.clock import FoundClock, certain_clock, read_clock, read_times
from evergreen.tasks.core.init.freshness import Freshness, measure_freshness, propose_pace, propose_succession
from evergreen.tasks.core.init.leak_features import Suspect, gather_search_data
from evergreen.tasks.core.init.leaks import find_leaks
from evergreen.tasks.core.init.windows import ProposedKey, propose_windows, resemblance
from evergreen.tasks.core.verdict import Reason

# The problem a target poses, and a few fast candidates for it.


MOST_CLASSES = 50
"""More classes than this are no classes."""
WHOLE_CLASSES = 10
"""Whole numbers of at most so many values are read as classes."""
METRICS = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse", "ranking": "ndcg_at_3"}
"""Metric that decides, by problem."""

_TREES = {"max_iter": 150, "learning_rate": 0.08, "max_leaf_nodes": 31, "min_samples_leaf": 20}
_FOREST = {"n_estimators": 80, "max_depth": 12, "min_samples_leaf": 5, "max_features": "sqrt"}


def guess_problem(target: pd.Series, *, group: str | None = None) -> tuple[str, str]:
    """Return the kind of problem and why.

    Raises
    ------
    DataError
        When the target holds text of too many values to be classes, or text where a ranking needs numbers.
    NotLearnable
        ``no_labels`` when the target is empty, ``one_class`` when it holds one value.
    """
    known = target.dropna()
    distinct = int(known.nunique())
    if distinct == 0:
        raise NotLearnable(
            "no_labels",
            f"Target column '{target.name}' holds no value at all. Name another target.",
            observed=0.0,
        )
    if distinct == 1:
        raise NotLearnable(
            "one_class",
            f"Target column '{target.name}' holds one value only ({known.iloc[0]!s:.40}); two are needed to learn. "
            "Name another target, or bring more rows.",
            observed=1.0,
            limit=2.0,
            n=len(known),
        )
    numbers = pd.api.types.is_numeric_dtype(known.dtype) and not pd.api.types.is_bool_dtype(known.dtype)
    if group is not None:
        return _ranking(target, numbers=numbers, group=group, distinct=distinct)
    if distinct == 2:
        return "binary", "the target has two values"
    if not numbers:
        return _classes(target, distinct, len(known))
    if distinct <= WHOLE_CLASSES and is_whole(known.to_numpy(dtype=float)):
        return (
            "multiclass",
            f"the target has {distinct} whole values; write regression if they measure a quantity",
        )
    return "regression", f"the target is a number of {distinct:,} values"


def _ranking(target: pd.Series, *, numbers: bool, group: str, distinct: int) -> tuple[str, str]:
    if not numbers:
        raise DataError(
            f"Target column '{target.name}' holds text, but --group '{group}' asks for a ranking, which needs "
            "numbers (higher is better). Name a numeric target, or leave out --group."
        )
    return "ranking", f"rows are ordered within '{group}' by a target of {distinct} values (higher is better)"


def _classes(target: pd.Series, distinct: int, rows: int) -> tuple[str, str]:
    if distinct > MOST_CLASSES or distinct > 0.2 * rows:
        raise DataError(
            f"Target column '{target.name}' holds text of {distinct} different values in {rows} rows: too many "
            f"to be classes (at most {MOST_CLASSES}). Name another target, or group its values first."
        )
    return "multiclass", f"the target has {distinct} classes"


def propose_candidates(problem: str, *, rows: int) -> list[dict[str, Any]]:
    """Return candidates that train within seconds, the simplest first; the forest only where rows are few."""
    few = rows <= 20_000
    forest = {"name": "forest", "params": dict(_FOREST)}
    trees = {"name": "boosted_trees", "params": dict(_TREES)}
    if problem in ("binary", "multiclass"):
        linear = {"name": "logistic", "params": {"max_iter": 500}}
        paths = (
            "sklearn.linear_model.LogisticRegression",
            "sklearn.ensemble.HistGradientBoostingClassifier",
            "sklearn.ensemble.RandomForestClassifier",
        )
    else:
        linear = {"name": "ridge", "params": {"alpha": 1.0}}
        paths = (
            "sklearn.linear_model.Ridge",
            "sklearn.ensemble.HistGradientBoostingRegressor",
            "sklearn.ensemble.RandomForestRegressor",
        )
    chosen = [linear, trees, *([forest] if few else [])]
    return [
        {"name": one["name"], "estimator": path, "params": one["params"]}
        for one, path in zip(chosen, paths, strict=False)
    ]


RARE = 0.05
"""A class rarer than this is pointed out."""


@dataclass(frozen=True, kw_only=True)
class ProposalData:
    """All that a proposal is made of: the sample in clock order, what was found in it, and the whole's size.

    Attributes
    ----------
    sample : pandas.DataFrame
        Rows that were looked at.
    facts : mapping of str to ColumnFacts
        One per column.
    suspects : sequence of Suspect
        Columns that give the target away.
    problem, target, group : str
        The problem and its columns.
    clock : FoundClock or None
        The clock of the sample.
    positions : ndarray of shape (rows,) or None
        Ascending positions of all rows.
    groups : ndarray of shape (rows,) or None
        Group codes of all rows, in the same order.
    rows : int
        Number of all rows.
    times : mapping of str to FoundClock
        Columns of the sample that read as times.
    history : Rows or None
        Rows evenly over all of history, groups whole; None without a clock.
    """

    sample: pd.DataFrame
    facts: Mapping[str, ColumnFacts]
    suspects: Sequence[Suspect]
    problem: str
    target: str
    group: str | None
    clock: FoundClock | None
    positions: np.ndarray | None
    groups: np.ndarray | None
    rows: int
    times: Mapping[str, FoundClock] = field(default_factory=dict)
    history: Rows | None = None


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A configuration with its reasons.

    Attributes
    ----------
    problem : str
        Kind of problem.
    exclude : dict of str to str
        Columns to leave out, each with the reason.
    numeric, categorical : tuple[str, ...]
        Features by kind.
    entries : tuple[Entry, ...]
        Further keys (windows, metric), each with why.
    candidates : list of dict
        Recipes that compete.
    warnings : tuple[Reason, ...]
        What a person should look at; nothing was decided by it.
    """

    problem: str
    exclude: dict[str, str]
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    entries: tuple[ProposedKey, ...]
    candidates: list[dict]
    warnings: tuple[Reason, ...]


def propose(material: ProposalData) -> Proposal:
    """Propose a configuration; it runs as it stands."""
    exclude = list_excluded(material)
    used = [name for name in material.facts if name not in exclude and name not in _roles(material)]
    kinds = material.facts
    numeric = tuple(name for name in used if kinds[name].kind is Kind.NUMERIC)
    categorical = tuple(name for name in used if kinds[name].kind is not Kind.NUMERIC)
    return Proposal(
        problem=material.problem,
        exclude=exclude,
        numeric=numeric,
        categorical=categorical,
        entries=(
            ProposedKey(
                key="evaluation.metric", value=METRICS[material.problem], why="the usual one for this problem"
            ),
            *_windows(material, numeric=numeric, categorical=categorical),
        ),
        candidates=propose_candidates(material.problem, rows=material.rows),
        warnings=(*_doubts(material), *_rare_class(material), *_no_features(used)),
    )


def list_excluded(material: ProposalData) -> dict[str, str]:
    """Return the columns that are no features, leaks first, each with the reason."""
    roles = _roles(material)
    leaks = {s.column: f"leak: {s.why}" for s in material.suspects if s.certain and s.column not in roles}
    useless = {
        n: f.useless for n, f in material.facts.items() if f.useless and n not in roles and n not in leaks
    }
    times = {
        n: _why_time(n, material)
        for n, f in material.facts.items()
        if f.kind is Kind.DATETIME and n not in roles and n not in leaks and n not in useless
    }
    return {**leaks, **useless, **times}


def _roles(material: ProposalData) -> tuple[str | None, ...]:
    return (material.target, material.group, material.clock.column if material.clock else None)


def _why_time(name: str, material: ProposalData) -> str:
    if material.clock is None:
        return "a timestamp; name it with --time if rows follow it"
    elapsed = (
        material.times[name].positions - material.clock.positions if name in material.times else np.array([])
    )
    elapsed = elapsed[np.isfinite(elapsed)]
    if len(elapsed) and np.mean(elapsed > 0) > 0.95 and np.ptp(elapsed) > 0:
        return f"a timestamp after the clock's in {np.mean(elapsed > 0):.0%} of its rows: written after the event"
    return "a timestamp beside the clock"


def _windows(
    material: ProposalData, *, numeric: tuple[str, ...], categorical: tuple[str, ...]
) -> tuple[ProposedKey, ...]:
    clock = material.clock
    kind = clock.clock if clock else "timestamp"
    lasting = 0.0
    if clock is not None and material.problem == "regression":
        values = material.sample[material.target].to_numpy(dtype=float, na_value=np.nan)
        lasting = resemblance(values, clock.positions)
    windows = propose_windows(
        material.positions, clock=kind, rows=material.rows, group=material.groups, lasting=lasting
    )
    pace = propose_pace(windows, material.positions, clock=kind)
    found = _freshness(material, kind, numeric=numeric, categorical=categorical, gap=lasting)
    return (*windows, *pace, *propose_succession(found))


def _freshness(
    material: ProposalData, clock: str, *, numeric: tuple[str, ...], categorical: tuple[str, ...], gap: float
) -> Freshness | None:
    past = material.history
    if past is None or past.positions is None:
        return None
    return measure_freshness(
        past.frame,
        past.positions,
        problem=material.problem,
        target=material.target,
        numeric=numeric,
        categorical=categorical,
        clock=clock,
        group=material.group,
        gap=gap,
    )


def _doubts(material: ProposalData) -> list[Reason]:
    return [
        Reason(
            code="suspected_leak",
            message=f"Column '{s.column}' {s.why}. It is still used: exclude it if it is known only afterwards.",
            observed=round(s.share, 4),
        )
        for s in material.suspects
        if not s.certain
    ]


def _rare_class(material: ProposalData) -> list[Reason]:
    if material.problem != "binary":
        return []
    shares = material.sample[material.target].value_counts(normalize=True)
    if shares.min() >= RARE:
        return []
    rarest = f"Class {shares.idxmin()!r} makes up {shares.min():.2%} of rows"
    message = f"{rarest}; evaluation.metric: average_precision looks closer at it."
    return [Reason(code="rare_class", message=message, observed=float(shares.min()), limit=RARE)]


def _no_features(used: Sequence[str]) -> list[Reason]:
    if used:
        return []
    return [
        Reason(code="no_usable_feature", message="No column is left to learn from; look at data.exclude.")
    ]


# Survey rows that nobody has described yet: clock, problem, columns and leaks, then a proposal.


SAMPLE_ROWS = 20_000
"""Rows that columns and leaks are judged on."""
HISTORY_ROWS = 60_000
"""Rows over all of history that freshness is measured on."""
STRETCHES = 20
"""Contiguous stretches of history the rows are taken from, so that neighbours stay neighbours."""


def check_roles(columns: list[str], *, origin: str, **roles: str | None) -> None:
    """Check that the columns a person named are there, each in one role.

    Raises
    ------
    UnknownName
        For a column that is not there, with the likeliest one.
    DataError
        When one column has two roles.
    """
    given = {role: name for role, name in roles.items() if name is not None}
    for role, name in given.items():
        if name not in columns:
            raise unknown_name("column", name, columns, where=f"--{role} for {origin}")
    for role, name in given.items():
        other = next((r for r, n in given.items() if n == name and r != role), None)
        if other:
            raise DataError(f"Column '{name}' is named as --{role} and as --{other}. Name two columns.")


def survey(
    frame: pd.DataFrame, *, target: str, time: str | None, group: str | None, rng: np.random.Generator
) -> tuple[ProposalData, str]:
    """Look at all rows and return what a proposal is made of, and why the problem is of its kind.

    Parameters
    ----------
    frame : pandas.DataFrame
        All rows as the source holds them.
    target, time, group : str or None
        Columns by role; without ``time`` a clock is taken where there can be no doubt.
    rng : numpy.random.Generator
        Draws rows where there is no clock.

    Raises
    ------
    DataError
        When the target cannot be learned from, or the named clock does not read as one.
    """
    problem, why = guess_problem(frame[target], group=group)
    clock = read_clock(frame[time]) if time else certain_clock(read_times(frame, skip=(target, group or "")))
    labelled = _labelled(frame, target, group)
    order = labelled if clock is None else labelled[np.argsort(clock.positions[labelled], kind="stable")]
    chosen = order[choose_rows(len(order), timed=clock is not None, rng=rng)]
    sample = frame.iloc[chosen].reset_index(drop=True)
    sampled = None if clock is None else _at(clock, chosen)
    times = read_times(sample, skip=(target, group or ""))
    if sampled is not None:
        times |= {sampled.column: sampled}
    facts = inspect_columns(
        sample, positions=sampled.positions if sampled else None, times=times, whole=frame
    )
    found = gather_search_data(
        sample,
        facts,
        problem=problem,
        target=target,
        group=group,
        time=sampled.column if sampled else None,
        times={name: found.positions for name, found in times.items()},
        rng=rng,
    )
    suspects: tuple[Suspect, ...] = find_leaks(found)
    material = ProposalData(
        sample=sample,
        facts=facts,
        suspects=suspects,
        problem=problem,
        target=target,
        group=group,
        clock=sampled,
        positions=None if clock is None else clock.positions[order],
        groups=pd.factorize(frame[group].iloc[order])[0] if group else None,
        rows=len(order),
        times=times,
        history=None if clock is None else _history(frame, clock, order, group=group),
    )
    return material, why


def choose_rows(n: int, *, timed: bool, rng: np.random.Generator) -> np.ndarray:
    """Return ascending places of the rows to look at: all, else stretches of time, else drawn ones.

    >>> len(choose_rows(50, timed=False, rng=np.random.default_rng(0)))
    50
    """
    if n <= SAMPLE_ROWS:
        return np.arange(n)
    if not timed:
        return np.sort(rng.choice(n, size=SAMPLE_ROWS, replace=False))
    size = SAMPLE_ROWS // STRETCHES
    starts = np.linspace(0, n - size, STRETCHES).astype(np.int64)
    return (starts[:, None] + np.arange(size)).ravel()


def thin_history(n: int, *, groups: np.ndarray | None = None) -> np.ndarray:
    """Return ascending places of at most 60,000 rows, evenly over n; groups stay whole.

    >>> len(thin_history(100)), len(thin_history(150_000)), len(thin_history(4, groups=np.array([0, 0, 1, 1])))
    (100, 50000, 4)
    """
    step = max(1, -(-n // HISTORY_ROWS))
    return np.flatnonzero((np.arange(n) if groups is None else groups) % step == 0)


def _history(frame: pd.DataFrame, clock: FoundClock, order: np.ndarray, *, group: str | None) -> Rows:
    groups = pd.factorize(frame[group].iloc[order])[0] if group else None
    chosen = order[thin_history(len(order), groups=groups)]
    return Rows(frame.iloc[chosen].reset_index(drop=True), clock.positions[chosen])


def _labelled(frame: pd.DataFrame, target: str, group: str | None) -> np.ndarray:
    known = frame[target].notna()
    return np.flatnonzero(known & frame[group].notna() if group else known)


def _at(clock: FoundClock, rows: np.ndarray) -> FoundClock:
    return FoundClock(
        column=clock.column, clock=clock.clock, time_format=clock.time_format, positions=clock.positions[rows]
    )
