"""The baseline beside the policies: 'same as the last label', as labels were known at each moment."""

from __future__ import annotations

import numpy as np

from tasks.core.data.clock import Window
from tasks.core.data.rows import Rows
from tasks.core.data.split import draft_plan
from tasks.core.data.timeline import make_timeline
from tasks.core.learning.baseline import baseline_kinds, baseline_scores
from tasks.core.metrics.scored import Scored
from tasks.core.replay.first import Beginning
from tasks.core.replay.results import PolicyResult, conclude_policy
from tasks.core.replay.scorecard import Scorecard
from tasks.core.replay.step import Step

NAME = "same_as_last"


def replay_persistence(beginning: Beginning) -> PolicyResult | None:
    """Return the baseline on the windows of a replay; None for ranking, where there is no last label.

    Shares and transitions are counted on the labelled rows as of the first training, and never again: so it is what
    anybody could have deployed then, without a model.
    """
    config, model = beginning.config, beginning.first.model
    if "persistence" not in baseline_kinds(config, timed=True):
        return None
    start = beginning.start.until
    scored = baseline_scores(
        "persistence", training=_labelled(beginning, Window(end=start), until=start),
        rows=_labelled(beginning, Window(start)), schema=model.schema, config=config, classes=model.classes,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    scorecard = Scorecard.of(config, beginning.tools.metric(config))
    steps = []
    for tick in beginning.ticks:
        performance, accuracy = scorecard.measure(_inside(scored, tick.window))
        steps.append(Step(tick=tick, version=0, performance=performance, accuracy=accuracy))
    return conclude_policy(NAME, steps, metric=scorecard.metric, clock=config.data.clock)


def _labelled(beginning: Beginning, window: Window, *, until: float | None = None) -> Rows:
    """Return the rows of a slice that have a label, known as of ``until``."""
    rows = beginning.history.between(window)
    line = make_timeline(rows.frame, np.asarray(rows.positions), draft_plan(beginning.config, until=until))
    return rows.take(line.usable)


def _inside(scored: Scored, window: Window) -> Scored:
    return scored.take(window.mask(scored.require("positions")))
