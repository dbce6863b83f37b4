"""Divide rows by the clock: training, then holdout, then the newest rows for evaluation, with gaps between."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.evaluation import EvaluationConfig
from evergreen.tasks.core.config.units import Span
from evergreen.tasks.core.data.clock import Window, format_position
from evergreen.tasks.core.data.rows import SplitPlan
from evergreen.tasks.core.data.strategy import describe_start, training_start
from evergreen.tasks.core.data.timeline import Timeline, newest_from, newest_rows_from
from evergreen.tasks.core.errors import NotLearnable
from evergreen.tasks.core.verdict import Reason

_FEWEST_EVALUATION_ROWS = 50
"""A default evaluation window with fewer rows is replaced by a share of them."""
_DEFAULT_WINDOW = EvaluationConfig().validation_window


def plan_by_time(
    line: Timeline, draft: SplitPlan, config: ModelConfig, trained_to: float | None, change_at: float | None
) -> SplitPlan:
    """Return the plan with its windows.

    Evaluation is the newest ``evaluation.validation_window`` of usable rows. Before it, ``retraining.window`` of
    rows are trained on; of what lies before evaluation the newest ``split.holdout`` is the holdout. A row is in
    an earlier part only when its label was known and the purge was over as the next part began. A model trained
    elsewhere up to ``trained_to`` used all rows before it: its holdout is what lies between. ``change_at`` is
    the position of the last detected change, for ``retraining.window: since_change``.

    Raises
    ------
    NotLearnable
        ``no_labels``, ``groups_span_parts`` or ``too_few_rows``: nothing is left for a part.
    """
    _require_rows(line, draft)
    start, notes = _evaluation_start(line, config)
    evaluation = Window(start, line.after(line.last[line.usable], draft.until))
    before = line.usable & (line.ready <= start) & (line.last < start)
    plan = replace(draft, evaluation=evaluation, unseen_from=start, notes=notes, change_at=change_at)
    if trained_to is not None:
        return _plan_foreign(line, plan, before, trained_to)
    hold = _holdout_start(line, config, before, change_at)
    held = before & (line.first >= hold)
    learned = _keep_window(line, before & (line.ready <= hold) & (line.last < hold), config, change_at)
    _require_training(learned, config, start)
    return replace(
        plan,
        training=Window(float(line.first[learned].min()), line.after(line.last[learned], hold)),
        holdout=Window(float(hold), line.after(line.last[held], start)) if held.any() else None,
        notes=(*notes, *describe_start(line.first[learned], config=config, change_at=change_at)),
    )


def plan_refit(line: Timeline, draft: SplitPlan, config: ModelConfig, change_at: float | None) -> SplitPlan:
    """Return the plan of a refit: the newest ``retraining.window`` of all usable rows, nothing held out.

    ``change_at`` is the position of the last detected change, for ``retraining.window: since_change``.

    Raises
    ------
    NotLearnable
        ``no_labels``: there is no usable row.
    """
    _require_rows(line, draft)
    end = line.after(line.last[line.usable], draft.until)
    learned = _keep_window(line, line.usable, config, change_at)
    return replace(
        draft,
        training=Window(float(line.first[learned].min()), end),
        unseen_from=_all_ready(line, learned, end),
        change_at=change_at,
        notes=describe_start(line.first[learned], config=config, change_at=change_at),
    )


def _all_ready(line: Timeline, learned: np.ndarray, end: float) -> float:
    """Return when the last target of training is over; rows still to come are reckoned at the median step."""
    ready = line.ready[learned]
    if np.isfinite(ready).all():
        return max(end, float(ready.max()))
    moments = np.unique(line.positions)
    step = float(np.median(np.diff(moments))) if len(moments) > 1 else 1.0
    return end + step * int((~np.isfinite(ready)).sum())


def _plan_foreign(line: Timeline, plan: SplitPlan, before: np.ndarray, trained_to: float) -> SplitPlan:
    """Return the plan of a model trained elsewhere: its holdout begins when the last label it could use was known."""
    begin = max(trained_to, float(line.ready[line.first < trained_to].max(initial=-math.inf)))
    if plan.evaluation is None or begin >= plan.evaluation.end:
        message = (
            f"No row comes after {format_position(begin, clock=plan.clock)}, up to which the model has learned; "
            "wait for newer rows or register it with an earlier --trained-to."
        )
        raise NotLearnable("nothing_unseen", message, observed=0.0)
    held = before & (line.first >= begin)
    evaluation = Window(max(begin, plan.evaluation.start), plan.evaluation.end)
    holdout = Window(begin, line.after(line.last[held], evaluation.start)) if held.any() else None
    training = Window(-math.inf, trained_to)
    start = evaluation.start
    return replace(plan, training=training, holdout=holdout, evaluation=evaluation, unseen_from=start)


def _evaluation_start(line: Timeline, config: ModelConfig) -> tuple[float, tuple[Reason, ...]]:
    """Return where evaluation begins; where the default window does not fit, a share of rows replaces it."""
    span, clock = config.evaluation.validation_window, config.data.clock
    usable = line.first[line.usable]
    end = line.after(line.last[line.usable])
    fits = not (clock == "rows" and span.unit == "seconds")
    start = newest_from(usable, span, end=end, clock=clock) if fits else -math.inf
    count = int((usable >= start).sum())
    if span != _DEFAULT_WINDOW or (fits and _FEWEST_EVALUATION_ROWS <= count <= len(usable) / 2):
        return start, ()
    wanted = math.ceil(config.split.evaluation_share * len(usable))
    message = (
        f"The default evaluation.validation_window {span} does not fit these rows; the newest "
        f"{config.split.evaluation_share:.0%} of them are used. Write another value to choose."
    )
    code, n = "validation_window_translated", len(usable)
    note = Reason(code=code, message=message, observed=float(count), n=n)
    return newest_rows_from(usable, wanted), (note,)


def _holdout_start(line: Timeline, config: ModelConfig, before: np.ndarray, change_at: float | None) -> float:
    """Return where the holdout begins, so that about ``retraining.window`` of rows is left before it."""
    wanted = config.split.holdout
    places = line.first[before]
    end = line.after(line.last[before])
    if isinstance(wanted, Span):
        return newest_from(places, wanted, end=end, clock=config.data.clock)
    start = training_start(places, end=end, config=config, change_at=change_at, held=wanted)
    places = places[places >= start]
    count = math.ceil(wanted * len(places))
    return newest_rows_from(places, count) if count else end


def _keep_window(
    line: Timeline, learnable: np.ndarray, config: ModelConfig, change_at: float | None
) -> np.ndarray:
    """Return which of the rows that may be trained on are: those of ``retraining.window``, the newest ``max_rows``.

    Groups, and rows at one position, stay whole.
    """
    places, end = line.first[learnable], line.after(line.last[learnable])
    start = training_start(places, end=end, config=config, change_at=change_at)
    learned, most = learnable & (line.first >= start), config.split.max_rows
    if most is None or int(learned.sum()) <= most:
        return learned
    newest = np.sort(line.first[learned])[::-1]
    start = newest[most - 1]
    if newest[most] == start < newest[0]:
        start = np.nextafter(start, math.inf)
    return learned & (line.first >= start)


def _require_rows(line: Timeline, draft: SplitPlan) -> None:
    if len(line.usable) == 0:
        message = "The source holds no rows. Add data."
        if draft.until is not None:
            moment = format_position(draft.until, clock=draft.clock)
            message = f"No row of the source lies before {moment}. Give a later --until, or add older rows."
        raise NotLearnable("too_few_rows", message, observed=0.0, n=0)
    if not line.usable.any():
        as_of = "" if draft.until is None else f" as of {format_position(draft.until, clock=draft.clock)}"
        message = f"No row has a known label in '{draft.target}'{as_of}. Add labels or wait for them."
        raise NotLearnable("no_labels", message, observed=0.0, n=len(line.usable))


def _require_training(learned: np.ndarray, config: ModelConfig, start: float) -> None:
    if learned.any():
        return
    begins = format_position(start, clock=config.data.clock)
    group = f" (groups of '{config.data.group}' are never split)" if config.data.group else ""
    message = (
        f"No labelled row is left to learn from before the holdout and the evaluation window, which begins {begins}"
        f"{group}. Shorten evaluation.validation_window, split.holdout or split.purge, or add rows."
    )
    raise NotLearnable("too_few_rows", message, observed=0.0, limit=float(config.split.min_rows), n=0)
