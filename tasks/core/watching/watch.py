"""Watching a champion: what it is watched by, prepared once from what was frozen with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tasks.core.config import ModelConfig
from tasks.core.data.schema import Schema
from tasks.core.drift.answers import AnswerWatch, watch_answers
from tasks.core.drift.profile_signals import ProfileSignals, prepare_signals
from tasks.core.drift.reference import Reference
from tasks.core.drift.signals import Signals, join_signals
from tasks.core.drift.words import DriftKind, Phase
from tasks.core.judging.budget import Policy, drift_policy
from tasks.core.judging.calibration import fit_null
from tasks.core.judging.null import Null, join_nulls
from tasks.core.metrics.base import Metric
from tasks.core.verdict import Reason
from tasks.core.watching.concealed import concealed_features, past_without, say_concealed, without_columns
from tasks.core.watching.past import Past


@dataclass(frozen=True, kw_only=True, eq=False)
class Watch:
    """A champion and what it is watched by.

    Attributes
    ----------
    version, trained_to : int, float | None
        The champion, and the position up to which it has learned; None where that is not known.
    config, schema : ModelConfig, Schema
        The model's configuration; the version's columns.
    reference : Reference
        What windows are compared with.
    data, answers : ProfileSignals, AnswerWatch
        How features and answers become signals.
    policy : Policy
        What counts as drift.
    nulls : mapping of Phase to Null
        What the signals of each phase do when nothing drifts.
    notes : tuple of Reason
        What a reader should know of how this was prepared.
    concealed : tuple of str
        Features that are not watched: the log, where that is the source, does not show them.
    """

    version: int
    trained_to: float | None
    config: ModelConfig
    schema: Schema
    reference: Reference
    data: ProfileSignals
    answers: AnswerWatch
    policy: Policy
    nulls: Mapping[Phase, Null]
    notes: tuple[Reason, ...] = ()
    concealed: tuple[str, ...] = ()

    @property
    def clock(self) -> str:
        """Unit of positions."""
        return self.config.data.clock if self.config.data.ordered else "timestamp"

    @property
    def features(self) -> list[str]:
        """Features that are profiled."""
        return [name for name in self.reference.inputs.columns if name[:1] != "@"]

    def limits(self) -> dict[str, str]:
        """Say how the limits were made."""
        policy = self.policy
        hidden = {"Not watched": f"{', '.join(self.concealed)}: private, and concealed in the log"}
        unwatched = hidden if self.concealed else {}
        if policy.name == "literal":
            fixed = "Fixed levels, each window and column for itself; they alarm on noise."
            return {"Limits": fixed, **unwatched}
        said = {"Budget": f"{policy.budget} false alarms expected of a stationary stream"}
        for phase, null in self.nulls.items():
            theory = int(null.theory.sum())
            windows = int(null.windows.max(initial=0))
            how = (
                f"{windows} reference windows"
                if not theory
                else f"{windows} reference windows; sampling theory for {theory} of {len(null.keys)} signals"
            )
            said[f"Limits of {phase.value}"] = how
        return {**said, **unwatched}


def prepare_watch(
    reference: Reference,
    past: Past,
    *,
    config: ModelConfig,
    schema: Schema,
    metric: Metric,
    version: int,
    trained_to: float | None,
) -> Watch:
    """Prepare a champion's watch from the documents frozen with it.

    Parameters
    ----------
    reference, past : Reference, Past
        What the version looked like at training, as a whole and window by window.
    metric : Metric
        What performance is followed by.
    version, trained_to : int, float | None
        The champion; up to which position it has learned.
    """
    policy = drift_policy(config, metric=metric)
    concealed = concealed_features(config, schema)
    reference, past = without_columns(reference, concealed), past_without(past, concealed)
    names = [name for name in reference.inputs.columns if name[:1] != "@"]
    data = prepare_signals(
        reference.inputs, kind=DriftKind.DATA, columns=names, min_effect=config.drift.min_effect
    )
    answers = watch_answers(reference, config=config, metric=metric)
    whole = join_signals([data.measure(reference.inputs), answers.whole])
    usable = _of_this_window(past, str(config.monitoring.window))
    nulls = {phase: _null(phase, usable, whole, policy) for phase in Phase}
    return Watch(
        version=version, trained_to=trained_to, config=config, schema=schema, reference=reference, data=data,
        answers=answers, policy=policy, nulls={phase: null for phase, null in nulls.items() if null is not None},
        notes=(*usable.reasons, *([say_concealed(concealed, config)] if concealed else [])), concealed=concealed,
    )  # fmt: skip


def _of_this_window(past: Past, window: str) -> Past:
    """Return the past where it was cut by the windows that are monitored; else an empty one that says so."""
    if not past.series or past.window == window:
        return past
    message = (
        f"The version's own past was cut by windows of '{past.window}', monitoring.window is '{window}' by now, so "
        "that limits can only come from sampling theory. Train a new version, or restore the window."
    )
    reason = Reason(code="window_changed", message=message, observed=window, limit=past.window)
    return Past(window=window, reasons=(*past.reasons, reason))


def _only(signals: Signals, kind: DriftKind) -> Signals:
    places = [place for place, key in enumerate(signals.keys) if key.kind is kind]
    return Signals(
        keys=tuple(signals.keys[place] for place in places),
        values=signals.values[places],
        errors=signals.errors[places],
        floors=signals.floors[places],
    )


def _null(phase: Phase, past: Past, whole: Signals, policy: Policy) -> Null | None:
    """Join the nulls of a phase's kinds; each kind's past may be other windows."""
    parts = {kind: _only(whole, kind) for kind in phase.kinds if kind in policy.kinds}
    parts = {kind: part for kind, part in parts.items() if part.keys}  # none of data where all is concealed
    if not parts:
        return None
    return join_nulls(
        [fit_null(past.series.get(kind), policy=policy, whole=part) for kind, part in parts.items()]
    )
