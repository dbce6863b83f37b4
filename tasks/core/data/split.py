"""Divide a model's rows into training, holdout and evaluation, and prove what a version has not learned from."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pandas as pd

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.rows import Parts, Rows, SplitPlan, fingerprint
from evergreen.tasks.core.data.split_random import judge_forced_random, place_randomly, plan_random
from evergreen.tasks.core.data.split_time import plan_by_time, plan_refit
from evergreen.tasks.core.data.timeline import Timeline, make_timeline
from evergreen.tasks.core.errors import InputError, NotLearnable
from evergreen.tasks.core.verdict import Reason


def draft_plan(config: ModelConfig, *, until: float | None = None) -> SplitPlan:
    """Return a plan without windows: the roles, gaps and seed of the configuration."""
    data, split = config.data, config.split
    method: Literal["time", "random"] = "time" if config.timed else "random"
    return SplitPlan(
        method=method,
        clock=data.clock,
        until=until,
        purge=split.purge,
        label_delay=data.label_delay,
        time=data.time,
        time_format=data.time_format,
        label_time=data.label_time,
        group=data.group,
        target=data.target,
        max_rows=split.max_rows,
        seed=split.seed,
    )


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
        A model trained elsewhere has learned from all before this position.
    refit : bool
        Learn from all labelled rows, hold nothing out (rows in time order only).
    change_at : float, optional
        Position of the last detected change, where ``retraining.window: since_change`` begins. A random split takes
        all history whatever the window, and does not look at it.

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
        return plan_refit(line, draft, config, change_at=change_at)
    return plan_by_time(line, draft, config, trained_to=trained_to, change_at=change_at)


def assign_parts(
    rows: Rows, plan: SplitPlan, *, drop_duplicates: bool = False, warnings: tuple[Reason, ...] = ()
) -> Parts:
    """Return the parts a plan makes of the rows; applied to the same rows it always gives the same parts.

    Raises
    ------
    NotLearnable
        When the rows lack what the plan divides by (``no_clock``, ``identity_unknown``).
    """
    twins = rows.frame.duplicated().to_numpy() if len(rows) else np.zeros(0, dtype=bool)
    if plan.method == "time":
        line = make_timeline(rows.frame, _positions(rows), plan)
        masks, usable = _masks_by_time(line, plan), line.usable
    else:
        usable = _usable(rows, plan)
        masks = _masks_by_hash(rows.frame, plan, usable)
    kept = ~twins if drop_duplicates else np.ones(len(rows), dtype=bool)
    training, holdout, evaluation = (rows.take(mask & kept) for mask in masks)
    used = rows.frame[(masks[0] | masks[1] | masks[2]) & kept]
    return Parts(
        training=training,
        holdout=holdout,
        evaluation=evaluation,
        plan=plan,
        duplicates=int(twins.sum()),
        unlabelled=int((~usable).sum()),
        fingerprint=fingerprint(used),
        warnings=warnings,
        notes=(*plan.notes, *_note_duplicates(int(twins.sum()), len(rows), drop_duplicates)),
    )


def unseen_rows(plan: SplitPlan, rows: Rows) -> np.ndarray:
    """Return which rows the version trained by this plan has neither learned from nor tuned on, bool of shape (n,).

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
    masks = _masks_by_time(line, plan)
    needed = masks[0] | masks[1] | masks[2]
    start = float(line.positions[needed].min()) if needed.any() else -np.inf
    touching = (line.first < start) & (line.last >= start)
    return float(line.first[touching].min()) if touching.any() else start


def _plan_random(rows: Rows, draft: SplitPlan, config: ModelConfig, *, bare: bool) -> SplitPlan:
    if not bare:
        raise NotLearnable(
            "no_clock", "Rows without a clock cannot show what came after training. Name data.time."
        )
    plan = plan_random(rows.frame, draft, config)
    usable = _usable(rows, plan)
    if not usable.any():
        raise NotLearnable(
            "no_labels" if len(rows) else "too_few_rows",
            f"No row has a known label in '{config.data.target}'. Add labelled rows.",
            observed=0.0,
            n=len(rows),
        )
    return plan


def forced_random_warning(rows: Rows, config: ModelConfig) -> tuple[Reason, ...]:
    """Return the warning of a random split forced on timed rows; nothing where the split is as it should be.

    Raises
    ------
    ConfigError
        When targets overlap, so that a random split would give answers away.
    """
    if config.timed or rows.positions is None:
        return ()
    return (judge_forced_random(rows.frame, rows.positions, config),)


def _masks_by_time(line: Timeline, plan: SplitPlan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the three masks; an earlier part's row must be ready when the next part begins."""
    empty = np.zeros(len(line.positions), dtype=bool)
    begins = plan.evaluation.start if plan.evaluation else np.inf
    evaluation = line.inside(plan.evaluation) if plan.evaluation else empty
    holdout = line.inside(plan.holdout) & (line.ready <= begins) if plan.holdout else empty
    next_begins = plan.holdout.start if plan.holdout else begins
    training = line.inside(plan.training) & (line.ready <= next_begins) if plan.training else empty
    return training, holdout, evaluation


def _masks_by_hash(
    frame: pd.DataFrame, plan: SplitPlan, usable: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
        raise NotLearnable(
            "no_clock", "A split by time needs the clock its rows were divided by. Restore data.time."
        )
    return rows.positions


def _note_duplicates(count: int, total: int, dropped: bool) -> tuple[Reason, ...]:
    if count == 0:
        return ()
    done = "They were dropped." if dropped else "Write data.drop_duplicates: true to drop them."
    message = f"{count} of {total} rows repeat an earlier one in every column read. {done}"
    return (Reason(code="duplicate_rows", message=message, observed=float(count), limit=None, n=total),)
