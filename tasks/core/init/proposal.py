"""Propose a whole configuration from what the columns hold: roles, kinds, what to leave out, windows, candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from evergreen.tasks.core.data.columns import ColumnFacts, Kind, inspect_columns, is_whole
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.errors import DataError, NotLearnable, unknown_name
from evergreen.tasks.core.init.clock import ClockColumn, certain_clock, read_clock, read_times
from evergreen.tasks.core.init.freshness import measure_freshness, propose_pace, propose_succession
from evergreen.tasks.core.init.leak_features import Suspect, gather_search_data
from evergreen.tasks.core.init.leaks import find_leaks
from evergreen.tasks.core.init.windows import ProposedKey, propose_windows, resemblance
from evergreen.tasks.core.metrics.registry import default_metric
from evergreen.tasks.core.verdict import Reason

# The problem a target poses, and a few fast candidates for it.


MOST_CLASSES = 50
"""More classes than this are no classes."""
WHOLE_CLASSES = 10
"""Whole numbers of at most so many values are read as classes."""

FEW_ROWS = 20_000
"""Most rows that a forest is proposed for."""
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
    labelled = target.dropna()
    distinct = int(labelled.nunique())
    if distinct == 0:
        message = f"Target column '{target.name}' holds no value at all. Name another target."
        raise NotLearnable("no_labels", message, observed=0.0)
    if distinct == 1:
        message = (
            f"Target column '{target.name}' holds one value only ({labelled.iloc[0]!s:.40}); two are needed to learn. "
            "Name another target, or bring more rows."
        )
        raise NotLearnable("one_class", message, observed=1.0, limit=2.0, n=len(labelled))
    numbers = pd.api.types.is_numeric_dtype(labelled.dtype) and not pd.api.types.is_bool_dtype(labelled.dtype)
    if group is not None:
        return _ranking(target, numbers=numbers, group=group, distinct=distinct)
    if distinct == 2:
        return "binary", "the target has two values"
    if not numbers:
        return _classes(target, distinct, len(labelled))
    if distinct <= WHOLE_CLASSES and is_whole(labelled.to_numpy(dtype=float)):
        why = f"the target has {distinct} whole values; write regression if they measure a quantity"
        return "multiclass", why
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
    classes = problem in ("binary", "multiclass")
    kind = "Classifier" if classes else "Regressor"
    candidates = [
        ("logistic", "linear_model.LogisticRegression", {"max_iter": 500})
        if classes
        else ("ridge", "linear_model.Ridge", {"alpha": 1.0}),
        ("boosted_trees", f"ensemble.HistGradientBoosting{kind}", _TREES),
        ("forest", f"ensemble.RandomForest{kind}", _FOREST),
    ]
    return [
        {"name": name, "estimator": f"sklearn.{path}", "params": dict(params)}
        for name, path, params in candidates[: 3 if rows <= FEW_ROWS else 2]
    ]


RARE = 0.05
"""A class rarer than this is pointed out."""


@dataclass(frozen=True, kw_only=True)
class ProposalData:
    """What a proposal is made from: a sample in clock order, facts about its columns, and the number of all rows."""

    sample: pd.DataFrame
    """Rows that were inspected."""
    facts: Mapping[str, ColumnFacts]
    """By column."""
    suspects: Sequence[Suspect]
    """Columns that give the target away."""
    problem: str
    target: str
    group: str | None
    """The problem and its columns; None without a ranking group."""
    clock: ClockColumn | None
    """Of the sample; None without one."""
    positions: np.ndarray | None
    """(rows,), ascending positions of all rows; None without a clock."""
    groups: np.ndarray | None
    """(rows,), group codes of all rows, in the same order; None without a ranking group."""
    rows: int
    """Number of all rows."""
    times: Mapping[str, ClockColumn] = field(default_factory=dict)
    """Columns of the sample that can be read as times."""
    history: Rows | None = None
    """Rows evenly over all of history, groups whole; None without a clock."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A configuration with its reasons."""

    problem: str
    """Kind of problem."""
    exclude: dict[str, str]
    """Columns to leave out, each with the reason."""
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    """Features by kind."""
    entries: tuple[ProposedKey, ...]
    """Further keys (windows, metric), each with why."""
    candidates: list[dict]
    """Recipes that compete."""
    warnings: tuple[Reason, ...]
    """What a person should check; nothing was decided by it."""


def propose(data: ProposalData) -> Proposal:
    """Propose a configuration; it runs as it stands."""
    exclude = list_excluded(data)
    used = [name for name in data.facts if name not in exclude and name not in _roles(data)]
    kinds = data.facts
    numeric = tuple(name for name in used if kinds[name].kind is Kind.NUMERIC)
    categorical = tuple(name for name in used if kinds[name].kind is not Kind.NUMERIC)
    return Proposal(
        problem=data.problem,
        exclude=exclude,
        numeric=numeric,
        categorical=categorical,
        entries=(
            ProposedKey("evaluation.metric", default_metric(data.problem), "the usual one for this problem"),
            *_windows(data, numeric=numeric, categorical=categorical),
        ),
        candidates=propose_candidates(data.problem, rows=data.rows),
        warnings=tuple(_warnings(data, used)),
    )


def list_excluded(data: ProposalData) -> dict[str, str]:
    """Return the columns that are no features, leaks first, each with the reason."""
    excluded = {suspect.column: f"leak: {suspect.why}" for suspect in data.suspects if suspect.certain}
    for name, facts in data.facts.items():
        if facts.useless:
            excluded.setdefault(name, facts.useless)
    for name, facts in data.facts.items():
        if facts.kind is Kind.DATETIME:
            excluded.setdefault(name, _why_time(name, data))
    return {name: why for name, why in excluded.items() if name not in _roles(data)}


def _roles(data: ProposalData) -> tuple[str | None, ...]:
    return (data.target, data.group, data.clock.column if data.clock else None)


def _why_time(name: str, data: ProposalData) -> str:
    if data.clock is None:
        return "a timestamp; name it with --time if rows follow it"
    if name in data.times:
        elapsed = data.times[name].positions - data.clock.positions
        elapsed = elapsed[np.isfinite(elapsed)]
        if len(elapsed) and np.mean(elapsed > 0) > 0.95 and np.ptp(elapsed) > 0:
            after = f"a timestamp after the clock's in {np.mean(elapsed > 0):.0%} of its rows"
            return f"{after}: written after the event"
    return "a timestamp beside the clock"


def _windows(
    data: ProposalData, *, numeric: tuple[str, ...], categorical: tuple[str, ...]
) -> tuple[ProposedKey, ...]:
    clock, history, freshness = data.clock, data.history, None
    kind = clock.clock if clock else "timestamp"
    lasting = 0.0
    if clock is not None and data.problem == "regression":
        values = data.sample[data.target].to_numpy(dtype=float, na_value=np.nan)
        lasting = resemblance(values, clock.positions)
    windows = propose_windows(data.positions, clock=kind, rows=data.rows, group=data.groups, lasting=lasting)
    if history is not None and history.positions is not None:
        roles: dict[str, Any] = {"problem": data.problem, "target": data.target, "group": data.group}
        roles |= {"numeric": numeric, "categorical": categorical}
        freshness = measure_freshness(history.frame, history.positions, **roles, clock=kind, gap=lasting)
    pace = propose_pace(windows, data.positions, clock=kind)
    return (*windows, *pace, *propose_succession(freshness))


def _warnings(data: ProposalData, features: Sequence[str]) -> list[Reason]:
    warnings = []
    for suspect in (one for one in data.suspects if not one.certain):
        used = "It is still used: exclude it if it is known only afterwards."
        message = f"Column '{suspect.column}' {suspect.why}. {used}"
        warnings.append(Reason(code="suspected_leak", message=message, observed=round(suspect.share, 4)))
    shares = data.sample[data.target].value_counts(normalize=True)
    if data.problem == "binary" and shares.min() < RARE:
        rarest = f"Class {shares.idxmin()!r} makes up {shares.min():.2%} of rows"
        message = f"{rarest}; evaluation.metric: average_precision looks closer at it."
        warnings.append(Reason(code="rare_class", message=message, observed=float(shares.min()), limit=RARE))
    if not features:
        message = "No column is left to learn from; look at data.exclude."
        warnings.append(Reason(code="no_usable_feature", message=message))
    return warnings


# Survey rows that are not described yet: clock, problem, columns and leaks, then a proposal.


SAMPLE_ROWS = 20_000
"""Rows that columns and leaks are judged on."""
HISTORY_ROWS = 60_000
"""Rows over all of history that freshness is measured on."""
STRETCHES = 20
"""Contiguous stretches of history that the sample is drawn from, so that neighbours stay neighbours."""


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
    for (role, name), (other, same) in combinations(given.items(), 2):
        if name == same:
            raise DataError(f"Column '{name}' is named as --{role} and as --{other}. Name two columns.")


def survey(
    frame: pd.DataFrame, *, target: str, time: str | None, group: str | None, rng: np.random.Generator
) -> tuple[ProposalData, str]:
    """Inspect all rows and return what a proposal is made from, and why the problem is of its kind.

    Parameters
    ----------
    frame : pandas.DataFrame
        All rows as the source holds them.
    target, time, group : str or None
        Columns by role; without ``time`` the clock is the one column that is certainly one.
    rng : numpy.random.Generator
        Draws rows where there is no clock.

    Raises
    ------
    DataError
        When the target cannot be learned from, or the named clock does not read as one.
    """
    problem, why = guess_problem(frame[target], group=group)
    clock = read_clock(frame[time]) if time else certain_clock(read_times(frame, skip=(target, group or "")))
    has_target = frame[target].notna()
    labelled = np.flatnonzero(has_target & frame[group].notna() if group else has_target)
    order = labelled if clock is None else labelled[np.argsort(clock.positions[labelled], kind="stable")]
    chosen = order[choose_rows(len(order), timed=clock is not None, rng=rng)]
    sample = frame.iloc[chosen].reset_index(drop=True)
    sampled = None if clock is None else replace(clock, positions=clock.positions[chosen])
    times = read_times(sample, skip=(target, group or ""))
    if sampled is not None:
        times |= {sampled.column: sampled}
    positions = sampled.positions if sampled else None
    facts = inspect_columns(sample, positions=positions, times=times, whole=frame)
    roles: dict[str, Any] = {"problem": problem, "target": target, "group": group}
    time, read = sampled.column if sampled else None, {name: one.positions for name, one in times.items()}
    search = gather_search_data(sample, facts, **roles, time=time, times=read, rng=rng)
    groups = pd.factorize(frame[group].iloc[order])[0] if group else None
    data = ProposalData(
        sample=sample,
        facts=facts,
        suspects=find_leaks(search),
        **roles,
        clock=sampled,
        positions=None if clock is None else clock.positions[order],
        groups=groups,
        rows=len(order),
        times=times,
        history=None if clock is None else _history(frame, clock, order, groups),
    )
    return data, why


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


def _history(frame: pd.DataFrame, clock: ClockColumn, order: np.ndarray, groups: np.ndarray | None) -> Rows:
    chosen = order[thin_history(len(order), groups=groups)]
    return Rows(frame.iloc[chosen].reset_index(drop=True), clock.positions[chosen])
