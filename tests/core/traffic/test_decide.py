"""Ramps and the ledger's stream: steps, holds, ends, and what promotions and rollbacks do to a plan."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from evergreen.tasks.core.config.serving import GuardrailLimits, Ramp
from evergreen.tasks.core.errors import InputError, UnknownName
from evergreen.tasks.core.promotion.history import ChampionPeriod
from evergreen.tasks.core.promotion.ledger import next_entry
from evergreen.tasks.core.traffic.changes import RegisteredVersions, begin_ramp, set_traffic, settle_traffic
from evergreen.tasks.core.traffic.counts import ArmFigures
from evergreen.tasks.core.traffic.decide import (
    MAX_ROUND_LENGTH,
    Round,
    TrafficAction,
    decide_traffic,
    end_variants,
)
from evergreen.tasks.core.traffic.state import (
    TRAFFIC,
    TrafficState,
    describe,
    fold_traffic,
    in_force,
    promoted_since,
)
from evergreen.tasks.core.traffic.variant import Role, Variant, parse_share, parse_variant
from evergreen.tasks.core.verdict import Reason

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEN = timedelta(minutes=10)
LIMITS = GuardrailLimits(min_rows=100, min_time=TEN)
KNOWN = RegisteredVersions(champion=7, versions={n: {"validation_status": "approved"} for n in range(1, 10)})
EIGHT = Variant(name="v8", role=Role.CHALLENGER, share=0.1, members=((8, 1),))
NINE = Variant(name="v9", role=Role.CHALLENGER, share=0.1, members=((9, 1),))
BLEND = Variant(name="blend", role=Role.CHALLENGER, share=0.1, members=((7, 1), (8, 1)))
WATCHER = Variant(name="watcher", role=Role.SHADOW, share=1.0, members=((9, 1),))
RAMP = Ramp(arm="v8", steps=(0.05, 0.5, 1.0), min_rows=100, min_time=TEN)


def plain():
    return fold_traffic([], model="fraud")


def wanted(*variants, state=None, known=KNOWN, **options):
    return set_traffic(
        state or plain(), variants, model="fraud", registered=known, why="try it", now=NOW, **options
    )


def ramping(*others):
    variants = begin_ramp(wanted(*others) if others else plain(), EIGHT, RAMP)
    return wanted(*variants, ramp=RAMP)


def seen(rows, *, number=1, since=NOW, errors=0, champion_rows=2000):
    """A round in which v8 answered so many rows, each of an entity of its own."""
    arm = ArmFigures(
        name="v8",
        rows=rows,
        errors=errors,
        erred=errors,
        answered=rows - errors,
        probes=20,
        slower=4,
        ranks=((0.5, rows - errors),),
    )
    champion = ArmFigures(
        name="champion", rows=champion_rows, answered=champion_rows, ranks=((0.5, champion_rows),)
    )
    return Round(number=number, since=since, figures=(champion, arm))


def decide(state, round_, *, after=TEN, limits=LIMITS):
    return decide_traffic(state, round_, now=round_.since + after, limits=limits)


# ramps


@pytest.mark.parametrize(("rows", "after"), [(99, TEN), (5000, TEN - timedelta(seconds=1)), (0, TEN)])
def test_a_step_lasts_its_rows_and_its_time(rows, after):
    decision = decide(ramping(), seen(rows, champion_rows=19 * rows), after=after)
    assert (TrafficAction.HOLD, "round_not_over", False) == (
        decision.action,
        decision.reasons[0].code,
        decision.next_round,
    )
    assert decision.kind is None


def test_a_quiet_canary_goes_step_by_step_to_its_end():
    state, shares, acts = ramping(), [], []
    for number in range(1, 4):
        decision = decide(state, seen(100, number=number))
        state = decision.state
        acts.append(decision.action)
        shares.append(state.plan.variant("v8").share)
    assert [TrafficAction.STEP, TrafficAction.STEP, TrafficAction.DONE] == acts
    assert [0.5, 1.0, 1.0] == shares
    assert (None, None) == (state.ramp, state.step)
    assert 2000 == state.baseline.rows  # what the arm that has all is held to
    assert "'v8' passed the last step" in state.reasons[0].message


def test_a_tripped_guardrail_sends_everything_back_at_once():
    decision = decide(ramping(WATCHER), seen(50, errors=25), after=timedelta(seconds=5))
    assert (TrafficAction.STOP, "stopped", True) == (decision.action, decision.kind, decision.next_round)
    assert ["champion", "watcher"] == [one.name for one in decision.state.plan.variants]
    assert 1.0 == decision.state.plan.champion.share
    assert ["guardrail_errors"] == [reason.code for reason in decision.reasons]
    assert decision.state.ramp is None


def test_a_doubt_holds_the_step_and_in_the_end_begins_a_new_round():
    doubtful = decide(ramping(), seen(100, errors=2))
    assert (TrafficAction.HOLD, False, "guardrail_errors") == (
        doubtful.action,
        doubtful.next_round,
        doubtful.reasons[0].code,
    )
    patient = decide(ramping(), seen(100 * MAX_ROUND_LENGTH, errors=2, champion_rows=7600))
    assert (TrafficAction.HOLD, True, ramping().step) == (
        patient.action,
        patient.next_round,
        patient.state.step,
    )


def test_an_arm_whose_outcomes_are_judged_may_score_otherwise_but_not_fail():
    usual = ArmFigures(name="champion", rows=500, ranks=((0.25, 250), (0.75, 250)))
    other = ArmFigures(name="v8", rows=500, ranks=((0.1, 500),))
    moved = Round(number=1, since=NOW, figures=(usual, other))
    assert ["guardrail_score"] == [reason.code for reason in decide(wanted(EIGHT), moved).reasons]
    tested = wanted(EIGHT, judged=["v8"])
    assert TrafficAction.HOLD is decide(tested, moved).action
    assert TrafficAction.STOP is decide(tested, seen(100, errors=50)).action
    entry = next_entry(None, model="fraud", stream=TRAFFIC, at=NOW, kind="set", payload=tested.to_dict())
    assert ("v8",) == fold_traffic([entry], model="fraud").judged


def test_a_plan_without_a_ramp_is_watched_round_after_round():
    state = wanted(EIGHT)
    assert (TrafficAction.HOLD, True, ()) == (
        (found := decide(state, seen(100))).action,
        found.next_round,
        found.reasons,
    )
    assert TrafficAction.STOP is decide(state, seen(100, errors=50)).action


def test_later_rounds_and_more_processes_need_more_evidence():
    first = decide(ramping(), seen(100)).guardrails[0].needed
    assert first < decide(ramping(), seen(100, number=7)).guardrails[0].needed
    assert first < decide(ramping(), seen(100), limits=replace(LIMITS, processes=4)).guardrails[0].needed


def test_an_arm_nobody_counted_yet_is_judged_on_nothing():
    decision = decide(ramping(), Round(number=1, since=NOW, figures=()))
    assert (TrafficAction.HOLD, "round_not_over") == (decision.action, decision.reasons[0].code)


def test_without_challengers_there_is_nothing_to_decide():
    assert (TrafficAction.HOLD, ()) == (
        (found := decide(wanted(WATCHER), seen(100))).action,
        found.guardrails,
    )


@pytest.mark.parametrize("steps", [(), (0.5, 0.1), (0.1, 0.1), (0.0, 0.5), (0.5, 1.5), (0.00001,)])
def test_steps_that_do_not_rise_within_the_traffic_are_refused(steps):
    with pytest.raises(InputError, match="Steps"):
        Ramp(arm="v8", steps=steps)


@pytest.mark.parametrize("pace", [{"min_rows": 0}, {"min_time": -TEN}])
def test_a_ramp_needs_a_row_and_no_negative_time(pace):
    with pytest.raises(InputError, match="A ramp with"):
        Ramp(arm="v8", **pace)


# the stream


def entry(state, kind="set", last=None, at=NOW):
    return next_entry(last, model="fraud", stream=TRAFFIC, at=at, kind=kind, payload=state.to_dict())


def test_an_empty_stream_leaves_all_to_the_champion():
    assert (True, 0, None) == (plain().plan.is_plain, plain().seq, plain().set_at)


def test_the_newest_entry_says_everything():
    first = entry(ramping())
    step = decide(fold_traffic([first], model="fraud"), seen(100))
    second = entry(step.state, "step", last=first, at=NOW + TEN)
    folded = fold_traffic([first, second], model="fraud")
    assert folded == fold_traffic([second], model="fraud")
    assert (2, "step", NOW + TEN, NOW, 1) == (folded.seq, folded.kind, folded.at, folded.set_at, folded.step)
    assert replace(step.state, seq=2, kind="step", at=NOW + TEN) == folded
    assert ["errors", "latency", "score"] == [
        one["code"].removeprefix("guardrail_") for one in step.to_payload()["guardrails"]
    ]


def test_people_read_variants_ramp_and_step():
    told = describe(ramping(WATCHER))
    assert ["@champion", "version 9", "version 8"] == [one["label"] for one in told["variants"]]
    assert ([0.05, 0.5, 1.0], 0) == (told["ramp"]["steps"], told["ramp"]["step"])


# setting


def test_people_stay_in_an_arm_that_goes_on_and_are_drawn_anew_for_another():
    first = replace(wanted(EIGHT), seq=1)
    grown = wanted(replace(EIGHT, share=0.2), NINE, state=first)
    assert ("fraud/traffic/1", "fraud/traffic/1") == (first.plan.salt, grown.plan.salt)
    assert "fraud/traffic/2" == wanted(NINE, state=first).plan.salt
    assert "fraud/traffic/2" == wanted(replace(EIGHT, members=((6, 1),)), state=first).plan.salt


@pytest.mark.parametrize(
    ("variant", "known", "said"),
    [
        (
            replace(EIGHT, members=((77, 1),)),
            KNOWN,
            "Unknown version 77 of model 'fraud' in variant 'v8'. Known: 1, 2",
        ),
        (replace(EIGHT, members=((7, 1),)), KNOWN, "which is @champion"),
        (EIGHT, RegisteredVersions(champion=None, versions=KNOWN.versions), "has no champion"),
        (EIGHT, RegisteredVersions(champion=7, versions={7: {}, 8: {}}), "Only 'approved' ones answer"),
        (
            BLEND,
            RegisteredVersions(champion=7, versions={7: {}, 8: {"validation_status": "rejected"}}),
            "status 'rejected'",
        ),
    ],
)
def test_versions_that_may_not_answer_are_refused(variant, known, said):
    with pytest.raises(InputError, match=said):
        wanted(variant, known=known)


def test_a_shadow_need_not_have_passed_the_gate_and_an_ensemble_may_hold_the_champion():
    unproved = RegisteredVersions(champion=7, versions={7: {}, 8: {"validation_status": "approved"}, 9: {}})
    assert ["champion", "blend", "watcher"] == [
        one.name for one in wanted(BLEND, WATCHER, known=unproved).plan.variants
    ]


def test_one_ramp_at_a_time_and_room_for_all_of_it():
    with pytest.raises(InputError, match="A ramp of 'v8' is running"):
        begin_ramp(ramping(), NINE, replace(RAMP, arm="v9"))
    variants = begin_ramp(wanted(NINE), EIGHT, RAMP)
    with pytest.raises(InputError, match=r"ends at 100.00%, and other challengers have 10.00%"):
        wanted(*variants, ramp=RAMP)


# promotions and rollbacks while a plan is on


def test_another_champion_gets_the_champions_share_and_the_ramp_goes_on():
    state = ramping()
    assert state == in_force(state, champion=9)


def test_a_challenger_that_became_champion_is_done_and_gives_its_share_back():
    state = ramping(WATCHER)
    after = in_force(state, champion=8)
    assert ["champion", "watcher"] == [one.name for one in after.plan.variants]
    assert (1.0, None, None) == (after.plan.champion.share, after.ramp, after.step)
    decision = settle_traffic(state, after, champion=8)
    assert (TrafficAction.DONE, "became_champion") == (decision.action, decision.reasons[0].code)
    assert decision.state.plan == after.plan
    assert settle_traffic(decision.state, in_force(decision.state, champion=8), champion=8) is None


def test_who_was_on_the_throne_and_fell_does_not_answer_as_a_challenger_again():
    state = ramping()
    reigned = promoted_since(
        [
            ChampionPeriod(version=7, since=NOW - TEN, until=NOW + TEN, how="promotion", reason=""),
            ChampionPeriod(version=8, since=NOW + TEN, until=NOW + 2 * TEN, how="promotion", reason=""),
            ChampionPeriod(version=7, since=NOW + 2 * TEN, how="rollback", reason=""),
        ],
        state,
    )
    assert frozenset({7, 8}) == reigned
    assert in_force(state, champion=7, promoted=reigned).plan.is_plain
    assert state == in_force(state, champion=7)


def test_a_former_champion_may_be_tried_again_when_it_is_set_after_its_fall():
    early = ChampionPeriod(version=8, since=NOW - 2 * TEN, until=NOW - TEN, how="promotion", reason="")
    state = ramping()
    assert state == in_force(state, champion=7, promoted=promoted_since([early], state))
    assert frozenset() == promoted_since([early], TrafficState(plan=state.plan))


def test_an_ensemble_stays_when_one_of_its_members_becomes_champion():
    state = wanted(BLEND)
    assert state == in_force(state, champion=8)


def test_without_a_champion_nothing_is_taken_out():
    assert ramping() == in_force(ramping(), champion=None)


# how people write variants


@pytest.mark.parametrize(
    ("text", "name", "share", "members"),
    [
        ("8@10%", "v8", 0.1, ((8, 1.0),)),
        ("v8@0.1", "v8", 0.1, ((8, 1.0),)),
        ("@challenger", None, None, None),
        ("blend=7*0.3+8*0.7@5%", "blend", 0.05, ((7, 0.3), (8, 0.7))),
        ("7+challenger@100%", "v7-v8", 1.0, ((7, 0.5), (8, 0.5))),
        ("best = challenger @ 1%", "best", 0.01, ((8, 1.0),)),
    ],
)
def test_variants_are_read_as_people_write_them(text, name, share, members):
    def read():
        return parse_variant(text, role=Role.CHALLENGER, aliases={"challenger": 8})

    if name is None:
        with pytest.raises(InputError, match="cannot be read"):
            read()
    else:
        found = read()
        assert (name, share, members) == (found.name, found.share, found.members)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("8", "has no share"),
        ("8@much", "Share 'much'"),
        ("8*x@1%", "Weight 'x'"),
        ("", "cannot be read"),
        ("a=b=8@1%", "cannot be read"),
        ("8@1%@2%", "cannot be read"),
        ("8@200%", "Share 2.0"),
        ("8+@1%", "alias ''"),
    ],
)
def test_what_cannot_be_read_is_named(text, said):
    with pytest.raises(InputError, match=said):
        parse_variant(text, role=Role.CHALLENGER, aliases={"challenger": 8})


def test_an_unknown_alias_is_named_with_those_there_are():
    with pytest.raises(
        UnknownName, match=r"Unknown version or alias 'chalenger' .* Did you mean 'challenger'"
    ):
        parse_variant("chalenger@1%", role=Role.CHALLENGER, aliases={"challenger": 8})


def test_percent_is_exact_to_the_hundredth():
    assert [0.0001, 0.07, 0.29] == [parse_share(text) for text in ("0.01%", "7%", "29%")]


def test_variants_are_ended_by_name_and_the_others_keep_their_cells():
    state = wanted(EIGHT, NINE, WATCHER, judged=["v8", "v9"])
    why = Reason(code="test_over", message="It is over.")
    decision = end_variants(state, ["v8", "watcher"], [why])
    after = decision.state
    assert (TrafficAction.DONE, "done", (why,), ("v9",)) == (
        decision.action,
        decision.kind,
        after.reasons,
        after.judged,
    )
    assert ["champion", "v9"] == [one.name for one in after.plan.variants]
    assert state.plan.cells[2] == after.plan.cells[1]
    assert state.plan.salt == after.plan.salt


def test_a_ramp_ends_with_its_arm_and_goes_on_with_another_one_s_end():
    state = ramping(WATCHER)
    why = [Reason(code="test_over", message="It is over.")]
    assert (None, None) == ((ended := end_variants(state, ["v8"], why).state).ramp, ended.step)
    assert (state.ramp, 0) == ((other := end_variants(state, ["watcher"], why).state).ramp, other.step)
