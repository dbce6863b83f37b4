"""What monitoring will need of a version, kept with it: the reference's profiles, their worth, and its own past."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.core.config import ModelConfig
from tasks.core.data.rows import Rows
from tasks.core.data.schema import Schema
from tasks.core.drift.answers import watch_answers
from tasks.core.drift.reference import Reference, measure_worth
from tasks.core.logitems import Json, LogItem, Text
from tasks.core.metrics.base import Metric
from tasks.core.metrics.scored import Scored
from tasks.core.profiles.grid import Grid
from tasks.core.profiles.reference import fit_inputs, reference_profiles
from tasks.core.watching.past import Past
from tasks.core.watching.past_windows import reference_past, refit_past

FOLDER = "evergreen"


def reference_items(
    rows: Rows,
    scored: Scored,
    *,
    schema: Schema,
    config: ModelConfig,
    metrics: Sequence[Metric],
    score_source: str,
    earlier: Grid | None = None,
) -> Iterator[LogItem]:
    """Yield ``profile.json`` and ``past.json`` of a version.

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
    yield from _items(profile, past)


def refit_reference_items(
    kept: Mapping[str, Any], rows: Rows, *, schema: Schema, config: ModelConfig, metric: Metric
) -> Iterator[LogItem]:
    """Yield ``profile.json`` and ``past.json`` of a refit.

    Features, outcome and their links are measured anew on the refit's own rows, over the judged version's grid while
    that fits. What its answers look like and are worth is the judged version's: the refit has learned from every
    labelled row, and answers on these would flatter it.

    Parameters
    ----------
    kept : mapping
        ``profile`` and ``past`` (None: it has none) of the judged version.
    rows : Rows
        What the refit learned from.
    metric : Metric
        The deciding one.
    """
    judged = Reference.from_dict(kept["profile"])
    inputs = fit_inputs(rows, schema=schema, config=config, earlier=judged.inputs.grid)
    profile = {**kept["profile"], "inputs": inputs.profile.to_dict(), "grid": inputs.reason}
    watch = watch_answers(Reference.from_dict(profile), config=config, metric=metric)
    past = refit_past(rows, Past.from_dict(kept["past"]), watch=watch, schema=schema, config=config)
    yield from _items(profile, past)


def _items(profile: Mapping[str, Any], past: Past) -> Iterator[LogItem]:
    yield Json(f"{FOLDER}/profile.json", dict(profile))
    yield Text(
        f"{FOLDER}/past.json", json.dumps(past.to_dict(), separators=(",", ":"))
    )  # 3 MB less than indented
