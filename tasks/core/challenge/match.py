"""The match: two models on the same rows, none of which either learned from or was tuned on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tasks.core.config import ModelConfig
from tasks.core.data.rows import Rows
from tasks.core.data.schema import Schema
from tasks.core.data.split_plan import SplitPlan
from tasks.core.errors import NotLearnable
from tasks.core.metrics.registry import Metric
from tasks.core.metrics.scored import BoolArray, IntArray, Scored


@dataclass(frozen=True, kw_only=True, eq=False)
class Match:
    """What both sides said about the same rows.

    Attributes
    ----------
    metric : Metric
        The metric that decides.
    champion, challenger : Scored
        Answers of the defender (or the naive baseline) and of the challenger, shape (n,) each.
    blocks : array of int, shape (n,), or None
        Block of each row; None where rows are declared independent.
    defender : int | None
        Version whose answers ``champion`` holds; None for the naive baseline.
    fingerprint : str
        SHA-256 of the rows.
    window : tuple of str, or None
        First and last moment of the rows, as text.
    """

    metric: Metric
    champion: Scored
    challenger: Scored
    blocks: IntArray | None
    defender: int | None
    fingerprint: str
    window: tuple[str, str] | None


@dataclass(frozen=True, kw_only=True)
class Ground:
    """The rows a match is held on, and the version that defends on them."""

    defender: int | None
    usable: BoolArray


def choose_ground(
    challenger: BoolArray, defenders: Mapping[int, BoolArray], *, model: str, window: str
) -> Ground:
    """Choose the defender and the rows that neither side learned from.

    The champion itself defends wherever at least half of the rows are new to it. Its twin (the judged version
    it was refitted from) stands in where that leaves more rows.

    Parameters
    ----------
    challenger : array of bool, shape (n,)
        Rows the challenger has not learned from.
    defenders : mapping of int to array of bool, shape (n,)
        The same for each version that may defend, the champion first; empty on an empty throne.
    model, window : str
        For messages.

    Raises
    ------
    NotLearnable
        ``no_unseen_rows`` when nothing is left.

    Examples
    --------
    >>> new, old = np.array([True, True]), np.array([False, False])
    >>> choose_ground(new, {5: old, 4: new}, model="fraud", window="7d").defender
    4
    """
    if not defenders:
        return _checked(Ground(defender=None, usable=challenger), model, window)
    shared = {version: challenger & unseen for version, unseen in defenders.items()}
    champion = next(iter(shared))
    most = max(shared, key=lambda version: int(shared[version].sum()))
    enough = int(shared[champion].sum()) * 2 >= int(shared[most].sum())
    defender = champion if enough and shared[champion].any() else most
    return _checked(Ground(defender=defender, usable=shared[defender]), model, window)


def _checked(ground: Ground, model: str, window: str) -> Ground:
    if ground.usable.any():
        return ground
    raise NotLearnable(
        "no_unseen_rows",
        f"No row of the validation window ({window}) is new to both champion and challenger of '{model}'. "
        "Wait for newer labelled rows, or train a challenger that leaves them out.",
        observed=0,
        limit=1,
        n=len(ground.usable),
    )


def check_same_clock(plan: SplitPlan, config: ModelConfig, *, version: int) -> None:
    """Refuse a version whose split lies on another clock: its end says nothing about the rows of now.

    Raises
    ------
    NotLearnable
        ``clock_changed``.
    """
    then, now = (plan.clock, plan.time), (config.data.clock, config.data.time)
    if plan.method != "time" or then == now:
        return
    described = [f"{clock} in {time or 'file order'}" for clock, time in (then, now)]
    raise NotLearnable(
        "clock_changed",
        f"Version {version} was trained by another clock ({described[0]}) than the configuration names now "
        f"({described[1]}), so it cannot be proved which rows it has not learned from. Restore data.clock and "
        "data.time, or train a new version and promote it by hand.",
        observed=described[1],
        limit=described[0],
    )


def depends(config: ModelConfig, *, timed: bool) -> bool:
    """Return whether rows of this model have to be blocked.

    ``auto`` blocks wherever there is a clock, a group or an entity.
    """
    if config.evaluation.dependence != "auto":
        return config.evaluation.dependence == "blocked"
    return timed or config.data.entity is not None or config.data.group is not None


def unit_keys(rows: Rows, schema: Schema) -> tuple[object | None, object | None]:
    """Return the columns of entity and group of the rows (None where there is none)."""
    columns = rows.frame.columns
    entity = rows.frame[schema.entity].to_numpy() if schema.entity in columns else None
    group = rows.frame[schema.group].to_numpy() if schema.group in columns else None
    return entity, group


def labelled(rows: Rows, target: str) -> Rows:
    """Return the rows whose outcome is known."""
    return rows.take(np.asarray(rows.frame[target].notna()))
