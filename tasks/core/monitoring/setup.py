"""Private columns that the log of served predictions holds hashed or not at all: not watched, and never scored anew.

The champion cannot be asked again without them, so that its answers to logged rows are the served ones alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
import pandas as pd

from evergreen.tasks.core.arrays import BoolArray, FloatArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.drift.answers import AnswerMonitor, prepare_answers
from evergreen.tasks.core.drift.calibration import NullModel, fit_null_model, join_null_models
from evergreen.tasks.core.drift.estimate import Reference
from evergreen.tasks.core.drift.policy import Policy, drift_policy
from evergreen.tasks.core.drift.profile_signals import ProfileSignals, prepare_signals
from evergreen.tasks.core.drift.types import DriftKind, Phase, Signals, join_signals
from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.monitoring.reference_series import FrozenReference, ReferenceSeries, take_signals
from evergreen.tasks.core.profiles.reference import DECISION, SCORE
from evergreen.tasks.core.training.features import ModelSpec
from evergreen.tasks.core.training.scoring import Scorer, frame_scores
from evergreen.tasks.core.verdict import Reason

# Answers as they were served, from the log of predictions.


VERSION = "@version"
"""Column of logged rows: the version that answered."""


def with_logged_answers(scored: Scored, rows: Rows, *, version: int) -> Scored:
    """Return answers with those that a version gave itself in place of what it would say now.

    Parameters
    ----------
    scored : Scored
        What the version says of the rows.
    rows : Rows
        Logged rows with ``@version`` and ``@score`` (or one ``@score:<class>`` a class), perhaps ``@decision``.
    version : int
        The version; answers of others are not its own.
    """
    frame, scores = rows.frame, scored.require("score").astype(np.float64)
    names = [SCORE] if scores.ndim == 1 else [f"{SCORE}:{label}" for label in scored.classes]
    if frame.empty or VERSION not in frame or any(name not in frame for name in names):
        return scored
    given, own = _logged_scores(frame, names, version)
    scores = np.where(own[:, None], given, scores.reshape(len(frame), -1))
    label = scored.label
    if label is not None and DECISION in frame:
        logged = own & frame[DECISION].notna().to_numpy()
        label = np.where(logged, frame[DECISION].to_numpy(), label)
    return replace(scored, score=scores[:, 0] if len(names) == 1 else scores, label=label)


def _logged_scores(frame: pd.DataFrame, names: list[str], version: int) -> tuple[FloatArray, BoolArray]:
    """Return the logged scores, shape (n, k), and which rows the version answered itself with finite ones."""
    given = frame[names].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    by = pd.to_numeric(frame[VERSION], errors="coerce") == version
    return given, by.to_numpy(dtype=np.bool_) & np.isfinite(given).all(axis=1)


_LOGGED_INSTEAD = {"hash": "a keyed hash of each value", "leave_out": "nothing"}


def concealed_features(config: ModelConfig, schema: Schema) -> tuple[str, ...]:
    """Return the features that windows of the model cannot show; none where the data source is watched."""
    if config.monitoring.source != "log":
        return ()
    return tuple(name for name in schema.features if name in config.data.private)


def describe_concealed(columns: Sequence[str], config: ModelConfig) -> Reason:
    """Say which columns are not watched, and why."""
    message = (
        f"Not watched: {', '.join(columns)}. The log of served predictions holds "
        f"{_LOGGED_INSTEAD[config.serving.private]} of data.private columns"
        " (serving.private), so that neither their drift nor their link with the outcome can be "
        "measured. Watch the data instead by monitoring.source: data, where it may be read."
    )
    return Reason(code="private_columns", message=message, observed=", ".join(columns), n=len(columns))


def without_columns(reference: Reference, columns: Sequence[str]) -> Reference:
    """Return the reference without the profiles of some features; its grid stays the model's own."""
    watched = {name: one for name, one in reference.inputs.columns.items() if name not in columns}
    return replace(reference, inputs=replace(reference.inputs, columns=watched))


def series_without(past: ReferenceSeries, columns: Sequence[str]) -> ReferenceSeries:
    """Return a version's past without the signals of some features."""
    if not columns:
        return past
    series = {
        kind: take_signals(one, tuple(key for key in one.keys if key.column not in columns))
        for kind, one in past.series.items()
    }
    return replace(past, series={kind: one for kind, one in series.items() if one.keys})


def show_missing(rows: Rows, columns: Sequence[str], config: ModelConfig) -> Rows:
    """Return logged rows whose concealed columns are missing values, instead of hashes or no columns at all."""
    if not columns or VERSION not in rows.frame:
        return rows
    value = [config.data.value_column] if config.data.value_column in config.data.private else []
    return replace(rows, frame=rows.frame.assign(**{str(name): np.nan for name in (*columns, *value)}))


def served_answers(
    model: Scorer, rows: Rows, *, version: int, config: ModelConfig
) -> tuple[Scored, BoolArray | None]:
    """Return what a version answered itself, and to which of the rows.

    Parameters
    ----------
    model : Scorer
        The version; it is not asked.
    rows : Rows
        Logged rows with ``@version`` and ``@score`` (or one ``@score:<class>`` a class), perhaps ``@decision``.
    version : int
        Its number.

    Returns
    -------
    Scored
        Of m rows.
    array of bool, shape (n,)
        The m rows.

    Raises
    ------
    DataError
        When the log does not hold the columns of the score, or of a ranking's group.
    """
    several = config.problem == "multiclass"
    names = [f"{SCORE}:{label}" for label in model.classes] if several else [SCORE]
    needed = [*names, *([str(config.data.group)] if config.problem == "ranking" else [])]
    absent = [name for name in needed if name not in rows.frame]
    if absent:
        raise DataError(
            f"Logged rows have no column {', '.join(map(repr, absent))}, and cannot be scored anew without private "
            "columns. Send the group with each row, and keep it by serving.private: hash."
        )
    given, own = _logged_scores(rows.frame, names, version)
    answered, score = rows.take(own), given[own] if several else given[own][:, 0]
    spec = ModelSpec(model.schema, config, model.classes)
    scored = frame_scores(answered, score, spec, threshold=model.threshold)
    return with_logged_answers(scored, answered, version=version), own


# Watching a champion: what it is monitored by, prepared once from what was frozen with it.


M = TypeVar("M", bound=Scorer)


@dataclass(frozen=True, kw_only=True, eq=False)
class ChampionMonitor(Generic[M]):
    """A champion, its own past, and what it is monitored by."""

    model: M
    past: ReferenceSeries
    """``model``, ``past``: what answers; signals of the reference's own windows, of whatever length and columns."""
    version: int
    trained_to: float | None
    """``version``, ``trained_to``: the champion, and the position up to which it has learned; None where that is
    not known."""
    config: ModelConfig
    """The model's configuration."""
    reference: Reference
    """What windows are compared with."""
    data: ProfileSignals
    answers: AnswerMonitor
    """``data``, ``answers``: how features and answers become signals."""
    policy: Policy
    """What counts as drift."""
    nulls: Mapping[Phase, NullModel]
    """What the signals of each phase do when nothing drifts."""
    notes: tuple[Reason, ...] = ()
    """What a reader should know of how this was prepared."""
    concealed: tuple[str, ...] = ()
    """Features that are not watched: the log, where that is the source, does not show them."""

    @property
    def clock(self) -> str:
        """Unit of positions."""
        return self.config.data.clock if self.config.data.ordered else "timestamp"

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Phases whose kinds of drift are monitored; always ``inputs``, which cuts the windows of both."""
        return tuple(phase for phase in Phase if phase is Phase.INPUTS or phase in self.nulls)

    @property
    def features(self) -> list[str]:
        """Features that are profiled."""
        return [name for name in self.reference.inputs.columns if name[:1] != "@"]

    def limits(self) -> dict[str, str]:
        """Say how the limits were made."""
        hidden = f"{', '.join(self.concealed)}: private, and concealed in the log"
        unwatched = {"Not watched": hidden} if self.concealed else {}
        if self.policy.name == "fixed_thresholds":
            fixed = "Fixed levels, each window and column for itself; they alarm on noise."
            return {"Limits": fixed, **unwatched}
        limits = {"Budget": f"{self.policy.budget} false alarms expected of a stationary stream"}
        for phase, null in self.nulls.items():
            theory, how = int(null.theory.sum()), f"{int(null.windows.max(initial=0))} reference windows"
            also = f"; sampling theory for {theory} of {len(null.keys)} signals" if theory else ""
            limits[f"Limits of {phase.value}"] = f"{how}{also}"
        return {**limits, **unwatched}


def prepare_monitor(
    model: M,
    frozen: FrozenReference,
    *,
    config: ModelConfig,
    metric: Metric,
    version: int,
    trained_to: float | None,
) -> ChampionMonitor[M]:
    """Prepare the monitor of a version from what was frozen with it.

    Parameters
    ----------
    metric : Metric
        What performance is followed by.
    version : int
        Its number.
    trained_to : float | None
        Position from which on rows are new to it; None where that is not known.
    """
    policy = drift_policy(config, metric=metric)
    concealed = concealed_features(config, model.schema)
    reference = without_columns(Reference.from_dict(frozen.profile), concealed)
    past = series_without(frozen.past, concealed)
    data = prepare_signals(reference.inputs, kind=DriftKind.DATA, min_effect=config.drift.min_effect)
    answers = prepare_answers(reference, config=config, metric=metric)
    whole = join_signals([data.measure(reference.inputs), answers.whole])
    usable = _of_this_window(past, str(config.monitoring.window))
    nulls = {phase: _null_model(phase, usable, whole, policy) for phase in Phase}
    return ChampionMonitor(
        model=model,
        past=frozen.past,
        version=version,
        trained_to=trained_to,
        config=config,
        reference=reference,
        data=data,
        answers=answers,
        policy=policy,
        nulls={phase: null for phase, null in nulls.items() if null is not None},
        notes=(*usable.reasons, *([describe_concealed(concealed, config)] if concealed else [])),
        concealed=concealed,
    )


def _of_this_window(past: ReferenceSeries, window: str) -> ReferenceSeries:
    """Return the past where it was cut by the windows that are monitored; else an empty one that says so."""
    if not past.series or past.window == window:
        return past
    message = (
        f"The version's own past was cut by windows of '{past.window}', monitoring.window is '{window}' by now, so "
        "that limits can only come from sampling theory. Train a new version, or restore the window."
    )
    reason = Reason(code="window_changed", message=message, observed=window, limit=past.window)
    return ReferenceSeries(window=window, reasons=(*past.reasons, reason))


def _null_model(phase: Phase, past: ReferenceSeries, whole: Signals, policy: Policy) -> NullModel | None:
    """Join the nulls of a phase's kinds; each kind's past may be other windows."""
    keys = {kind: tuple(key for key in whole.keys if key.kind is kind) for kind in phase.kinds}
    parts = {  # none of data where all is concealed
        kind: whole.of_keys(mine) for kind, mine in keys.items() if mine and kind in policy.kinds
    }
    if not parts:
        return None
    return join_null_models(
        [fit_null_model(past.series.get(kind), policy=policy, whole=part) for kind, part in parts.items()]
    )
