"""Plan a live test from a model's configuration, and from what was known of the champion before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evergreen.tasks.core.ab_testing.definition import (
    ARMS,
    BLOCK,
    ENTITY,
    PAIRED,
    ROW,
    Arm,
    Guardrail,
    LiveTest,
)
from evergreen.tasks.core.ab_testing.metric import choose_clip, live_metric, live_metric_name, live_values
from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.challenge.blocks import block_length
from evergreen.tasks.core.challenge.comparison import needs_blocks
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.clock import span_length
from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.registry import deciding_metric, own_metrics
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.serial import to_plain

CHAMPION_ARM = "champion"
"""Variant under which the champion's answers are logged."""
GRACE_S = 60.0
"""Seconds for which a shadow's answer may be on its way to the log."""
_LEAST = 100  # past values that say what the champion is worth


@dataclass(frozen=True, kw_only=True)
class Contenders:
    """Which versions are compared, from where on the clock, on which level."""

    champion: int
    challenger: int
    """Versions."""
    start: float
    """Position from which predictions count."""
    alpha: float
    """What the test may spend."""


def metric_of_test(config: ModelConfig, *, custom: Mapping[str, Metric] | None = None) -> Metric:
    """Return the metric of a model's live tests: ``live.metric``, else the deciding one or its nearest relative."""
    problem, own = config.problem.value, own_metrics(config, custom)
    name = config.live.metric or live_metric_name(
        deciding_metric(config, custom=custom).name, problem=problem, custom=own
    )
    return live_metric(name, problem=problem, custom=own)


def unit_of(config: ModelConfig, *, mode: str) -> str:
    """Return what is independent: of arms what is assigned; of pairs, whose rows come in time, as in the challenge."""
    if mode == ARMS:
        return ENTITY
    if needs_blocks(config, timed=True):
        return BLOCK
    return ROW if config.data.entity is None else ENTITY


def plan_test(
    config: ModelConfig,
    sides: Contenders,
    *,
    name: str,
    hypothesis: str,
    past: Scored | None,
    mode: str | None = None,
    metric: Metric | None = None,
    guardrails: Mapping[str, Metric] | None = None,
) -> LiveTest:
    """Return a live test by the configuration's section ``live``.

    Parameters
    ----------
    past : Scored, optional
        The champion's answers with outcomes from before the start: what an unbounded metric is clipped to, and what
        a relative improvement refers to, is read from them and fixed.
    metric : Metric, optional
        From ``metric_of_test``.
    guardrails : mapping of str to Metric, optional
        Metrics of ``live.guardrails``.

    Raises
    ------
    InputError
        When the metric cannot be followed live, or too few values of the champion are there to fix an unbounded one.
    """
    live, clock = config.live, config.data.clock
    chosen = metric or metric_of_test(config)
    mode = mode or (PAIRED if config.promotion.evidence == "shadow" else ARMS)
    share = live.share if mode == ARMS else 1.0
    values = _history_values(chosen, past)
    least = live.min_improvement if live.min_improvement is not None else config.evaluation.min_improvement
    follow_up = live.label_delay if live.label_delay is not None else config.data.label_delay
    rails = []
    for rail, most in live.guardrails.items():
        own = (guardrails or {})[rail]
        clip = None if own.bounded else choose_clip(_history_values(own, past), quantile=live.winsorize)
        rails.append(Guardrail(metric=rail, most_worse=most, clip=clip))
    longest, unit = span_length(live.max_duration, clock=clock), unit_of(config, mode=mode)
    return LiveTest(
        name=name,
        hypothesis=hypothesis,
        metric=chosen.name,
        mode=mode,
        control=Arm(name=CHAMPION_ARM, version=sides.champion, share=1 - share if mode == ARMS else 1.0),
        challengers=(Arm(name=f"v{sides.challenger}", version=sides.challenger, share=share),),
        min_improvement=least,
        baseline=_baseline(chosen, values) if live.relative and not chosen.bounded else None,
        start=sides.start,
        longest=longest,
        alpha=sides.alpha,
        follow_up=span_length(follow_up, clock=clock) or None,
        clip=None if chosen.bounded else choose_clip(values, quantile=live.winsorize),
        policy=config.evaluation.policy,
        margin=config.evaluation.margin if config.evaluation.policy == "non_inferiority" else 0.0,
        strict=config.evaluation.strict,
        power=config.evaluation.power,
        guardrails=tuple(rails),
        unit=unit,
        block=_block(config, longest) if unit == BLOCK else None,
        grace=GRACE_S if mode == PAIRED and clock == "timestamp" else 0.0,
    )


def guardrail_metrics(
    config: ModelConfig, *, custom: Mapping[str, Metric] | None = None
) -> dict[str, Metric]:
    """Return the metrics of ``live.guardrails`` by name."""
    own = own_metrics(config, custom)
    return {
        name: live_metric(name, problem=config.problem.value, custom=own) for name in config.live.guardrails
    }


def _block(config: ModelConfig, longest: float) -> float:
    """Return the length of a block as the challenge chooses it, by the longest duration."""
    block, clock = config.evaluation.block, config.data.clock
    if block is not None:
        return span_length(block, clock=clock)
    return min(block_length(longest, unit="rows" if clock == "rows" else "seconds"), longest)


def _history_values(metric: Metric, past: Scored | None) -> FloatArray:
    if past is None or metric.bounded:
        return np.zeros(0)
    values, _ = live_values(metric, past)
    return values[np.isfinite(values)]


def _baseline(metric: Metric, values: FloatArray) -> float:
    """Return what the champion was worth; refused where it is nothing that an improvement could be relative to."""
    if values.size < _LEAST:
        raise InputError(
            f"{values.size} labelled rows of the champion are too few to say what '{metric.name}' was before the test; "
            f"{_LEAST} are needed. Set live.relative: false, or collect outcomes first."
        )
    mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size))
    if abs(mean) <= 2 * error:
        raise InputError(
            f"The champion's '{metric.name}' was {mean:.4g} ± {error:.2g} a row: no relative improvement "
            "can be measured from it. Set live.relative: false and give live.min_improvement in the metric's own unit."
        )
    return mean


def explain_plan(test: LiveTest) -> dict[str, Any]:
    """Return what a person should see of a test before it begins."""
    shown = ("hypothesis", "metric", "mode", "min_improvement", "effect", "baseline", "alpha", "longest")
    fixed = ("follow_up", "unit", "block", "clip")
    return {
        "test": test.name,
        **to_plain({name: getattr(test, name) for name in (*shown, *fixed)}),
        "arms": {arm.name: {"version": arm.version, "share": arm.share} for arm in test.arms},
        "guardrails": {rail.metric: rail.most_worse for rail in test.guardrails},
    }
