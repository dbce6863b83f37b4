"""Live tests in the ledger: their state, versions that wait for one, what happened meanwhile, and their alpha."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from evergreen.tasks.core.ab_testing.definition import (
    ARMS,
    PAIRED,
    LiveTest,
    champion_moved,
    live_test_payload,
    read_live_test,
)
from evergreen.tasks.core.challenge.alpha import AlphaAllowance, alpha_allowance, spent_payload
from evergreen.tasks.core.errors import InputError, unknown_name
from evergreen.tasks.core.promotion.history import DONE, PLANS, recorded_plans
from evergreen.tasks.core.promotion.ledger import LedgerEntry, parse_entry_id
from evergreen.tasks.core.serial import to_plain
from evergreen.tasks.core.traffic.plan import TrafficPlan
from evergreen.tasks.core.traffic.state import STOPPED, TRAFFIC, TrafficState, fold_traffic
from evergreen.tasks.core.verdict import Reason, State

if TYPE_CHECKING:
    from evergreen.tasks.core.ab_testing.analysis import Conclusion, LiveTestAnalysis

# Live tests in the ledger: created, begun, analysed, concluded or aborted; folded into their present state.


AB = "ab"
"""Stream of the live tests of a model."""
CREATED, BEGUN, ANALYSED, CONCLUDED, ABORTED = "created", "begun", "looked", "concluded", "aborted"


@dataclass(frozen=True, kw_only=True)
class StreamMarks:
    """Numbers of the newest entries of the streams ``traffic`` and ``plans`` when a test was created; 0: none."""

    traffic: int = 0
    plans: int = 0


@dataclass(frozen=True, kw_only=True)
class TestState:
    """A live test as recorded in the ledger."""

    __test__ = False

    test: LiveTest
    """Its definition; ``start`` is where it began, once it has."""
    entry_id: str
    """Id of the entry that created it."""
    created_at: datetime
    """Aware."""
    stream_marks: StreamMarks = StreamMarks()
    """What had happened when it was created."""
    begun_at: datetime | None = None
    """When its start was fixed, after its alpha was spent and the traffic shared; None before."""
    analyses: tuple[Mapping[str, Any], ...] = ()
    """Each analysis (`LiveTestAnalysis.to_dict`) with ``at``, oldest first."""
    ended_at: datetime | None = None
    """None while it runs."""
    ended: Mapping[str, Any] | None = None
    """How it ended: ``action``, ``winner``, ``reasons``, and what ended it."""

    @property
    def status(self) -> str:
        """``running``, or the action that ended it: ``promote``, ``keep``, ``expire``, ``abort``."""
        return "running" if self.ended is None else str(self.ended["action"])

    def trace(self, variant: str) -> list[dict[str, Any]]:
        """Return the improvement at each analysis: ``at``, ``now``, ``n``, ``improvement``, ``low``, ``high``."""
        return [
            {
                "at": analysis["at"],
                "now": analysis["now"],
                "n": one["n_control"] + (0 if one["paired"] else one["n_challenger"]),
                **{name: one[name] for name in _TRACED},
            }
            for analysis in self.analyses
            for one in analysis["challengers"]
            if one["variant"] == variant
        ]


_TRACED = ("improvement", "low", "high", "verdict")


def fold_tests(entries: Iterable[LedgerEntry]) -> tuple[TestState, ...]:
    """Return a model's live tests in order of their creation; entries of other streams are passed over."""
    states: dict[str, TestState] = {}
    for entry in (one for one in entries if one.stream == AB):
        if entry.kind == CREATED:
            test = read_live_test(entry.payload["definition"])
            marks = StreamMarks(**entry.payload["marks"])
            state = TestState(test=test, entry_id=entry.id, created_at=entry.at, stream_marks=marks)
        else:
            state = _followed(states[entry.payload["test"]], entry)
        states[state.test.name] = state
    return tuple(states.values())


def _followed(state: TestState, entry: LedgerEntry) -> TestState:
    """Return a test after an entry that is not the one of its creation; what follows its end changes nothing."""
    if entry.kind == BEGUN:
        return replace(state, test=replace(state.test, start=entry.payload["start"]), begun_at=entry.at)
    if entry.kind == ANALYSED:
        analysis = {**entry.payload["look"], "at": entry.at.isoformat()}
        return replace(state, analyses=(*state.analyses, analysis))
    return state if state.ended else replace(state, ended_at=entry.at, ended=entry.payload)


def running_test(states: Sequence[TestState]) -> TestState | None:
    """Return the test that runs; there is at most one a model."""
    running = [state for state in states if state.ended is None]
    return running[-1] if running else None


def describe_running(states: Sequence[TestState]) -> dict[str, Any] | None:
    """Return the test that runs as a model's status shows it, as of its newest analysis; None where none runs."""
    state = running_test(states)
    if state is None:
        return None
    newest: Mapping[str, Any] = state.analyses[-1] if state.analyses else {"challengers": (), "at": None}
    results = {one["variant"]: one for one in newest["challengers"]}
    challengers = [
        {**arm.to_reference(), **{key: results.get(arm.name, {}).get(key) for key in _TRACED}}
        for arm in state.test.challengers
    ]
    return {
        "test": state.test.name,
        "metric": state.test.metric,
        "mode": state.test.mode,
        "since": state.created_at.isoformat(),
        "begun": state.begun_at is not None,
        "looks": len(state.analyses),
        "last_look": newest["at"],
        "challengers": challengers,
    }


def find_test(states: Sequence[TestState], name: str | None) -> TestState:
    """Return a test by name; without one the test that runs, else the newest.

    Raises
    ------
    UnknownName
        When no test has the name.
    InputError
        When there is no test at all.
    """
    if not states:
        raise InputError("No live test was ever created for this model. Begin with 'evergreen ab create'.")
    if name is None:
        return running_test(states) or states[-1]
    named = {state.test.name: state for state in states}
    if name not in named:
        raise unknown_name("live test", name, named)
    return named[name]


def create_payload(
    entries: Iterable[LedgerEntry], test: LiveTest, marks: StreamMarks = StreamMarks()
) -> dict[str, Any]:
    """Return what the entry of a new test holds: its definition, and what had happened before.

    Raises
    ------
    InputError
        When another test of the model runs, or the name was used before.
    """
    states = fold_tests(entries)
    running = running_test(states)
    if running is not None:
        raise InputError(
            f"Live test '{running.test.name}' of this model is running. Conclude or abort it before '{test.name}'."
        )
    if test.name in {state.test.name for state in states}:
        raise InputError(
            f"A live test '{test.name}' was there before. Choose a new name: results are stored by it."
        )
    return {"test": test.name, "definition": live_test_payload(test), "marks": asdict(marks)}


def begin_payload(entries: Iterable[LedgerEntry], name: str, start: float) -> dict[str, Any] | None:
    """Return what the entry holds that fixes a test's start; None where it has one, or does not run."""
    state = running_test(fold_tests(entries))
    if state is None or state.test.name != name or state.begun_at is not None:
        return None
    return {"test": name, "start": start}


def analysis_payload(test: LiveTest, analysis: LiveTestAnalysis) -> dict[str, Any]:
    """Return what the entry of an analysis holds."""
    return to_plain({"test": test.name, "look": analysis.to_dict()})


def end_payload(test: LiveTest, conclusion: Conclusion, *, by: str) -> dict[str, Any]:
    """Return what the entry of an end holds; ``by`` says who or what ended it."""
    return to_plain({"test": test.name, "by": by, **conclusion.to_dict()})


LIVE_PATHS = ("shadow", "ab")
"""Values of ``promotion.evidence`` under which the live verdict promotes."""


def admitted_challenger(
    decisions: Iterable[LedgerEntry],
    tests: Sequence[TestState],
    *,
    path: str,
    challenger: int | None,
    champion: int | None,
) -> int | None:
    """Return the version that is to be tested live; None where none waits.

    Parameters
    ----------
    decisions : iterable of Entry
        The model's decisions in order.
    tests : sequence of TestState
        Its live tests so far.
    path : str
        ``promotion.evidence``.
    challenger, champion : int or None
        Versions under the aliases.
    """
    if path not in LIVE_PATHS or challenger is None or champion is None or challenger == champion:
        return None
    from evergreen.tasks.core.challenge.evidence import JUDGEMENT

    judged = [one for one in decisions if one.kind == JUDGEMENT and one.payload.get("version") == challenger]
    if not judged or judged[-1].payload.get("state") != State.READY_FOR_LIVE_TEST.value:
        return None
    since = [one.test for one in tests if one.created_at >= judged[-1].at]
    return None if challenger in {arm.version for test in since for arm in test.challengers} else challenger


# What happened to a live test's traffic and champion since it was created, between analyses too.


def has_arms(plan: TrafficPlan, test: LiveTest) -> bool:
    """Tell whether the traffic is as the test declares it; other shadows may score along, no other version answers."""
    variants = plan.shadows if test.mode == PAIRED else plan.challengers
    planned = {one.name: (one.version, one.share) for one in variants}
    declared = {arm.name: (arm.version, arm.share) for arm in test.challengers}
    return planned == declared if test.mode == ARMS else declared.items() <= planned.items()


def traffic_meanwhile(entries: Iterable[LedgerEntry], state: TestState) -> tuple[Reason, ...]:
    """Return why the traffic was not always the test's since it was shared, whatever it is by now; empty if it was.

    Parameters
    ----------
    entries : iterable of Entry
        The model's stream ``traffic``, in order.
    state : TestState
        The test. What was there before its creation is passed over, and so is what came before its arms.
    """
    message = (
        "The traffic was set anew, so that the arms are no longer those of the test, or were not for a while."
    )
    changed, shared = Reason(code="traffic_changed", message=message), False
    for entry in entries:
        if entry.stream != TRAFFIC or entry.seq < state.stream_marks.traffic:
            continue
        traffic = fold_traffic([entry], model=entry.model)
        declared = has_arms(traffic.plan, state.test)
        if shared and not declared:
            stopped = traffic.kind == STOPPED and traffic.reasons
            return tuple(traffic.reasons) if stopped else (changed,)
        shared = declared
    return () if shared or state.begun_at is None else (changed,)


def champions_meanwhile(entries: Iterable[LedgerEntry], state: TestState) -> tuple[Reason, ...]:
    """Return which other versions were champion since the test was created, for however short; empty: none.

    Parameters
    ----------
    entries : iterable of Entry
        The model's stream ``plans``, in order.
    state : TestState
        The test.
    """
    control, champions = state.test.control.version, []
    for recorded in recorded_plans(entry for entry in entries if entry.stream == PLANS):
        if recorded.outcome in DONE and parse_entry_id(recorded.plan_id)[2] > state.stream_marks.plans:
            champions += [recorded.plan.expected_champion, recorded.plan.version]
    return tuple(
        champion_moved(f"Version {one} was champion for a while since the test was created", one, control)
        for one in dict.fromkeys(champions)
        if one not in (None, control)
    )


def orphaned_variants(traffic: TrafficState, tests: Sequence[TestState]) -> list[str]:
    """Return the variants that a live test set and that no running test has: their test is over."""
    running = running_test(tests)
    ours = {arm.name for arm in running.test.challengers} if running else set()
    return [one.name for one in traffic.plan.variants if one.name in traffic.judged and one.name not in ours]


# What a live test may spend of the alpha budget, and its spending, once, under the id of the entry that created it.


def live_alpha(
    entries: Iterable[LedgerEntry], *, now: datetime, level: float, wanted: float | None = None
) -> AlphaAllowance:
    """Return what a live test may spend of the model's budget of wrong promotions.

    A whole test, with all its analyses, spends like one challenge: a quarter of what is left, or what is
    wanted, since its sequence allows for an analysis at any time.

    Parameters
    ----------
    entries : iterable of Entry
        Of the stream ``alpha``.
    level : float
        ``evaluation.significance_level``.
    wanted : float, optional
        Alpha that a person asks for.

    Raises
    ------
    InputError
        When more is wanted than is left.
    """
    usual = alpha_allowance(entries, now=now, level=level)
    if wanted is None:
        return usual
    if not 0 < wanted <= usual.left_before:
        raise InputError(
            f"Alpha {wanted:g} is not available: {usual.left_before:g} of {level:g} is left for 90 days "
            "(evaluation.significance_level). Ask for less, or wait."
        )
    return AlphaAllowance(alpha=wanted, left_before=usual.left_before, left_after=usual.left_before - wanted)


def has_spent(entries: Iterable[LedgerEntry], state: TestState) -> bool:
    """Tell whether the alpha of a test is spent; ``entries`` are of the stream ``alpha``."""
    return any(entry.payload.get("live_test_entry") == state.entry_id for entry in entries)


def alpha_payload(allowance: AlphaAllowance, state: TestState) -> dict[str, Any]:
    """Return what the entry of the stream ``alpha`` holds."""
    challenger, champion = state.test.challengers[0].version, state.test.control.version
    test = {"live_test": state.test.name, "live_test_entry": state.entry_id}
    return spent_payload(allowance, challenger=challenger, champion=champion, **test)
