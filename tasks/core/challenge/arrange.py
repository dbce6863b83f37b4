"""Arrange a match: both sides scored on the evaluation rows that neither has learned from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tasks.core.challenge.blocking import block_rows
from tasks.core.challenge.match import Match, check_same_clock, choose_ground
from tasks.core.challenge.opponents import Opponents
from tasks.core.config import ModelConfig
from tasks.core.data.clock import format_position
from tasks.core.data.rows import Parts, Rows
from tasks.core.data.split import unseen_rows
from tasks.core.gates.margin import naive_opponent
from tasks.core.learning.baseline import baseline_scores
from tasks.core.learning.scorer import Scorer
from tasks.core.metrics.base import Metric
from tasks.core.metrics.scored import Scored
from tasks.core.seeds import seed_for


def arrange_match(
    config: ModelConfig, opponents: Opponents, models: Mapping[int, Scorer], parts: Parts, *, metric: Metric
) -> Match:
    """Score both sides on the same rows.

    Parameters
    ----------
    config : ModelConfig
        The model's configuration.
    opponents : Opponents
        Who meets whom.
    models : mapping of int to Scorer
        The challenger and every version that may defend.
    parts : Parts
        Rows as of the challenge: they meet on its evaluation rows; the naive baseline of an empty throne is counted
        on its training rows.
    metric : Metric
        The deciding one.

    Raises
    ------
    NotLearnable
        ``clock_changed``, ``no_unseen_rows``, ``too_few_blocks``, …: they cannot meet.
    """
    for version, model in models.items():
        check_same_clock(model.plan, config, version=version)
    unseen = {version: unseen_rows(model.plan, parts.evaluation) for version, model in models.items()}
    ground = choose_ground(
        unseen[opponents.challenger],
        {version: unseen[version] for version in opponents.defenders},
        model=config.model,
        window=str(config.evaluation.validation_window),
    )
    challenger, rows = models[opponents.challenger], parts.evaluation.take(ground.usable)
    answers, fingerprint = challenger.score(rows, config=config), rows.fingerprint
    if ground.defender is None:
        rng = np.random.default_rng(seed_for(config.model, fingerprint, "baseline"))
        baseline = _naive(config, challenger, parts, rows, rng)
        metric, defence = naive_opponent(metric, baseline=baseline, answers=answers, rng=rng)
    else:
        defence = models[ground.defender].score(rows, config=config)
    return Match(
        metric=metric,
        champion=defence,
        challenger=answers,
        blocks=block_rows(rows, schema=challenger.schema, config=config),
        defender=ground.defender,
        fingerprint=fingerprint,
        window=_window(config, rows),
    )


def _naive(
    config: ModelConfig, challenger: Scorer, parts: Parts, rows: Rows, rng: np.random.Generator
) -> Scored:
    return baseline_scores(
        "constant", training=parts.training, rows=rows, schema=challenger.schema, config=config,
        classes=challenger.classes, rng=rng,
    )  # fmt: skip


def _window(config: ModelConfig, rows: Rows) -> tuple[str, str] | None:
    if rows.positions is None or not len(rows):
        return None
    clock = config.data.clock
    first, last = float(rows.positions.min()), float(rows.positions.max())
    return format_position(first, clock=clock), format_position(last, clock=clock)
