"""The stages of a retraining in a replay: train, validate, challenge, refit, promote."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np

from evergreen.tasks.core.challenge.alpha import ALPHA, SPENT, alpha_allowance, require_alpha, spent_payload
from evergreen.tasks.core.challenge.comparison import Contestants, score_comparison
from evergreen.tasks.core.challenge.evidence import (
    check_refit,
    choose_rule,
    judge_comparison,
    question_digest,
)
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.training import Candidate
from evergreen.tasks.core.contract.check import ContractResult
from evergreen.tasks.core.contract.contract import Contract
from evergreen.tasks.core.contract.learn import apply_limits, learn_contract
from evergreen.tasks.core.data.clock import format_position, parse_position
from evergreen.tasks.core.data.rows import Parts
from evergreen.tasks.core.drift.reference import Reference
from evergreen.tasks.core.errors import NotLearnable
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.registry import deciding_metric, metrics_of
from evergreen.tasks.core.monitoring.reference_series import FrozenReference
from evergreen.tasks.core.profiles.grid import Grid
from evergreen.tasks.core.records.reference import check_same_classes, freeze_refit, freeze_training
from evergreen.tasks.core.replay.history import History, ReplayLedger, Step
from evergreen.tasks.core.training.cross_validation import CandidateScores, cross_validate
from evergreen.tasks.core.training.features import outcomes
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

    def all_metrics(self, config: ModelConfig) -> tuple[Metric, ...]:
        """Return all metrics, the deciding one first."""
        return metrics_of(config, custom=self.metrics)


# A version in a replay: what scores, and what was frozen with it; the throne it may come to.


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
    """Rows it learned from."""
    contract: Contract | None = None
    """Learned from its training rows; None where contracts are not checked."""
    judged_as: int | None = None
    """The version a refit was judged as."""

    @cached_property
    def frozen(self) -> FrozenReference:
        """Return the reference as it is read back."""
        return self.freeze().read_back()

    @property
    def learned_to(self) -> float | None:
        """Return where its training ended, as its tag tells."""
        plan = self.model.plan
        if plan.training is None:
            return None
        return parse_position(format_position(plan.training.end, clock=plan.clock), clock=plan.clock)


@dataclass(frozen=True, kw_only=True, eq=False)
class SimulatedRegistry:
    """Who reigns."""

    champion: Version | None = None
    """None on an empty throne."""
    twin: Version | None = None
    """The version that the champion was judged as, if that is another."""
    since: datetime | None = None
    """When the champion came."""
    made: int = 0
    """Versions made so far."""

    def opponents(self, challenger: Version) -> Contestants:
        """Return who meets whom."""
        return Contestants(
            challenger=challenger.number,
            champion=self.champion.number if self.champion else None,
            twin=self.twin.number if self.twin else None,
        )

    def models(self, challenger: Version) -> dict[int, Scorer]:
        """Return the challenger and all who may defend, by number."""
        present = [one for one in (challenger, self.champion, self.twin) if one is not None]
        return {one.number: one.model for one in present}

    def crowned(self, heir: Version, judged: Version, *, at: datetime) -> SimulatedRegistry:
        """Return the throne with a new champion."""
        twin = judged if heir.judged_as == judged.number else None
        return replace(self, champion=heir, twin=twin, since=at)

    def numbered(self) -> SimulatedRegistry:
        """Return the throne after one more version was made."""
        return replace(self, made=self.made + 1)


# Make versions in a replay: train by the same steps as the flow, and refit a judged recipe.


def fixed_recipe(config: ModelConfig, candidate: Candidate, settings: dict[str, Any]) -> ModelConfig:
    """Return a configuration under which one candidate, with the settings a search found, competes alone."""
    alone = candidate.model_copy(update={"params": {**candidate.params, **settings}, "search": {}})
    return config.model_copy(update={"training": config.training.model_copy(update={"candidates": [alone]})})


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
        When the rows cannot be learned from, or no candidate is eligible.
    """
    lesson = prepare_training(parts, config, custom=tools.metrics)
    choice = _choose(lesson, config)
    if choice.candidate is None:
        first = choice.comparison.verdict.reasons[0]
        raise NotLearnable(first.code, first.message, observed=first.observed, limit=first.limit, n=first.n)
    winner, grid = fit_chosen(lesson, choice, config), _grid(earlier)

    def freeze() -> FrozenReference:
        judged = choice if choice.runs else replace(choice, runs=_cross_validate(lesson, config))
        return freeze_training(lesson, judged, winner, config, earlier=grid)

    model = Scorer(estimator=winner.estimator, schema=lesson.schema, plan=parts.plan, recipe=winner.recipe)
    contract = None
    if config.contract.enabled and tools.check_contract is not None:
        contract = learn_contract(parts.training.frame, schema=lesson.schema, config=config)
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
        judged_as=judged.number,
    )


def _choose(lesson: TrainingTask, config: ModelConfig) -> Selection:
    """Choose among the candidates; one that stands alone and is eligible whatever its folds say needs no trial.

    Its cross-validation is made up for where it is promoted, for the reference takes answers out of fold.
    """
    candidates = config.training.candidates
    if len(candidates) == 1 and _needs_no_trial(lesson, candidates[0], config):
        won = CandidateComparison(
            metric=lesson.metric.name,
            level=0.05,
            winner=candidates[0].name,
            candidates=(),
            verdict=Verdict(outcome=Outcome.PASS),
        )
        return Selection(candidate=candidates[0], settings={}, comparison=won, runs=())
    return choose_candidate(lesson, _cross_validate(lesson, config), config)


def _needs_no_trial(lesson: TrainingTask, candidate: Candidate, config: ModelConfig) -> bool:
    """Tell whether a candidate is eligible whatever it answers: no criteria, and a metric defined on every fold."""
    if candidate.search or lesson.criteria is not None:
        return False
    return all(np.isfinite(_metric_of_guess(lesson, config, test=fold.test)) for fold in lesson.folds)


def _metric_of_guess(lesson: TrainingTask, config: ModelConfig, *, test: np.ndarray) -> float:
    """Return the metric of answers that are all the same."""
    rows, many = lesson.parts.training.take(test), len(lesson.classes)
    shape = (len(rows), many) if many > 2 or config.problem == "multiclass" else (len(rows),)
    guess = np.full(shape, 1 / max(many, 2))
    scored = frame_scores(rows, guess, schema=lesson.schema, config=config, classes=lesson.classes)
    if lesson.metric.needs == "value" and scored.value is None:
        return float("nan")
    return lesson.metric(scored)


def _cross_validate(lesson: TrainingTask, config: ModelConfig) -> tuple[CandidateScores, ...]:
    return tuple(
        cross_validate(
            candidate,
            lesson.parts.training,
            lesson.folds,
            schema=lesson.schema,
            config=config,
            metrics=lesson.metrics,
            classes=lesson.classes,
        )
        for candidate in config.training.candidates
    )


def _grid(earlier: Version | None) -> Grid | None:
    return None if earlier is None else Reference.from_dict(earlier.frozen.profile).inputs.grid


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
    throne: SimulatedRegistry
    """Afterwards."""
    reasons: tuple[Reason, ...] = ()
    """What the last stage said."""
    version: int | None = None
    """The version it is about."""
    rows: int = 0
    """Rows that versions were fitted on."""
    trained: Version | None = None
    """What was trained, whatever became of it."""


def run_stages(
    court: PolicyState, throne: SimulatedRegistry, tick: Step, *, change_at: float | None = None
) -> RetrainingEnd:
    """Walk the stages as of a moment; rows that cannot be learned from or judged on end it InsufficientData.

    Parameters
    ----------
    change_at : float, optional
        Position of the newest detected change, for ``retraining.window: since_change``.
    """
    try:
        parts = court.history.parts(court.config, until=tick.until, change_at=change_at)
        trained = train_version(
            parts, court.config, number=throne.made + 1, tools=court.tools, earlier=throne.champion
        )
    except NotLearnable as error:
        return RetrainingEnd(
            state=State.INSUFFICIENT_DATA, throne=throne, reasons=(Reason.from_error(error),)
        )
    throne = throne.numbered()
    try:
        return _gate_and_challenge(court, throne, tick, trained, parts)
    except NotLearnable as error:
        return RetrainingEnd(
            state=State.INSUFFICIENT_DATA,
            throne=throne,
            reasons=(Reason.from_error(error),),
            rows=trained.rows,
            trained=trained,
        )


def _gate_and_challenge(
    court: PolicyState, throne: SimulatedRegistry, tick: Step, trained: Version, parts: Parts
) -> RetrainingEnd:
    """Let a trained version through the gate and to the champion.

    As of the same moment, and since the same change, the challenge reads the very rows that the training did.
    """
    decision = validate_trained(court, trained, parts)
    if decision.state is not State.APPROVED:
        return _ended(decision.state, throne, trained, decision.verdict.reasons)
    result = run_challenge(court, throne, tick, trained, parts)
    if result.state is not State.WON:
        return _ended(result.state, throne, trained, result.reasons)
    return promote_trained(court, throne, tick, trained, parts, reasons=result.reasons)


def validate_trained(court: PolicyState, trained: Version, parts: Parts) -> GateDecision:
    """Judge a version by the statistical gates, the team's own, and its contract where that is checked."""
    context = gather_context(
        court.config,
        trained.model,
        parts,
        version=trained.number,
        metrics=court.tools.all_metrics(court.config),
        contract=_contract(court, trained, parts),
    )
    return judge_gates(context, gates=court.tools.gates)


def run_challenge(
    court: PolicyState, throne: SimulatedRegistry, tick: Step, challenger: Version, ground: Parts
) -> StageResult:
    """Let a version meet who defends, and spend a part of the alpha budget on it.

    Raises
    ------
    NotLearnable
        When they cannot meet, or the budget is spent.
    """
    config, ledger, opponents = court.config, court.ledger, throne.opponents(challenger)
    metric = court.tools.metric(config)
    match = score_comparison(config, opponents, throne.models(challenger), ground, metric=metric)
    rule = choose_rule(config, defended=match.defender is not None)
    level = config.evaluation.significance_level
    look = require_alpha(alpha_allowance(ledger.read(ALPHA), now=tick.at, level=level), level=level)
    ledger.append(ALPHA, SPENT, spent_payload(look, opponents), at=tick.at)
    question = question_digest(config, opponents, match, rule)
    return judge_comparison(config, opponents, match, look=look, rule=rule, question=question)


def promote_trained(
    court: PolicyState,
    throne: SimulatedRegistry,
    tick: Step,
    judged: Version,
    ground: Parts,
    *,
    reasons: Sequence[Reason] = (),
) -> RetrainingEnd:
    """Refit the judged recipe on all labelled rows where that is the rule, and promote what came of it."""
    heir, made = judged, throne
    said: tuple[Reason, ...] = ()
    if court.config.promotion.refit:
        heir, said, made = _prepare_refit(court, throne, tick, judged, ground)
    return RetrainingEnd(
        state=State.PROMOTED,
        throne=made.crowned(heir, judged, at=tick.at),
        reasons=(*reasons, *said),
        version=heir.number,
        rows=judged.rows + (heir.rows if made.made > throne.made else 0),
        trained=judged,
    )


def _prepare_refit(
    court: PolicyState, throne: SimulatedRegistry, tick: Step, judged: Version, ground: Parts
) -> tuple[Version, tuple[Reason, ...], SimulatedRegistry]:
    """Return who is promoted, what stood for or against a refit, and the throne with it counted."""
    try:
        change_at = judged.model.plan.change_at
        parts = court.history.parts(court.config, until=tick.until, refit=True, change_at=change_at)
        refit = refit_version(judged, parts, court.config, number=throne.made + 1, tools=court.tools)
    except NotLearnable as error:
        return judged, (Reason.from_error(error),), throne
    verdict = check_refit(judged.model, refit.model, ground.training, config=court.config)
    return (refit if verdict.passed else judged), verdict.reasons, throne.numbered()


def _contract(court: PolicyState, trained: Version, parts: Parts) -> list[ContractResult]:
    check = court.tools.check_contract
    if trained.contract is None or check is None:
        return []
    contract = apply_limits(trained.contract, court.config.contract)
    windows = {"holdout": parts.holdout.frame, "evaluation": parts.evaluation.frame}
    private = court.config.data.private
    return [
        check(contract, frame, window=name, private=private) for name, frame in windows.items() if len(frame)
    ]


def _ended(
    state: State, throne: SimulatedRegistry, trained: Version, reasons: tuple[Reason, ...]
) -> RetrainingEnd:
    return RetrainingEnd(
        state=state,
        throne=throne,
        reasons=reasons,
        version=trained.number,
        rows=trained.rows,
        trained=trained,
    )
