"""What the log holds: windows with their profiles, served predictions, and outcomes that became known."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.data.clock import Window
from tasks.core.data.normalise import normalise
from tasks.core.data.rows import Rows
from tasks.core.drift.words import Phase
from tasks.core.errors import InputError
from tasks.core.profiles.reference import DECISION, OUTCOME, SCORE

VERSION, KNOWN_AT = "@version", "@known_at"
"""Columns of logged rows: the version that answered, and when the outcome became known."""

VARIANT, ENTITY, PREDICTION_ID = "@variant", "@entity", "@prediction_id"
"""Columns of logged rows: the arm that answered, who it was about, and the row's own name."""


@dataclass(frozen=True, kw_only=True)
class WindowRecord:
    """What one look at a window leaves for later looks and for reports; the verdict itself is in the ledger.

    Attributes
    ----------
    model : str
        Registered model.
    phase : Phase
        Which look.
    window : Window
        Finite slice of the clock.
    version : int | None
        Version that was champion.
    at : datetime
        When it was looked at; aware.
    payload : dict
        JSON: measures, the judge's memory, whatever the next look needs.
    profiles : dict of str to dict
        Short JSON forms (`Profile.to_window_dict`) by name, e.g. ``inputs``, ``answers``; their grids are kept apart.
    """

    model: str
    phase: Phase
    window: Window
    version: int | None
    at: datetime
    payload: dict[str, Any] = field(default_factory=dict)
    profiles: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One answer that was served.

    Attributes
    ----------
    prediction_id : str
        Its own name; a repeated one must mean the same answer.
    position : float
        Where it stands on the model's clock.
    features : mapping
        What was asked.
    score : float | mapping of str to float | None
        The score; one a class where there are more than two.
    decision : object
        The answer given: a class or a number; None where there is only a score.
    version : int | None
        Version that answered.
    variant, entity : str | None
        Arm of an experiment; who it was about.
    """

    prediction_id: str
    position: float
    features: Mapping[str, Any]
    score: float | Mapping[str, float] | None = None
    decision: Any = None
    version: int | None = None
    variant: str | None = None
    entity: str | None = None


@dataclass(frozen=True, kw_only=True)
class KnownOutcome:
    """What came true for a prediction, and the position on the clock at which that became known."""

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
        "position": _finite(prediction.position, prediction.prediction_id),
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
        "known_at": _finite(outcome.known_at, outcome.prediction_id),
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


def _finite(position: float, prediction_id: str) -> float:
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
