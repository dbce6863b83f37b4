"""Propose a whole configuration from what the columns hold: roles, kinds, what to leave out, windows, candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from tasks.core.data.inspect_columns import ColumnFacts
from tasks.core.data.kinds import Kind
from tasks.core.data.rows import Rows
from tasks.core.leaks import Suspect
from tasks.core.propose.candidates import METRICS, propose_candidates
from tasks.core.propose.clock import FoundClock
from tasks.core.propose.freshness import Freshness, measure_freshness
from tasks.core.propose.pace import propose_pace, propose_succession
from tasks.core.propose.spans import Entry, resemblance
from tasks.core.propose.windows import propose_windows
from tasks.core.verdict import Reason

RARE = 0.05
"""A class rarer than this is pointed out."""


@dataclass(frozen=True, kw_only=True)
class Material:
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
    entries: tuple[Entry, ...]
    candidates: list[dict]
    warnings: tuple[Reason, ...]


def propose(material: Material) -> Proposal:
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
            Entry(
                key="evaluation.metric", value=METRICS[material.problem], why="the usual one for this problem"
            ),
            *_windows(material, numeric=numeric, categorical=categorical),
        ),
        candidates=propose_candidates(material.problem, rows=material.rows),
        warnings=(
            *_doubts(material),
            *_rare_class(material),
            *_no_features(used),
        ),
    )


def list_excluded(material: Material) -> dict[str, str]:
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


def _roles(material: Material) -> tuple[str | None, ...]:
    return (material.target, material.group, material.clock.column if material.clock else None)


def _why_time(name: str, material: Material) -> str:
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
    material: Material, *, numeric: tuple[str, ...], categorical: tuple[str, ...]
) -> tuple[Entry, ...]:
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
    material: Material, clock: str, *, numeric: tuple[str, ...], categorical: tuple[str, ...], gap: float
) -> Freshness | None:
    past = material.history
    if past is None or past.positions is None:
        return None
    return measure_freshness(
        past.frame, past.positions, problem=material.problem, target=material.target, numeric=numeric,
        categorical=categorical, clock=clock, group=material.group, gap=gap,
    )  # fmt: skip


def _doubts(material: Material) -> list[Reason]:
    return [
        Reason(
            code="suspected_leak",
            message=f"Column '{s.column}' {s.why}. It is still used: exclude it if it is known only afterwards.",
            observed=round(s.share, 4),
        )
        for s in material.suspects
        if not s.certain
    ]


def _rare_class(material: Material) -> list[Reason]:
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
