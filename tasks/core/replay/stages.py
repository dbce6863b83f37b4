"""The stages of a retraining in a replay: train, validate, challenge, refit, promote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.core.challenge.agreement import check_refit
from tasks.core.challenge.alpha import require_alpha
from tasks.core.challenge.arrange import arrange_match
from tasks.core.challenge.judgement import choose_rule, judge_match, pose_question
from tasks.core.challenge.spending import ALPHA, LOOK, alpha_look, spent_payload
from tasks.core.config import ModelConfig
from tasks.core.contract.judge import ContractResult
from tasks.core.contract.learn import apply_limits
from tasks.core.data.rows import Parts
from tasks.core.errors import NotLearnable
from tasks.core.gates.gather import gather_context, judge_gates
from tasks.core.gates.validate import GateDecision
from tasks.core.replay.clock import Tick
from tasks.core.replay.history import History
from tasks.core.replay.learn import refit_version, train_version
from tasks.core.replay.ledger import ReplayLedger
from tasks.core.replay.tools import Tools
from tasks.core.replay.version import Throne, Version
from tasks.core.verdict import Reason, StageResult, State


@dataclass(frozen=True, kw_only=True, eq=False)
class Court:
    """What the stages of one policy work with.

    Attributes
    ----------
    config : ModelConfig
        The model under the policy; its candidates are those that compete in a retraining.
    history, ledger, tools : History, ReplayLedger, Tools
        Rows, the policy's own entries, and what is handed from outside.
    """

    config: ModelConfig
    history: History
    ledger: ReplayLedger
    tools: Tools


@dataclass(frozen=True, kw_only=True, eq=False)
class Walked:
    """How a retraining ended.

    Attributes
    ----------
    state : State
        Of the last stage.
    throne : Throne
        Afterwards.
    reasons : tuple of Reason
        What the last stage said.
    version : int | None
        The version it is about.
    rows : int
        Rows that versions were fitted on.
    trained : Version | None
        What was trained, whatever became of it.
    """

    state: State
    throne: Throne
    reasons: tuple[Reason, ...] = ()
    version: int | None = None
    rows: int = 0
    trained: Version | None = None


def walk_stages(court: Court, throne: Throne, tick: Tick, *, change_at: float | None = None) -> Walked:
    """Walk the stages as of a moment; rows that cannot be learned from or judged on end it Insufficient.

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
        return Walked(state=State.INSUFFICIENT, throne=throne, reasons=(Reason.from_error(error),))
    throne = throne.numbered()
    try:
        return _judged(court, throne, tick, trained, parts)
    except NotLearnable as error:
        return Walked(
            state=State.INSUFFICIENT, throne=throne, reasons=(Reason.from_error(error),), rows=trained.rows,
            trained=trained,
        )  # fmt: skip


def _judged(court: Court, throne: Throne, tick: Tick, trained: Version, parts: Parts) -> Walked:
    """Let a trained version through the gate and to the champion.

    As of the same moment, and since the same change, the challenge reads the very rows that the training did.
    """
    decision = validate_trained(court, trained, parts)
    if decision.state is not State.APPROVED:
        return _ended(decision.state, throne, trained, decision.verdict.reasons)
    result = hold_challenge(court, throne, tick, trained, parts)
    if result.state is not State.WON:
        return _ended(result.state, throne, trained, result.reasons)
    return enthrone(court, throne, tick, trained, parts, reasons=result.reasons)


def validate_trained(court: Court, trained: Version, parts: Parts) -> GateDecision:
    """Judge a version by the statistical gates, the team's own, and its contract where that is checked."""
    context = gather_context(
        court.config, trained.model, parts, version=trained.number,
        metrics=court.tools.all_metrics(court.config), contract=_contract(court, trained, parts),
    )  # fmt: skip
    return judge_gates(context, gates=court.tools.gates)


def hold_challenge(
    court: Court, throne: Throne, tick: Tick, challenger: Version, ground: Parts
) -> StageResult:
    """Let a version meet who defends, and spend a part of the alpha budget on it.

    Raises
    ------
    NotLearnable
        When they cannot meet, or the budget is spent.
    """
    config, ledger, opponents = court.config, court.ledger, throne.opponents(challenger)
    metric = court.tools.metric(config)
    match = arrange_match(config, opponents, throne.models(challenger), ground, metric=metric)
    rule = choose_rule(config, defended=match.defender is not None)
    level = config.evaluation.significance_level
    look = require_alpha(alpha_look(ledger.read(ALPHA), now=tick.at, level=level), level=level)
    ledger.append(ALPHA, LOOK, spent_payload(look, opponents), at=tick.at)
    question = pose_question(config, opponents, match, rule)
    return judge_match(config, opponents, match, look=look, rule=rule, question=question)


def enthrone(
    court: Court,
    throne: Throne,
    tick: Tick,
    judged: Version,
    ground: Parts,
    *,
    reasons: Sequence[Reason] = (),
) -> Walked:
    """Refit the judged recipe on all labelled rows where that is the rule, and promote what came of it."""
    heir, made = judged, throne
    said: tuple[Reason, ...] = ()
    if court.config.promotion.refit:
        heir, said, made = _prepare_heir(court, throne, tick, judged, ground)
    return Walked(
        state=State.PROMOTED,
        throne=made.crowned(heir, judged, at=tick.at),
        reasons=(*reasons, *said),
        version=heir.number,
        rows=judged.rows + (heir.rows if made.made > throne.made else 0),
        trained=judged,
    )


def _prepare_heir(
    court: Court, throne: Throne, tick: Tick, judged: Version, ground: Parts
) -> tuple[Version, tuple[Reason, ...], Throne]:
    """Return who is promoted, what stood for or against a refit, and the throne with it counted."""
    try:
        change_at = judged.model.plan.change_at
        parts = court.history.parts(court.config, until=tick.until, refit=True, change_at=change_at)
        refit = refit_version(judged, parts, court.config, number=throne.made + 1, tools=court.tools)
    except NotLearnable as error:
        return judged, (Reason.from_error(error),), throne
    verdict = check_refit(judged.model, refit.model, ground.training, config=court.config)
    return (refit if verdict.passed else judged), verdict.reasons, throne.numbered()


def _contract(court: Court, trained: Version, parts: Parts) -> list[ContractResult]:
    check = court.tools.check_contract
    if trained.contract is None or check is None:
        return []
    contract = apply_limits(trained.contract, court.config.contract)
    windows = {"holdout": parts.holdout.frame, "evaluation": parts.evaluation.frame}
    private = court.config.data.private
    return [
        check(contract, frame, window=name, private=private) for name, frame in windows.items() if len(frame)
    ]


def _ended(state: State, throne: Throne, trained: Version, reasons: tuple[Reason, ...]) -> Walked:
    return Walked(
        state=state,
        throne=throne,
        reasons=reasons,
        version=trained.number,
        rows=trained.rows,
        trained=trained,
    )
