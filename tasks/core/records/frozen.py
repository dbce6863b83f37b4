"""What is frozen with a version for whoever watches it later: its reference, and its own past window by window."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.core.config import ModelConfig
from tasks.core.data.rows import Rows
from tasks.core.data.schema import Schema
from tasks.core.drift.answers import watch_answers
from tasks.core.drift.reference import Reference, measure_worth
from tasks.core.learning.fitted import Winner
from tasks.core.learning.lesson import Choice, Lesson
from tasks.core.learning.scoring import decided_by
from tasks.core.metrics.base import Metric
from tasks.core.metrics.scored import Scored
from tasks.core.profiles.grid import Grid
from tasks.core.profiles.reference import fit_inputs, reference_profiles
from tasks.core.watching.past import Past
from tasks.core.watching.past_windows import reference_past, refit_past


@dataclass(frozen=True, kw_only=True, eq=False)
class Frozen:
    """The two documents that watching a version takes.

    Attributes
    ----------
    profile : dict
        The reference in its JSON form (`tasks.core.drift.reference.Reference`).
    past : Past
        Signals of the reference's own windows.
    """

    profile: Mapping[str, Any]
    past: Past

    def read_back(self) -> Frozen:
        """Return the documents as they are read after they were kept: the past is rounded then."""
        profile = json.loads(json.dumps(self.profile))
        return Frozen(profile=profile, past=Past.from_dict(self.past.to_dict()))


def freeze_training(
    lesson: Lesson, choice: Choice, winner: Winner, config: ModelConfig, *, earlier: Grid | None = None
) -> Frozen:
    """Return the reference of a version that was trained: its answers are those out of fold, else on the holdout.

    Parameters
    ----------
    earlier : Grid, optional
        The inputs' grid of the model so far, kept while it fits.
    """
    run = choice.chosen_run
    scored, source = (run.out_of_fold, "out_of_fold") if run else (winner.holdout, "holdout")
    return freeze_reference(
        lesson.parts.training,
        decided_by(scored, winner.recipe.threshold.value),
        schema=lesson.schema,
        config=config,
        metrics=lesson.metrics,
        score_source=source,
        earlier=earlier,
    )


def freeze_reference(
    rows: Rows,
    scored: Scored,
    *,
    schema: Schema,
    config: ModelConfig,
    metrics: Sequence[Metric],
    score_source: str,
    earlier: Grid | None = None,
) -> Frozen:
    """Return the reference of a version.

    Parameters
    ----------
    rows : Rows
        Rows learned from.
    scored : Scored
        Answers, decided as the version decides, on rows the answering model had not learned from.
    metrics : sequence of Metric
        All that the model is measured by, the deciding one first.
    score_source : str
        ``out_of_fold`` or ``holdout``.
    earlier : Grid, optional
        The inputs' grid of an earlier version, kept while it fits.
    """
    profile = reference_profiles(
        rows, scored, schema=schema, config=config, score_source=score_source, earlier=earlier
    )
    profile["worth"] = measure_worth(scored, metrics, problem=config.problem.value)
    watch = watch_answers(Reference.from_dict(profile), config=config, metric=metrics[0])
    past = reference_past(rows, scored, watch=watch, schema=schema, config=config)
    return Frozen(profile=profile, past=past)


def freeze_refit(
    judged: Frozen, rows: Rows, *, schema: Schema, config: ModelConfig, metric: Metric
) -> Frozen:
    """Return the reference of a refit: features and outcome anew, answers and their worth as judged.

    No row is left that the refit has not learned from, so nothing can be said of its own answers; it is the judged
    recipe, and agrees with the judged version within ``promotion.refit_agreement``.

    Parameters
    ----------
    judged : Frozen
        Of the judged version.
    rows : Rows
        What the refit learned from.
    metric : Metric
        The deciding one.
    """
    grid = Reference.from_dict(judged.profile).inputs.grid
    inputs = fit_inputs(rows, schema=schema, config=config, earlier=grid)
    profile = {**judged.profile, "inputs": inputs.profile.to_dict(), "grid": inputs.reason}
    watch = watch_answers(Reference.from_dict(profile), config=config, metric=metric)
    return Frozen(
        profile=profile, past=refit_past(rows, judged.past, watch=watch, schema=schema, config=config)
    )
