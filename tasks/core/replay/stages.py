"""The stages of a retraining in a replay: train, validate, challenge, refit, promote."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

import numpy as np

from evergreen.tasks.core.challenge.alpha import ALPHA, SPENT, alpha_allowance, require_alpha, spent_payload
from evergreen.tasks.core.challenge.comparison import Contestants, score_comparison
from evergreen.tasks.core.challenge.evidence import check_refit, choose_rule, judge_comparison
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.training import Candidate
from evergreen.tasks.core.contract.check import ContractResult
from evergreen.tasks.core.contract.contract import Contract, apply_limits, learn_contract
from evergreen.tasks.core.data.clock import format_position, parse_position
from evergreen.tasks.core.data.rows import Parts
from evergreen.tasks.core.drift.estimate import Reference
from evergreen.tasks.core.errors import NotLearnable
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.registry import deciding_metric, metrics_of
from evergreen.tasks.core.monitoring.reference_series import FrozenReference
from evergreen.tasks.core.records.reference import check_same_classes, freeze_refit, freeze_training
from evergreen.tasks.core.replay.history import History, ReplayLedger, Step
from evergreen.tasks.core.training.cross_validation import CandidateScores, cross_validate
from evergreen.tasks.core.training.features import ModelSpec, outcomes
from evergreen.tasks.core.training.scoring import Scorer, frame_scores
from evergreen.tasks.core.training.selection import CandidateComparison
from evergreen.tasks.core.training.training import (
    Selection,
    TrainingTask,
    choose_candidate,
    fit_chosen,
    prepare_training,
    refit,
)
from evergreen.tasks.core.validation.validate import GateDecision, GateFunction, gather_context, judge_gates
from evergreen.tasks.core.verdict import Outcome, Reason, StageResult, State, Verdict

# What a replay is handed from outside the core: a team's own metrics and gates, and the check of contracts.


CheckContract = Callable[..., ContractResult]
"""``(contract, frame, *, window, private) -> ContractResult``, as `evergreen.tasks.io.contracts.check_contract`."""


@dataclass(frozen=True, kw_only=True)
class Tools:
    """Everything that has to be imported by name or costs seconds to import."""

    metrics: Mapping[str, Metric] = field(default_factory=dict)
    """The team's own."""
    gates: Mapping[str, GateFunction] = field(default_factory=dict)
    """The team's own, by dotted path."""
    check_contract: CheckContract | None = None
    """Checks a window against a version's contract; without it contracts are not part of the replayed
    gate."""

    def metric(self, config: ModelConfig) -> Metric:
        """Return the deciding metric."""
        return deciding_metric(config, custom=self.metrics)


# A version in a replay: what scores, and what was frozen with it; the registry that names the champion.


@dataclass(frozen=True, kw_only=True, eq=False)
class Version:
    """One version."""

    number: int
    """Counted as the registry counts: every training and every refit takes one."""
    model: Scorer
    """What scores."""
    freeze: Callable[[], FrozenReference]
    """Makes the reference, which takes a cross-validation, at first use: a challenger that is refused needs
    none."""
    rows: int
    """Rows it was trained on."""
    contract: Contract | None = None
    """Learned from its training rows; None where contracts are not checked."""
    evaluated_as: int | None = None
    """The version a refit was judged as."""

    @cached_property
    def frozen(self) -> FrozenReference:
        """Return the reference as it is read back."""
        return self.freeze().read_back()

    @property
    def trained_up_to(self) -> float | None:
        """Return where its training ended, as its tag tells."""
        plan = self.model.plan
        if plan.training is None:
            return None
        return parse_position(format_position(plan.training.end, clock=plan.clock), clock=plan.clock)


@dataclass(frozen=True, kw_only=True, eq=False)
class SimulatedRegistry:
    """Which version is champion."""

    champion: Version | None = None
    """None before the first."""
    evaluated_version: Version | None = None
    """The version that the champion was judged as, if that is another."""
    since: datetime | None = None
    """When the champion was promoted."""
    made: int = 0
    """Versions made so far."""

    def contestants(self, challenger: Version) -> Contestants:
        """Return which versions are compared."""
        return Contestants(
            challenger=challenger.number,
            champion=self.champion.number if self.champion else None,
            evaluated_version=self.evaluated_version.number if self.evaluated_version else None,
        )

    def models(self, challenger: Version) -> dict[int, Scorer]:
        """Return the challenger and all versions that may defend, by number."""
        present = [one for one in (challenger, self.champion, self.evaluated_version) if one is not None]
        return {one.number: one.model for one in present}

    def promoted(self, refit: Version, judged: Version, *, at: datetime) -> SimulatedRegistry:
        """Return the registry with a new champion."""
        evaluated_version = judged if refit.evaluated_as == judged.number else None
        return replace(self, champion=refit, evaluated_version=evaluated_version, since=at)

    def numbered(self) -> SimulatedRegistry:
        """Return the registry after one more version was made."""
        return replace(self, made=self.made + 1)


# Make versions in a replay: train by the same steps as the flow, and refit a judged recipe.


def train_version(
    parts: Parts, config: ModelConfig, *, number: int, tools: Tools, earlier: Version | None
) -> Version:
    """Train a version.

    Parameters
    ----------
    parts : Parts
        Rows as of now.
    number : int
        The number it gets.
    earlier : Version | None
        The champion, whose grid is kept while it fits.

    Raises
    ------
    NotLearnable
        When the rows cannot be trained on, or no candidate is eligible.
    """
    task = prepare_training(parts, config, custom=tools.metrics)
    selection = _choose(task, config)
    if selection.candidate is None:
        raise selection.comparison.verdict.reasons[0].to_error()
    winner = fit_chosen(task, selection, config)
    grid = None if earlier is None else Reference.from_dict(earlier.frozen.profile).inputs.grid

    def freeze() -> FrozenReference:
        judged = selection if selection.runs else replace(selection, runs=_cross_validate(task, config))
        return freeze_training(task, judged, winner, config, earlier=grid)

    model = Scorer(estimator=winner.estimator, schema=task.schema, plan=parts.plan, recipe=winner.recipe)
    contract = None
    if config.contract.enabled and tools.check_contract is not None:
        contract = learn_contract(parts.training.frame, schema=task.schema, config=config)
    return Version(number=number, model=model, freeze=freeze, rows=len(parts.training), contract=contract)


def refit_version(
    judged: Version, parts: Parts, config: ModelConfig, *, number: int, tools: Tools
) -> Version:
    """Fit a judged version's recipe on all labelled rows.

    Parameters
    ----------
    parts : Parts
        Of a refit: everything is training.

    Raises
    ------
    NotLearnable
        ``classes_changed`` when the rows hold other classes.
    """
    rows, schema, recipe = parts.training, judged.model.schema, judged.model.recipe
    check_same_classes(outcomes(rows.frame, schema, config), recipe)
    estimator = refit(recipe, rows, schema=schema, config=config)

    def freeze() -> FrozenReference:
        metric = tools.metric(config)
        return freeze_refit(judged.frozen, rows, schema=schema, config=config, metric=metric)

    model = Scorer(estimator=estimator, schema=schema, plan=parts.plan, recipe=recipe)
    return Version(
        number=number,
        model=model,
        freeze=freeze,
        rows=len(rows),
        contract=judged.contract,
        evaluated_as=judged.number,
    )


def _choose(task: TrainingTask, config: ModelConfig) -> Selection:
    """Choose among the candidates; one that stands alone and is eligible whatever its folds say needs no trial.

    Its cross-validation is made up for where it is promoted, for the reference takes answers out of fold.
    """
    candidate, *others = config.training.candidates
    if not others and _needs_no_trial(task, candidate, config):
        verdict, metric = Verdict(outcome=Outcome.PASS), task.metric.name
        won = CandidateComparison(
            metric=metric, level=0.05, winner=candidate.name, candidates=(), verdict=verdict
        )
        return Selection(candidate=candidate, settings={}, comparison=won, runs=())
    return choose_candidate(task, _cross_validate(task, config), config)


def _needs_no_trial(task: TrainingTask, candidate: Candidate, config: ModelConfig) -> bool:
    """Tell whether a candidate is eligible whatever it answers: no criteria, and a metric defined on every fold."""
    if candidate.search or task.criteria is not None:
        return False
    return all(np.isfinite(_metric_of_guess(task, config, test=fold.test)) for fold in task.folds)


def _metric_of_guess(task: TrainingTask, config: ModelConfig, *, test: np.ndarray) -> float:
    """Return the metric of answers that are all the same."""
    rows, many = task.parts.training.take(test), len(task.classes)
    shape = (len(rows), many) if many > 2 or config.problem == "multiclass" else (len(rows),)
    guess = np.full(shape, 1 / max(many, 2))
    scored = frame_scores(rows, guess, ModelSpec(task.schema, config, task.classes))
    if task.metric.needs == "value" and scored.value is None:
        return float("nan")
    return task.metric(scored)


def _cross_validate(task: TrainingTask, config: ModelConfig) -> tuple[CandidateScores, ...]:
    rows, spec = task.parts.training, ModelSpec(task.schema, config, task.classes)
    return tuple(
        cross_validate(one, rows, task.folds, spec, metrics=task.metrics)
        for one in config.training.candidates
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class PolicyState:
    """What the stages of one policy work with."""

    config: ModelConfig
    """The model under the policy; its candidates are those that compete in a retraining."""
    history: History
    ledger: ReplayLedger
    tools: Tools
    """Rows, the policy's own entries, and what is handed from outside."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RetrainingEnd:
    """How a retraining ended."""

    state: State
    """Of the last stage."""
    registry: SimulatedRegistry
    """Afterwards."""
    reasons: tuple[Reason, ...] = ()
    """Reasons of the last stage."""
    version: int | None = None
    """The version it is about."""
    rows: int = 0
    """Rows that versions were fitted on."""
    trained: Version | None = None
    """What was trained, whatever became of it."""


def run_stages(
    state: PolicyState, registry: SimulatedRegistry, step: Step, *, change_at: float | None = None
) -> RetrainingEnd:
    """Run the stages as of a moment; rows that cannot be trained on or judged on end it InsufficientData.

    As of the same moment, and since the same change, the challenge reads the very rows that the training did.

    Parameters
    ----------
    change_at : float, optional
        Position of the newest detected change, for ``retraining.window: since_change``.
    """
    trained, version = None, None
    try:
        parts = state.history.parts(state.config, until=step.until, change_at=change_at)
        trained = train_version(
            parts, state.config, number=registry.made + 1, tools=state.tools, earlier=registry.champion
        )
        registry = registry.numbered()
        decision = validate_trained(state, trained, parts)
        ended, reasons = decision.state, decision.verdict.reasons
        if ended is State.APPROVED:
            result = run_challenge(state, registry, step, trained, parts)
            ended, reasons = result.state, result.reasons
        if ended is State.WON:
            return promote_trained(state, registry, step, trained, parts, reasons=reasons)
        version = trained.number
    except NotLearnable as error:
        ended, reasons = State.INSUFFICIENT_DATA, (Reason.from_error(error),)
    rows = trained.rows if trained else 0
    return RetrainingEnd(
        state=ended, registry=registry, reasons=reasons, version=version, rows=rows, trained=trained
    )


def validate_trained(state: PolicyState, trained: Version, parts: Parts) -> GateDecision:
    """Judge a version by the statistical gates, the team's own, and its contract where that is checked."""
    config, tools, results = state.config, state.tools, []
    if trained.contract is not None and tools.check_contract is not None:
        contract = apply_limits(trained.contract, config.contract)
        results = [
            tools.check_contract(contract, rows.frame, window=name, private=config.data.private)
            for name, rows in (("holdout", parts.holdout), ("evaluation", parts.evaluation))
            if len(rows)
        ]
    metrics = metrics_of(config, custom=tools.metrics)
    context = gather_context(
        config, trained.model, parts, version=trained.number, metrics=metrics, contract=results
    )
    return judge_gates(context, gates=tools.gates)


def run_challenge(
    state: PolicyState, registry: SimulatedRegistry, step: Step, challenger: Version, parts: Parts
) -> StageResult:
    """Compare a version with the champion, and spend a part of the alpha budget on it.

    Raises
    ------
    NotLearnable
        When they cannot be compared, or the budget is spent.
    """
    config, ledger, contestants = state.config, state.ledger, registry.contestants(challenger)
    metric = state.tools.metric(config)
    comparison = score_comparison(config, contestants, registry.models(challenger), parts, metric=metric)
    rule = choose_rule(config, defended=comparison.defender is not None)
    level = config.evaluation.significance_level
    allowance = require_alpha(alpha_allowance(ledger.read(ALPHA), now=step.at, level=level), level=level)
    payload = spent_payload(allowance, challenger=contestants.challenger, champion=contestants.champion)
    ledger.append(ALPHA, SPENT, payload, at=step.at)
    return judge_comparison(config, contestants, comparison, allowance=allowance, rule=rule)


def promote_trained(
    state: PolicyState,
    registry: SimulatedRegistry,
    step: Step,
    judged: Version,
    parts: Parts,
    *,
    reasons: tuple[Reason, ...] = (),
) -> RetrainingEnd:
    """Refit the judged recipe on all labelled rows where that is the rule, and promote what came of it."""
    config, promoted, rows = state.config, judged, judged.rows
    if config.promotion.refit:
        try:
            change_at = judged.model.plan.change_at
            labelled = state.history.parts(config, until=step.until, refit=True, change_at=change_at)
            refit = refit_version(judged, labelled, config, number=registry.made + 1, tools=state.tools)
        except NotLearnable as error:
            reasons = (*reasons, Reason.from_error(error))
        else:
            verdict = check_refit(judged.model, refit.model, parts.training, config=config)
            promoted, reasons = refit if verdict.passed else judged, (*reasons, *verdict.reasons)
            registry, rows = registry.numbered(), rows + promoted.rows
    return RetrainingEnd(
        state=State.PROMOTED,
        registry=registry.promoted(promoted, judged, at=step.at),
        reasons=reasons,
        version=promoted.number,
        rows=rows,
        trained=judged,
    )
