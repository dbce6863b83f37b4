"""The log's database: grids and windows of the monitor, served predictions, answers of shadows to them, outcomes.

Beside the ledger, not in it: much is written and deleted here, and must never hold up a claim there.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Column, Float, Index, Integer, LargeBinary, String, Table, Text

from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.data.rows import Rows, normalise
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.errors import EvergreenError, InputError
from evergreen.tasks.core.profiles.reference import DECISION, OUTCOME, SCORE
from evergreen.tasks.io.databases import LOG

metadata = LOG.metadata

grids = Table(
    "grids",
    metadata,
    Column("grid_id", String(64), primary_key=True),
    Column("grid", LargeBinary, nullable=False),
)

windows = Table(
    "windows",
    metadata,
    Column("model", String(255), primary_key=True),
    Column("phase", String(16), primary_key=True),
    Column("start", Float(53), primary_key=True),
    Column("end", Float(53), primary_key=True),
    Column("version", Integer),
    Column("at", String(32), nullable=False),
    Column("payload", LargeBinary, nullable=False),
)

predictions = Table(
    "predictions",
    metadata,
    Column("model", String(255), primary_key=True),
    Column("prediction_id", String(255), primary_key=True),
    Column("position", Float(53), nullable=False),
    Column("at", String(32), nullable=False),
    Column("version", Integer),
    Column("variant", String(64)),
    Column("entity", String(255)),
    Column("score", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("features", Text, nullable=False),
    Column("request", String(64)),
    Index("predictions_by_position", "model", "position"),
    Index("predictions_by_variant", "model", "variant", "position"),
)

shadows = Table(
    "shadows",
    metadata,
    Column("model", String(255), primary_key=True),
    Column("prediction_id", String(255), primary_key=True),
    Column("variant", String(64), primary_key=True),
    Column("version", Integer),
    Column("score", Text, nullable=False),
    Column("decision", Text, nullable=False),
)

outcomes = Table(
    "outcomes",
    metadata,
    Column("model", String(255), primary_key=True),
    Column("prediction_id", String(255), primary_key=True),
    Column("outcome", Text, nullable=False),
    Column("known_at", Float(53), nullable=False),
    Column("at", String(32), nullable=False),
    Index("outcomes_by_known_at", "model", "known_at"),
)


# Fresh ids of predictions: unique without asking anyone, and ascending, so that indexes grow at their end.


def fresh_id() -> str:
    """Return a new id: 12 hexadecimal digits of the millisecond, then 80 random bits.

    Ids that arrive in order cost the log a third less than random ones: each commit touches a few pages at the end of
    the index, not one somewhere for each row.
    """
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


# What the log holds: windows with their profiles, served predictions, and outcomes that became known.


VERSION, KNOWN_AT = "@version", "@known_at"
"""Columns of logged rows: the version that answered, and when the outcome became known."""

VARIANT, ENTITY, PREDICTION_ID = "@variant", "@entity", "@prediction_id"
"""Columns of logged rows: the arm that answered, who it was about, and the row's own name."""


@dataclass(frozen=True, kw_only=True)
class WindowRecord:
    """The result of a window, for later windows and for reports; the verdict itself is in the ledger."""

    model: str
    """Registered model."""
    phase: Phase
    """Which monitoring phase."""
    window: Window
    """Finite slice of the clock."""
    version: int | None
    """Version that was champion."""
    at: datetime
    """When it was judged; aware."""
    payload: dict[str, Any] = field(default_factory=dict)
    """JSON: measures, the detectors' state, whatever the next window needs."""
    profiles: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Short JSON forms (`Profile.to_window_dict`) by name, e.g. ``inputs``, ``answers``; without their grids."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One answer that was served."""

    prediction_id: str
    """Its own name; a repeated one must mean the same answer."""
    position: float
    """Where it stands on the model's clock."""
    features: Mapping[str, Any]
    """What was sent."""
    score: float | Mapping[str, float] | None = None
    """The score; one a class where there are more than two."""
    decision: Any = None
    """The answer given: a class or a number; None where there is only a score."""
    version: int | None = None
    """Version that answered."""
    variant: str | None = None
    """Arm of an experiment."""
    entity: str | None = None
    """Who it was about."""


@dataclass(frozen=True, kw_only=True)
class KnownOutcome:
    """The outcome of a prediction, and the position on the clock at which it became known."""

    prediction_id: str
    outcome: Any
    known_at: float


@dataclass(frozen=True, kw_only=True)
class LoggedRows:
    """Served rows of a window; ``late`` outcomes became known too late for it and are not shown."""

    rows: Rows
    late: int = 0


def prediction_values(model: str, prediction: Prediction) -> dict[str, Any]:
    """Return a prediction as the log stores it, without the time of writing.

    Raises
    ------
    InputError
        When its position is not finite, or a value is nothing JSON can say.
    """
    score = prediction.score
    return {
        "model": model,
        "prediction_id": prediction.prediction_id,
        "position": finite_position(prediction.position, prediction.prediction_id),
        "version": prediction.version,
        "variant": prediction.variant,
        "entity": prediction.entity,
        "score": to_json(dict(score) if isinstance(score, Mapping) else score),
        "decision": to_json(prediction.decision),
        "features": to_json(dict(prediction.features)),
    }


def outcome_values(model: str, outcome: KnownOutcome) -> dict[str, Any]:
    """Return an outcome as the log stores it, without the time of writing; errors as above."""
    return {
        "model": model,
        "prediction_id": outcome.prediction_id,
        "outcome": to_json(outcome.outcome),
        "known_at": finite_position(outcome.known_at, outcome.prediction_id),
    }


def to_json(value: Any) -> str:
    """Return the one JSON text of a value: keys sorted, NaN as null, numbers of NumPy as numbers.

    >>> to_json({"x": float("nan"), "n": np.int64(3), "at": datetime(2026, 1, 2)})
    '{"at":"2026-01-02T00:00:00","n":3,"x":null}'
    """
    try:
        return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{value!r} cannot be logged ({error}). Allowed: text, finite numbers, true, false, null, times, lists "
            "and objects. Turn it into one of them."
        ) from error


def logged_rows(
    stored: list[dict[str, Any]], *, known_by: float, target: str | None, numeric: tuple[str, ...]
) -> LoggedRows:
    """Return stored predictions (ascending positions) with their outcomes as one frame.

    Parameters
    ----------
    stored : list of dict
        ``prediction_id``, ``position``, ``version``, ``variant``, ``entity``, ``score``, ``decision``, ``features``,
        ``outcome``, ``known_at`` (the last two may be None) of each.
    known_by : float
        Outcomes that became known later are left out and counted.
    target : str, optional
        Column the outcome is put in; ``@outcome`` by default.
    numeric : tuple of str
        Columns that hold numbers, whatever they look like.
    """
    answered = [row["outcome"] is not None for row in stored]
    timely = [yes and row["known_at"] <= known_by for yes, row in zip(answered, stored, strict=True)]
    columns: dict[str, Any] = {
        **_scores([json.loads(row["score"]) for row in stored]),
        DECISION: [json.loads(row["decision"]) for row in stored],
        VERSION: [row["version"] for row in stored],
        VARIANT: [row["variant"] for row in stored],
        ENTITY: [row["entity"] for row in stored],
        PREDICTION_ID: [row["prediction_id"] for row in stored],
        KNOWN_AT: np.array([row["known_at"] for row in stored], dtype=np.float64),
        target or OUTCOME: [
            json.loads(row["outcome"]) if yes else None for yes, row in zip(timely, stored, strict=True)
        ],
    }
    features = pd.DataFrame.from_records([json.loads(row["features"]) for row in stored])
    answers = {name: pd.Series(values, index=features.index) for name, values in columns.items()}
    frame = normalise(features.assign(**answers), numeric=numeric)
    positions = np.array([row["position"] for row in stored], dtype=np.float64)
    return LoggedRows(rows=Rows(frame, positions), late=sum(answered) - sum(timely))


def _scores(scores: list[Any]) -> dict[str, list[Any]]:
    classes = dict.fromkeys(label for score in scores if isinstance(score, dict) for label in score)
    if not classes:
        return {SCORE: scores}
    return {
        f"{SCORE}:{label}": [score.get(label) if isinstance(score, dict) else None for score in scores]
        for label in classes
    }


def finite_position(position: float, prediction_id: str) -> float:
    """Return a position; ``InputError`` where it is none."""
    if not math.isfinite(position):
        raise InputError(
            f"Prediction '{prediction_id}' has the position {position}, which is no point on a clock. Give one."
        )
    return float(position)


def plain(value: Any) -> Any:
    """Return a value in terms of JSON: NumPy's, Decimal and times turned into numbers and text, NaN into None."""
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, datetime | date):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value


# Rows as a service hands them to the log's writer, what it answers, and its refusals.


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowScore:
    """The answer of a shadow to a row that another variant answered."""

    variant: str
    """Name of the shadow; one score a row of each."""
    version: int | None
    """Its version; None for an ensemble."""
    score: float | Mapping[str, float] | None = None
    """Its score, as of a served row."""
    decision: Any = None
    """Its decision, as of a served row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One row as it was answered; cheap to make."""

    prediction_id: str
    """Its own name, 1 to 255 characters: a fresh one (`evergreen.tasks.io.prediction_log.records.fresh_id`), or the
    claim of a client."""
    position: float
    """Where it stands on the model's clock."""
    version: int | None
    """Version that answered; None for an ensemble."""
    variant: str
    """Arm that answered, at most 64 characters."""
    entity: str | None = None
    """Who it was about, at most 255 characters."""
    score: float | Mapping[str, float] | None = None
    """The score; one a class where there are more than two. NaN is logged as null."""
    decision: Any = None
    """The answer given: a class or a number; None where there is only a score."""
    features: Mapping[str, Any] | bytes
    """What was sent, by column; or its JSON object, ready made."""
    shadows: tuple[ShadowScore, ...] = ()
    """Answers of shadows to the same row."""
    request: str | None = None
    """Digest of the row as it was sent, where a client claims that it is one request
    (`evergreen.tasks.core.serving.idempotency`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeReceipt:
    """Result of a batch of outcomes; all but the refused are in the log."""

    written: int
    """New ones."""
    known: int
    """Those that were there with the same value: nothing was changed."""
    refused: tuple[str, ...] = ()
    """Ids whose outcome is there with another value: it stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterState:
    """State of the writer."""

    depth: int
    """Rows that wait or are being written."""
    capacity: int
    """Most rows that may."""
    batches: int
    """Transactions since the start."""
    rows: int
    """Rows in them."""
    failed: int
    """Requests whose future failed because the database did."""
    retries: int
    """Tries that were made again."""
    down: bool
    """Whether the last try failed."""


class QueueFull(EvergreenError):
    """The writer cannot take more for now; nothing was written. A service answers 503 with ``Retry-After``.

    Attributes
    ----------
    retry_after : float
        Seconds after which trying again is worthwhile.
    """

    code = "queue_full"

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after
