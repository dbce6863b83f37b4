"""Answers: what a window's scored rows say of prediction, outcome, concept and performance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.drift.estimate import Reference, estimate_performance, loss_metric
from evergreen.tasks.core.drift.performance import Performance, is_labelled, measure_performance
from evergreen.tasks.core.drift.profile_signals import Links, ProfileSignals, prepare_links, prepare_signals
from evergreen.tasks.core.drift.types import DriftKind, Phase, SignalKey, Signals, join_signals
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.profiles.profile import Profile, measure_profile
from evergreen.tasks.core.profiles.reference import LOSS, OUTCOME, answer_frame
from evergreen.tasks.core.verdict import Reason

# Why a window's answers do not say something.


def too_few_labelled(labelled: int, rows: int, *, least: int) -> Reason | None:
    """Return why a window with so few known outcomes says nothing of them; None where they are enough."""
    if labelled >= least:
        return None
    return Reason(
        code="too_few_labelled",
        message=f"{labelled} of {rows} rows have a known outcome; {least} are needed (monitoring.min_rows). Larger "
        "windows, or a longer data.label_delay, would bring them.",
        observed=labelled,
        limit=least,
        n=rows,
    )


def undefined_metric(rows: Scored, metric: Metric) -> Reason:
    """Return why a window has no value of the metric."""
    return Reason(
        code="metric_undefined",
        message=f"{metric.name} is undefined on these {len(rows)} labelled rows (one class only, no group with a "
        "relevant row, or a column it needs is missing). Larger windows would do.",
        n=len(rows),
    )


def no_standard(what: str) -> Reason:
    """Return why a window's value has nothing to be compared with."""
    return Reason(
        code="no_reference_value",
        message=f"The version was kept without its own {what} at training, so there is nothing to compare with. "
        "Train a new version.",
        observed=what,
    )


def one_class(rows: Scored) -> Reason:
    """Return why a window says nothing of the links of features and outcome."""
    return Reason(
        code="one_class",
        message=f"All {len(rows)} labelled rows are of one class, so that no feature can be linked with the outcome. "
        "Larger windows would do.",
        observed=1,
        limit=2,
        n=len(rows),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class AnswerSignals:
    """What the answers in one window say."""

    signals: Signals
    """``inputs``: prediction; ``outcomes``: outcome, concept and performance. Always the same keys; NaN where
    something cannot be measured."""
    profile: Profile
    """``inputs``: of the answers, over the answers' grid; ``outcomes``: of features and outcome of the labelled
    rows, over the inputs' grid."""
    performance: Performance | None = None
    """The metric: measured on labelled rows, or estimated in the phase ``inputs``; None where neither can be."""
    labelled: int = 0
    """Rows with a known outcome (phase ``outcomes``; else 0)."""
    reasons: Mapping[DriftKind, tuple[Reason, ...]] = field(default_factory=dict)
    """Why a kind is INSUFFICIENT, or why nothing is estimated (under ``performance``)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AnswerMonitor:
    """The signals of a version's answers, prepared once from its reference and used for every window."""

    reference: Reference
    config: ModelConfig
    """``reference``, ``config``: of the version; floors and the fewest rows."""
    metric: Metric
    loss: Metric
    """``metric``, ``loss``: what performance is followed by; the loss whose rise is concept drift."""
    prediction: ProfileSignals
    outcome: ProfileSignals
    """``prediction``, ``outcome``: of score and decision; of the outcome."""
    links: Links
    """Of features and outcome."""

    @property
    def standard(self) -> Performance:
        """Return what the metric was worth at training; undefined where that is not known."""
        unknown = Performance(metric=self.metric.name, value=math.nan)
        return self.reference.performance.get(self.metric.name, unknown)

    @property
    def whole(self) -> Signals:
        """Return the same signals of the reference as a whole, with its own errors: what theory expects."""
        inputs, answers = self.reference.inputs, self.reference.answers
        loss, standard = self.reference.loss, self.standard
        outcomes = self.outcome_signals(inputs, loss=loss, performance=standard)
        return join_signals([self.prediction.measure(answers), outcomes])

    def read_inputs(self, scored: Scored, *, rng: np.random.Generator) -> AnswerSignals:
        """Read a window whose labels are not checked: prediction, and an estimate of the metric."""
        blank = replace(scored, y=np.full(len(scored), np.nan))
        profile = measure_profile(answer_frame(blank, config=self.config), self.reference.answers.grid)
        estimate = estimate_performance(scored, self.metric, calibration=self.reference.calibration, rng=rng)
        return AnswerSignals(
            signals=self.prediction.measure(profile),
            profile=profile,
            performance=estimate if isinstance(estimate, Performance) else None,
            reasons={DriftKind.PERFORMANCE: (estimate,)} if isinstance(estimate, Reason) else {},
        )

    def read_outcomes(self, features: pd.DataFrame, scored: Scored) -> AnswerSignals:
        """Read a window whose labels are due; too few of them make every kind INSUFFICIENT."""
        labelled = is_labelled(scored)
        rows = scored.take(labelled)
        frame, inputs = features[labelled].assign(**{OUTCOME: rows.y}), self.reference.inputs
        profile = measure_profile(frame, inputs.grid, columns=list(inputs.columns))
        few = too_few_labelled(len(rows), len(scored), least=self.config.monitoring.min_rows)
        if few is not None:
            kinds = (DriftKind.OUTCOME, DriftKind.CONCEPT, DriftKind.PERFORMANCE)
            empty = self.outcome_signals(None, loss=None, performance=None)
            why = dict.fromkeys(kinds, (few,))
            return AnswerSignals(signals=empty, profile=profile, labelled=len(rows), reasons=why)
        loss, performance = measure_performance(rows, self.loss), measure_performance(rows, self.metric)
        return AnswerSignals(
            signals=self.outcome_signals(profile, loss=loss, performance=performance),
            profile=profile,
            performance=performance if performance.defined else None,
            labelled=len(rows),
            reasons=self._undefined(rows, performance),
        )

    def outcome_signals(
        self, profile: Profile | None, *, loss: Performance | None, performance: Performance | None
    ) -> Signals:
        """Return outcome, links, loss and performance of labelled rows; NaN for what is None."""
        counted = Profile(grid=self.reference.inputs.grid) if profile is None else profile
        parts = [self.outcome.measure(counted), self.links.measure(profile)]
        return join_signals([*parts, self.loss_signal(loss), self.performance_signal(performance)])

    def loss_signal(self, performance: Performance | None) -> Signals:
        """Return the loss as a signal; only a rise is drift."""
        reference_loss = math.nan if self.reference.loss is None else self.reference.loss.value
        floor = self.config.drift.concept_threshold * abs(reference_loss)
        return _signal(SignalKey(DriftKind.CONCEPT, LOSS, "level"), performance, floor)

    def performance_signal(self, performance: Performance | None) -> Signals:
        """Return the metric as a signal; only a change for the worse is drift."""
        floor = self.config.performance_drop * abs(self.standard.value)
        return _signal(SignalKey(DriftKind.PERFORMANCE, self.metric.name, "level"), performance, floor)

    def _undefined(self, rows: Scored, performance: Performance) -> dict[DriftKind, tuple[Reason, ...]]:
        """Say what cannot be measured on enough labelled rows."""
        reasons: dict[DriftKind, tuple[Reason, ...]] = {}
        if not performance.defined:
            reasons[DriftKind.PERFORMANCE] = (undefined_metric(rows, self.metric),)
        elif not self.standard.defined:
            reasons[DriftKind.PERFORMANCE] = (no_standard(self.metric.name),)
        if self.config.problem in ("binary", "multiclass") and len(pd.unique(rows.y)) < 2:
            reasons[DriftKind.CONCEPT] = (one_class(rows),)
        elif self.reference.loss is None:
            reasons[DriftKind.CONCEPT] = (no_standard("loss"),)
        return reasons


def prepare_answers(reference: Reference, *, config: ModelConfig, metric: Metric) -> AnswerMonitor:
    """Prepare the signals of a version's answers.

    Floors: prediction ``drift.min_effect``; outcome ``drift.outcome_threshold`` (a total-variation shift of t needs a
    share of k classes to move by at least 2 t / k); links ``drift.correlation_threshold`` and, for information,
    ``drift.concept_threshold`` of the reference's; so the loss, and performance ``drift.performance_threshold``.
    """
    drift, inputs, answers = config.drift, reference.inputs, reference.answers
    classes = max(sum(count > 0 for count in inputs.columns[OUTCOME].counts), 2)
    share = 1.0 if inputs.grid.columns[OUTCOME].kind == "numeric" else 2.0 / classes
    scores, least = [name for name in answers.columns if name != OUTCOME], drift.outcome_threshold * share
    return AnswerMonitor(
        reference=reference,
        config=config,
        metric=metric,
        loss=loss_metric(config.problem.value),
        prediction=prepare_signals(
            answers, kind=DriftKind.PREDICTION, columns=scores, min_effect=drift.min_effect
        ),
        outcome=prepare_signals(inputs, kind=DriftKind.OUTCOME, columns=[OUTCOME], min_effect=least),
        links=prepare_links(
            inputs,
            correlation_threshold=drift.correlation_threshold,
            information_threshold=drift.concept_threshold,
        ),
    )


def answer_signals(
    monitor: AnswerMonitor,
    scored: Scored,
    *,
    phase: Phase,
    features: pd.DataFrame | None = None,
    rng: np.random.Generator,
) -> AnswerSignals:
    """Return what the answers in one window say: the one call a phase needs.

    Parameters
    ----------
    monitor : AnswerMonitor
        Of the champion (`prepare_answers`).
    scored : Scored
        The window's rows, scored by the champion; unknown outcomes are null.
    phase : Phase
        ``inputs``: prediction drift, and an estimate without labels. ``outcomes``: the other three kinds.
    features : DataFrame, shape (n, p), optional
        The same rows' features (`evergreen.tasks.core.training.features.feature_frame`); ``outcomes`` needs them.
    rng : numpy.random.Generator
        For the estimate.

    Raises
    ------
    ValueError
        Without features in the phase ``outcomes``.
    """
    if phase is Phase.INPUTS:
        return monitor.read_inputs(scored, rng=rng)
    if features is None:
        raise ValueError("The phase 'outcomes' needs the features of the scored rows.")
    return monitor.read_outcomes(features, scored)


def _signal(key: SignalKey, performance: Performance | None, floor: float) -> Signals:
    measured = performance or Performance(metric=key.column, value=math.nan)
    values, errors, floors = (np.array([number]) for number in (measured.value, measured.se, floor))
    return Signals(keys=(key,), values=values, errors=errors, floors=floors)
