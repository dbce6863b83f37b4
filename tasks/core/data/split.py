"""Divide a model's rows into training, holdout and evaluation; list the rows a version was not trained on."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.units import Span
from evergreen.tasks.core.data.rows import (
    Parts,
    Rows,
    SplitPlan,
    draft_plan,
    fingerprint,
    hash_rows,
    unit_interval,
)
from evergreen.tasks.core.data.split_time import plan_by_time, plan_refit
from evergreen.tasks.core.data.timeline import Timeline, make_timeline
from evergreen.tasks.core.errors import ConfigError, InputError, NotLearnable
from evergreen.tasks.core.verdict import Reason

_STRONG_DEPENDENCE = 0.5
"""Lag-1 rank correlation (agreement beyond chance) of targets from which neighbours give each other away."""
_FEWEST_PAIRS = 50


def plan_split(
    rows: Rows,
    config: ModelConfig,
    *,
    until: float | None = None,
    trained_to: float | None = None,
    refit: bool = False,
    change_at: float | None = None,
) -> SplitPlan:
    """Return how the rows are divided.

    Parameters
    ----------
    rows : Rows
        All history before ``until``; for a split by time the columns target, group and label time suffice.
    config : ModelConfig
        The model.
    until : float, optional
        As of this position: nothing at or after it, no label known after it.
    trained_to : float, optional
        A model trained elsewhere used all rows before this position.
    refit : bool
        Learn from all labelled rows, hold nothing out (rows in time order only).
    change_at : float, optional
        Position of the last detected change, where ``retraining.window: since_change`` begins. A random split takes
        all history whatever the window, and ignores it.

    Raises
    ------
    InputError
        When ``change_at`` is not finite.
    NotLearnable
        When a part would be empty (``no_labels``, ``too_few_rows``, ``nothing_unseen``), or when ``refit`` or
        ``trained_to`` is asked of rows without a clock (``no_clock``).
    ConfigError
        When a random split is forced on rows whose targets overlap.
    """
    if change_at is not None and not math.isfinite(change_at):
        raise InputError(
            f"The change at {change_at} is no point of the clock. Give a finite position, or leave it out."
        )
    draft = draft_plan(config, until=until)
    if draft.method == "random":
        return _plan_random(rows, draft, config, bare=not refit and trained_to is None)
    line = make_timeline(rows.frame, _positions(rows), draft)
    if refit:
        return plan_refit(line, draft, config, change_at)
    return plan_by_time(line, draft, config, trained_to, change_at)


def assign_parts(
    rows: Rows, plan: SplitPlan, *, drop_duplicates: bool = False, warnings: tuple[Reason, ...] = ()
) -> Parts:
    """Return the parts a plan makes of the rows; applied to the same rows it always gives the same parts.

    Raises
    ------
    NotLearnable
        When the rows lack what the plan divides by (``no_clock``, ``identity_unknown``).
    """
    repeated = rows.frame.duplicated().to_numpy() if len(rows) else np.zeros(0, dtype=bool)
    if plan.method == "time":
        line = make_timeline(rows.frame, _positions(rows), plan)
        masks, usable = _masks_by_time(line, plan), line.usable
    else:
        usable = _usable(rows, plan)
        masks = _masks_by_hash(rows.frame, plan, usable)
    if drop_duplicates:
        masks = tuple(mask & ~repeated for mask in masks)
    training, holdout, evaluation = (rows.take(mask) for mask in masks)
    duplicates, notes = int(repeated.sum()), plan.notes
    if duplicates:
        done = "They were dropped." if drop_duplicates else "Write data.drop_duplicates: true to drop them."
        message = f"{duplicates} of {len(rows)} rows repeat an earlier one in every column read. {done}"
        note = Reason(code="duplicate_rows", message=message, observed=float(duplicates), n=len(rows))
        notes = (*notes, note)
    return Parts(
        training=training,
        holdout=holdout,
        evaluation=evaluation,
        plan=plan,
        duplicates=duplicates,
        unlabelled=int((~usable).sum()),
        fingerprint=fingerprint(rows.frame.iloc[np.flatnonzero(np.any(masks, axis=0))]),
        warnings=warnings,
        notes=notes,
    )


def unseen_rows(plan: SplitPlan, rows: Rows) -> np.ndarray:
    """Return which rows the version trained by this plan was neither trained nor tuned on, bool of shape (n,).

    By time: rows (whole groups) from ``plan.unseen_from`` on. By identity: rows whose content falls into the
    evaluation part, in this snapshot and in every other.

    Raises
    ------
    NotLearnable
        ``no_clock`` or ``identity_unknown``: it cannot be proved, so nothing is compared.
    """
    if plan.method == "random":
        return place_randomly(rows.frame, plan) == 2
    positions = _positions(rows)
    if plan.unseen_from is None:
        return np.zeros(len(rows), dtype=bool)
    if plan.group is not None and plan.group in rows.frame.columns:
        positions = make_timeline(rows.frame, positions, SplitPlan(method="time", group=plan.group)).first
    return positions >= plan.unseen_from


def rows_needed_from(rows: Rows, plan: SplitPlan) -> float:
    """Return the earliest position the plan's parts need, whole groups included; -inf for a random split."""
    if plan.method == "random":
        return -np.inf
    line = make_timeline(rows.frame, _positions(rows), plan)
    needed = np.any(_masks_by_time(line, plan), axis=0)
    start = float(line.positions[needed].min()) if needed.any() else -np.inf
    touching = (line.first < start) & (line.last >= start)
    return float(line.first[touching].min()) if touching.any() else start


def _plan_random(rows: Rows, draft: SplitPlan, config: ModelConfig, *, bare: bool) -> SplitPlan:
    if not bare:
        message = "Rows without a clock cannot show what came after training. Name data.time."
        raise NotLearnable("no_clock", message)
    plan = plan_random(rows.frame, draft, config)
    if not _usable(rows, plan).any():
        message = f"No row has a known label in '{config.data.target}'. Add labelled rows."
        code = "no_labels" if len(rows) else "too_few_rows"
        raise NotLearnable(code, message, observed=0.0, n=len(rows))
    return plan


def _masks_by_time(line: Timeline, plan: SplitPlan) -> tuple[np.ndarray, ...]:
    """Return the three masks; an earlier part's row must be ready when the next part begins."""
    empty = np.zeros(len(line.positions), dtype=bool)
    begins = plan.evaluation.start if plan.evaluation else np.inf
    evaluation = line.inside(plan.evaluation) if plan.evaluation else empty
    holdout = line.inside(plan.holdout) & (line.ready <= begins) if plan.holdout else empty
    next_begins = plan.holdout.start if plan.holdout else begins
    training = line.inside(plan.training) & (line.ready <= next_begins) if plan.training else empty
    return training, holdout, evaluation


def _masks_by_hash(frame: pd.DataFrame, plan: SplitPlan, usable: np.ndarray) -> tuple[np.ndarray, ...]:
    place = place_randomly(frame, plan)
    training = usable & (place == 0)
    if plan.max_rows is not None and int(training.sum()) > plan.max_rows:
        training &= np.cumsum(training) > int(training.sum()) - plan.max_rows
    return training, usable & (place == 1), usable & (place == 2)


def _usable(rows: Rows, plan: SplitPlan) -> np.ndarray:
    """Return which rows have a label, known as of ``until`` where there is a clock."""
    if rows.positions is not None:
        return make_timeline(rows.frame, rows.positions, plan).usable
    return np.asarray(rows.frame[plan.target].notna()) if plan.target else np.ones(len(rows), dtype=bool)


def _positions(rows: Rows) -> np.ndarray:
    if rows.positions is None:
        message = "A split by time needs the clock its rows were divided by. Restore data.time."
        raise NotLearnable("no_clock", message)
    return rows.positions


# A random split: for ever the same, since a row's part is a pure function of its content and a seed.


def plan_random(frame: pd.DataFrame, draft: SplitPlan, config: ModelConfig) -> SplitPlan:
    """Return the plan of a random split: shares, seed and the columns that identify a row.

    Rows of one group, else of one entity, go together; else a row is identified by all its columns but the target,
    the time of its label, its weight and its value, so that it keeps its place when the label comes later.
    A value that is computed anew with another last digit makes another row of it: name ``data.entity`` then.

    Raises
    ------
    ConfigError
        When ``split.holdout`` is a span: rows without order have shares only.
    """
    holdout = config.split.holdout
    if isinstance(holdout, Span):
        raise ConfigError(
            f"split.holdout '{holdout}' is a span, but rows are split at random. Write a share such as 0.15."
        )
    data = config.data
    whole = data.group or data.entity
    late = {data.target, data.label_time, data.weight, data.value_column}
    identity = (whole,) if whole else tuple(sorted(name for name in frame.columns if name not in late))
    share = config.split.evaluation_share
    return replace(draft, identity=identity, holdout_share=holdout, evaluation_share=share)


def place_randomly(frame: pd.DataFrame, plan: SplitPlan) -> np.ndarray:
    """Return each row's part: 0 training, 1 holdout, 2 evaluation; int64 of shape (n,).

    Raises
    ------
    NotLearnable
        ``identity_unknown``: a column that identifies rows is missing, so nothing can be proved about them.
    """
    missing = [name for name in plan.identity if name not in frame.columns]
    if missing:
        message = (
            f"Column '{missing[0]}' identified the rows of a random split and is missing now, so it cannot be proved "
            "which rows a version was not trained on. Restore the column or train a new version."
        )
        raise NotLearnable("identity_unknown", message, observed=missing[0])
    place = unit_interval(hash_rows(frame[list(plan.identity)], seed=plan.seed))
    up_to_holdout = plan.evaluation_share + plan.holdout_share * (1 - plan.evaluation_share)
    return np.select([place < plan.evaluation_share, place < up_to_holdout], [2, 1], default=0)


def forced_random_warning(rows: Rows, config: ModelConfig) -> tuple[Reason, ...]:
    """Return the warning of a random split forced on timed rows; nothing where the split is as it should be.

    Raises
    ------
    ConfigError
        When targets overlap, so that a random split would give answers away: by the configuration, or because
        neighbouring values of the target agree more than by chance.
    """
    if config.timed or rows.positions is None:
        return ()
    data, purge = config.data, config.split.purge
    overlaps = {
        f"split.purge is {purge}": purge.amount > 0,
        f"data.label_delay is {data.label_delay}": data.label_delay.amount > 0,
        f"data.label_time is '{data.label_time}'": data.label_time,
    }
    overlap = next((why for why, is_so in overlaps.items() if is_so), "")
    dependence = neighbour_dependence(rows.frame, rows.positions, target=data.target, entity=data.entity)
    if overlap or dependence > _STRONG_DEPENDENCE:
        why = overlap or (
            f"neighbouring values of '{data.target}' agree to {dependence:.2f} (limit {_STRONG_DEPENDENCE}), "
            "so held-out rows have near copies in training"
        )
        raise ConfigError(
            f"split.method 'random' is refused on timed data with overlapping targets: {why}. "
            "Write split.method: time."
        )
    warning = Reason(
        code="random_split_on_timed_data",
        message=f"split.method 'random' is forced on data with the clock '{data.time or 'row order'}': later "
        "rows are learned from when earlier ones are judged. Write split.method: time unless rows are independent.",
        observed=round(dependence, 4),
        limit=_STRONG_DEPENDENCE,
        n=len(rows),
    )
    return (warning,)


def neighbour_dependence(
    frame: pd.DataFrame, positions: np.ndarray, *, target: str, entity: str | None
) -> float:
    """Return how far neighbouring targets agree: 0 independent, 1 identical.

    Spearman's lag-1 correlation for numbers of more than two values, Cohen's kappa between neighbours otherwise;
    0 below 50 pairs or for a constant target.
    """
    labelled = frame[target].notna().to_numpy()
    values = frame.loc[labelled, target]
    owner = pd.factorize(frame.loc[labelled, entity])[0] if entity else np.zeros(len(values), dtype=np.int64)
    order = np.lexsort((positions[labelled], owner))
    same = owner[order][1:] == owner[order][:-1]
    numeric = pd.api.types.is_numeric_dtype(values.dtype) and values.nunique() > 2
    codes = values.rank().to_numpy() if numeric else pd.factorize(values)[0]
    before, after = codes[order][:-1][same], codes[order][1:][same]
    if len(before) < _FEWEST_PAIRS or np.ptp(before) == 0 or np.ptp(after) == 0:
        return 0.0
    return float(np.corrcoef(before, after)[0, 1]) if numeric else _kappa(before, after)


def _kappa(before: np.ndarray, after: np.ndarray) -> float:
    size = int(max(before.max(), after.max())) + 1
    first, second = np.bincount(before, minlength=size), np.bincount(after, minlength=size)
    chance = float((first * second).sum()) / len(before) ** 2
    return (float((before == after).mean()) - chance) / (1 - chance)
