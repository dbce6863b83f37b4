"""What monitoring will need of a version, kept with it: ``profile.json`` and ``past.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.core.config import ModelConfig
from tasks.core.data.rows import Rows
from tasks.core.data.schema import Schema
from tasks.core.logitems import Json, LogItem, Text
from tasks.core.metrics.base import Metric
from tasks.core.metrics.scored import Scored
from tasks.core.profiles.grid import Grid
from tasks.core.records.frozen import Frozen, freeze_reference, freeze_refit
from tasks.core.watching.past import Past

FOLDER = "evergreen"


def frozen_items(frozen: Frozen) -> Iterator[LogItem]:
    """Yield the two documents."""
    yield Json(f"{FOLDER}/profile.json", dict(frozen.profile))
    past = json.dumps(frozen.past.to_dict(), separators=(",", ":"))  # 3 MB less than indented
    yield Text(f"{FOLDER}/past.json", past)


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
    """Yield both documents of a version; see `tasks.core.records.frozen.freeze_reference`."""
    yield from frozen_items(
        freeze_reference(
            rows, scored, schema=schema, config=config, metrics=metrics, score_source=score_source,
            earlier=earlier,
        )
    )  # fmt: skip


def refit_reference_items(
    kept: Mapping[str, Any], rows: Rows, *, schema: Schema, config: ModelConfig, metric: Metric
) -> Iterator[LogItem]:
    """Yield both documents of a refit; see `tasks.core.records.frozen.freeze_refit`.

    Parameters
    ----------
    kept : mapping
        ``profile`` and ``past`` (None: it has none) of the judged version.
    """
    judged = Frozen(profile=kept["profile"], past=Past.from_dict(kept["past"]))
    yield from frozen_items(freeze_refit(judged, rows, schema=schema, config=config, metric=metric))
