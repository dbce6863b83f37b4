"""Plans: who follows whom, in an order in which every prefix is safe, and how an open plan is settled."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evergreen.tasks.core.errors import Blocked, InputError, NotLearnable
from evergreen.tasks.core.promotion.history import (
    CLOSED,
    PLANNED,
    PLANS,
    SMOKE_TESTED,
    automatic_rollbacks,
    champion_periods,
    open_plans,
    recorded_champion,
    rolled_back_versions,
    untested_plan,
)
from evergreen.tasks.core.promotion.ledger import next_entry
from evergreen.tasks.core.promotion.plan import Plan
from evergreen.tasks.core.promotion.planning import plan_promotion, plan_repair, plan_rollback, settle
from evergreen.tasks.core.promotion.registry_state import RegistryState, check_present, describe_status

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class World:
    """A registry and a ledger as plain values, moved by plans alone."""

    def __init__(self, *, versions=6):
        self.aliases = {}
        self.tags = {number: {"validation_status": "approved"} for number in range(1, versions + 1)}
        self.history = []
        self.now = NOW

    @property
    def realm(self):
        return RegistryState(
            model="fraud", aliases=self.aliases, versions=self.tags, history=tuple(self.history)
        )

    def write(self, kind, payload):
        self.now += timedelta(minutes=1)
        last = self.history[-1] if self.history else None
        entry = next_entry(last, model="fraud", stream=PLANS, at=self.now, kind=kind, payload=payload)
        self.history.append(entry)
        return entry.id

    def apply(self, step):
        if step.action == "set_alias":
            self.aliases = {**self.aliases, step.alias: step.version}
        elif step.action == "delete_alias" and self.aliases.get(step.alias) == step.version:
            self.aliases = {k: v for k, v in self.aliases.items() if k != step.alias}
        elif step.action == "set_tags":
            self.tags[step.version] = {**self.tags[step.version], **step.tags}

    def carry_out(self, plan, *, steps=None):
        """Carry a plan out, or only its first ``steps`` moves and leave it open."""
        plan_id = self.write(PLANNED, plan.to_dict())
        for step in plan.steps[:steps]:
            self.apply(step)
        if steps is None:
            self.write(CLOSED, {"plan_id": plan_id, "outcome": "applied"})
        return plan_id

    def settle(self):
        for recorded in open_plans(self.history):
            settlement = settle(recorded.plan, self.aliases, existing=self.tags)
            for step in settlement.steps:
                self.apply(step)
            self.write(CLOSED, {"plan_id": recorded.plan_id, "outcome": settlement.outcome})

    def promote(self, version, **options):
        options = {"reason": "better", "now": self.now, **options}
        return self.carry_out(plan_promotion(self.realm, version=version, **options))

    def rollback(self, **options):
        options = {"reason": "worse", "now": self.now, **options}
        return self.carry_out(plan_rollback(self.realm, **options))

    def status(self, *, lock_is_held=False):
        return describe_status(aliases=self.aliases, entries=self.history, lock_is_held=lock_is_held)


def world(*champions, **options):
    """Return a world in which these versions reigned one after the other."""
    made = World(**options)
    for version in champions:
        made.promote(version)
    return made


def said(plan):
    return [str(step) for step in plan.steps if step.action != "set_tags"]


def archived(made):
    return {number for number, tags in made.tags.items() if tags.get("evergreen.archived") == "true"}


def test_the_first_promotion_sets_the_champion_and_no_fallback():
    assert said(plan_promotion(World().realm, version=1, now=NOW, reason="first")) == ["@champion -> 1"]


def test_a_promotion_makes_the_former_champion_the_fallback():
    assert world(1, 2).aliases == {"champion": 2, "fallback": 1}


def test_a_champion_that_leaves_both_aliases_is_archived_and_no_other():
    assert archived(world(1, 2)) == set()
    assert archived(world(1, 2, 3)) == {1}
    assert archived(world(1, 2, 3, 4)) == {1, 2}


def test_promoting_the_fallback_deletes_its_alias_before_the_champion_moves():
    plan = plan_promotion(world(1, 2).realm, version=1, now=NOW, reason="again")
    assert said(plan) == ["delete @fallback (1)", "@champion -> 1", "@fallback -> 2"]


def test_one_that_returns_from_the_archive_is_no_longer_tagged_archived():
    made = world(1, 2, 3)
    made.promote(1)
    assert archived(made) == {2}
    assert made.tags[1]["evergreen.archived"] == "false"


def test_the_promoted_version_leaves_the_queue():
    made = world(1)
    made.aliases |= {"challenger": 2, "candidate": 2, "v1-0": 2}
    made.promote(2)
    assert made.aliases == {"champion": 2, "fallback": 1, "v1-0": 2}


def test_another_candidate_and_challenger_keep_their_aliases():
    made = world(1)
    made.aliases |= {"challenger": 3, "candidate": 4}
    made.promote(2)
    assert made.aliases == {"champion": 2, "fallback": 1, "challenger": 3, "candidate": 4}


def test_a_refit_takes_the_version_it_was_judged_as_out_of_the_queue():
    made = world(1)
    made.aliases |= {"challenger": 2, "candidate": 2}
    made.tags[3]["evergreen.evaluated_as"] = "2"
    made.promote(3)
    assert made.aliases == {"champion": 3, "fallback": 1}


def test_a_promotion_against_another_champion_than_the_evidence_assumes_is_held():
    with pytest.raises(Blocked, match="@champion of model 'fraud' is 2, not 1") as refusal:
        plan_promotion(world(1, 2).realm, version=3, now=NOW, reason="late", expected_champion=1)
    assert refusal.value.reason_code == "champion_moved"


def test_expecting_nobody_is_held_when_somebody_reigns():
    with pytest.raises(Blocked, match="is 1, not absent"):
        plan_promotion(world(1).realm, version=2, now=NOW, reason="late", expected_champion=None)


def test_promoting_the_champion_is_held():
    with pytest.raises(Blocked, match="already") as refusal:
        plan_promotion(world(1).realm, version=1, now=NOW, reason="again", expected_champion=1)
    assert refusal.value.reason_code == "already_champion"


@pytest.mark.parametrize("status", ["pending", "rejected", None])
def test_a_version_that_did_not_pass_the_gate_is_never_planned_for_the_throne(status):
    made = world(1)
    made.tags[2] = {"validation_status": status} if status else {}
    with pytest.raises(NotLearnable, match="only 'approved' may go on") as refusal:
        plan_promotion(made.realm, version=2, now=NOW, reason="hasty")
    assert refusal.value.reason_code == "not_approved"


def test_an_unregistered_version_is_wrong_input_and_the_known_ones_are_listed():
    with pytest.raises(InputError, match=r"Version 9 .* not registered\. Registered: 1, 2"):
        plan_promotion(world(1, versions=2).realm, version=9, now=NOW, reason="typo")


def test_a_rollback_returns_to_the_fallback_and_tags_the_one_it_leaves():
    made = world(1, 2, 3)
    made.rollback()
    assert made.aliases == {"champion": 2, "fallback": 1}
    assert made.tags[3]["evergreen.rolled_back"] == "true"
    assert archived(made) == {3}


def test_the_second_rollback_goes_one_reign_further_back():
    made = world(1, 2, 3, 4)
    made.rollback()
    made.rollback()
    assert made.aliases == {"champion": 2, "fallback": 1}


def test_a_rollback_with_nothing_to_return_to_is_insufficient():
    for made in (World(), world(1)):
        with pytest.raises(NotLearnable) as refusal:
            made.rollback()
        assert refusal.value.reason_code == "nothing_to_return_to"


def test_a_version_rolled_back_from_is_never_fallback_again_nor_returned_to():
    made = world(1, 2)
    made.rollback()
    made.promote(3)
    assert made.aliases == {"champion": 3, "fallback": 1}
    made.rollback()
    assert made.aliases == {"champion": 1}
    with pytest.raises(NotLearnable):
        made.rollback()


def test_a_version_rolled_back_from_that_reigns_again_is_still_no_fallback():
    made = world(1, 2)
    made.rollback()
    made.promote(2)
    assert made.aliases == {"champion": 2, "fallback": 1}
    made.promote(3)
    assert made.aliases == {"champion": 3, "fallback": 1}


def test_a_rollback_to_a_named_former_champion_keeps_the_newest_former_one_as_fallback():
    made = world(1, 2, 3)
    made.rollback(to=1)
    assert made.aliases == {"champion": 1, "fallback": 2}


def test_a_rollback_to_a_version_that_was_never_champion_is_wrong_input():
    with pytest.raises(InputError, match=r"Version 5 .* was never champion.*Champions so far: 1, 2"):
        world(1, 2).rollback(to=5)


def test_a_rollback_passes_over_former_champions_deleted_from_the_registry():
    made = world(1, 2, 3)
    del made.tags[2]
    del made.aliases["fallback"]
    made.rollback()
    assert made.aliases == {"champion": 1}


def test_a_fallback_set_before_the_ledger_began_counts():
    made = World()
    made.aliases = {"champion": 2, "fallback": 1}
    made.rollback()
    assert made.aliases == {"champion": 1}


def test_a_rollback_honours_a_fallback_that_was_chosen_by_hand():
    made = world(1, 2, 3)
    made.aliases["fallback"] = 1
    made.rollback()
    assert made.aliases == {"champion": 1, "fallback": 2}


def test_a_plan_survives_its_json():
    plan = plan_promotion(
        world(1, 2).realm, version=3, now=NOW, reason="better", evidence="fraud/decisions/4"
    )
    assert Plan.from_dict(plan.to_dict()) == plan


# --- settling ---------------------------------------------------------------------------------------


def plans():
    """Yield (world, plan) of every kind of plan there is."""
    yield World(), lambda w: plan_promotion(w.realm, version=1, now=NOW, reason="first")
    yield world(1), lambda w: plan_promotion(w.realm, version=2, now=NOW, reason="second")
    yield world(1, 2), lambda w: plan_promotion(w.realm, version=3, now=NOW, reason="third")
    yield world(1, 2), lambda w: plan_promotion(w.realm, version=1, now=NOW, reason="fallback again")
    yield world(1, 2, 3), lambda w: plan_promotion(w.realm, version=1, now=NOW, reason="from the archive")
    yield world(1, 2), lambda w: plan_rollback(w.realm, now=NOW, reason="back, no fallback left")
    yield world(1, 2, 3), lambda w: plan_rollback(w.realm, now=NOW, reason="back")
    yield world(1, 2, 3), lambda w: plan_rollback(w.realm, to=1, now=NOW, reason="far back")


CASES = list(range(len(list(plans()))))


@pytest.mark.parametrize("case", CASES)
def test_after_every_prefix_of_every_plan_the_champion_stands_and_the_fallback_is_right(case):
    start, make = list(plans())[case]
    plan = make(start)
    for done in range(len(plan.steps) + 1):
        made, _ = list(plans())[case]
        made.carry_out(plan, steps=done)
        champion, fallback = made.aliases.get("champion"), made.aliases.get("fallback")
        assert champion in (
            {plan.version, start.aliases["champion"]} if start.aliases else {None, plan.version}
        )
        assert fallback is None or fallback != champion
        assert fallback not in rolled_back_versions(made.history)


@pytest.mark.parametrize("case", CASES)
def test_a_plan_left_after_any_prefix_is_settled_to_its_beginning_or_its_end(case):
    before, make = list(plans())[case]
    plan = make(before)
    after, _ = list(plans())[case]
    after.carry_out(plan)
    for done in range(len(plan.steps) + 1):
        made, _ = list(plans())[case]
        made.carry_out(plan, steps=done)
        moved = made.aliases.get("champion") == plan.version
        made.settle()
        expected = after if moved else before
        assert made.aliases == expected.aliases
        assert made.tags == expected.tags
        assert open_plans(made.history) == []
        assert made.status()["consistent"]


@pytest.mark.parametrize("case", CASES)
def test_a_settlement_that_crashes_itself_is_settled_the_same_way(case):
    before, make = list(plans())[case]
    plan = make(before)
    for done in range(len(plan.steps) + 1):
        first, _ = list(plans())[case]
        first.carry_out(plan, steps=done)
        settlement = settle(plan, first.aliases, existing=first.tags)
        for again in range(len(settlement.steps) + 1):
            made, _ = list(plans())[case]
            made.carry_out(plan, steps=done)
            for step in settlement.steps[:again]:
                made.apply(step)
            made.settle()
            first_settled, _ = list(plans())[case]
            first_settled.carry_out(plan, steps=done)
            first_settled.settle()
            assert made.aliases == first_settled.aliases


def test_steps_about_versions_deleted_since_are_passed_over():
    made = world(1)
    plan = plan_promotion(made.realm, version=2, now=NOW, reason="better")
    assert [str(s) for s in settle(plan, {"champion": 2}, existing={2}).steps] == []
    assert [str(s) for s in settle(plan, {"champion": 2}, existing={1, 2}).steps] == ["@fallback -> 1"]


def test_a_plan_whose_champion_was_moved_to_a_third_version_is_abandoned():
    made = world(1, 2)
    plan = plan_promotion(made.realm, version=3, now=NOW, reason="better")
    assert settle(plan, {"champion": 5, "fallback": 1}).outcome == "abandoned"


# --- history ----------------------------------------------------------------------------------------


def test_the_ledger_answers_who_reigned_when_why_and_on_what_evidence():
    made = World()
    made.promote(1, reason="beats the baseline", evidence="fraud/decisions/1")
    made.promote(2, reason="superior", evidence="fraud/decisions/5")
    made.rollback(reason="failed its smoke test")
    told = [
        (r.version, r.how, r.reason, r.evidence, r.since, r.until) for r in champion_periods(made.history)
    ]
    assert told == [
        (1, "promotion", "beats the baseline", "fraud/decisions/1", made.history[0].at, made.history[2].at),
        (2, "promotion", "superior", "fraud/decisions/5", made.history[2].at, made.history[4].at),
        (1, "rollback", "failed its smoke test", None, made.history[4].at, None),
    ]


def test_an_abandoned_plan_makes_no_reign():
    made = world(1)
    made.carry_out(plan_promotion(made.realm, version=2, now=NOW, reason="crash"), steps=0)
    made.settle()
    assert [reign.version for reign in champion_periods(made.history)] == [1]


def test_a_champion_set_outside_appears_in_the_history_without_a_beginning():
    made = World()
    made.aliases = {"champion": 4}
    made.promote(5)
    assert [(r.version, r.how, r.since) for r in champion_periods(made.history)] == [
        (4, "outside", None),
        (5, "promotion", made.history[0].at),
    ]


def test_rollbacks_that_follow_failures_are_counted_and_those_by_hand_are_not():
    made = world(1, 2, 3)
    first = made.promote(4)
    made.rollback(evidence=made.rollback(evidence=first))
    assert automatic_rollbacks(made.history) == 2
    made.promote(5)
    assert automatic_rollbacks(made.history) == 0
    made.rollback()
    assert automatic_rollbacks(made.history) == 0


def test_a_champion_is_unproved_until_its_smoke_test_is_noted():
    made = world(1)
    assert untested_plan(made.history) is None
    plan_id = made.promote(2, proves=True)
    assert untested_plan(made.history).plan_id == plan_id
    made.write(SMOKE_TESTED, {"plan_id": plan_id, "version": 2, "outcome": "PASS", "reasons": []})
    assert untested_plan(made.history) is None


# --- status and repair ------------------------------------------------------------------------------


def test_the_status_of_an_unknown_model_is_empty_and_consistent():
    assert World().status() == {
        "champion": None,
        "fallback": None,
        "challenger": None,
        "candidate": None,
        "pending": [],
        "consistent": True,
        "inconsistencies": [],
    }


def test_the_status_names_versions_stages_and_the_evidence_of_the_champion():
    made = world(1)
    made.promote(2, evidence="fraud/decisions/5")
    made.aliases["candidate"] = 3
    status = made.status()
    assert (status["champion"]["version"], status["champion"]["stage"]) == (2, "Production")
    assert status["champion"]["evidence"] == "fraud/decisions/5"
    assert status["fallback"] == {"version": 1, "stage": "Archived"}
    assert status["candidate"]["version"] == 3
    assert status["challenger"] is None


@pytest.mark.parametrize(("lock_is_held", "state"), [(True, "in_progress"), (False, "crashed")])
def test_an_open_plan_is_in_progress_while_the_lock_is_held_and_crashed_when_not(lock_is_held, state):
    made = world(1)
    made.carry_out(plan_promotion(made.realm, version=2, now=NOW, reason="slow"), steps=1)
    status = made.status(lock_is_held=lock_is_held)
    assert [(plan["version"], plan["kind"], plan["state"]) for plan in status["pending"]] == [
        (2, "promotion", state)
    ]
    assert status["consistent"] is lock_is_held


@pytest.mark.parametrize(
    ("aliases", "complaint"),
    [
        ({"champion": 3, "fallback": 1}, "@champion is 3, the ledger says 2."),
        ({"fallback": 1}, "@champion is absent, the ledger says 2."),
        ({"champion": 2, "fallback": 2}, "@fallback and @champion are both version 2."),
    ],
)
def test_aliases_moved_outside_are_told_in_the_status(aliases, complaint):
    made = world(1, 2)
    made.aliases = aliases
    assert made.status()["inconsistencies"] == [complaint]


def test_a_repair_accepts_the_champion_that_serves_and_mends_the_fallback():
    made = world(1, 2)
    made.aliases = {"champion": 1, "fallback": 1}
    made.carry_out(plan_repair(made.realm, now=NOW))
    assert made.aliases == {"champion": 1, "fallback": 2}
    assert made.status()["consistent"]
    assert recorded_champion(made.history) == 1


def test_there_is_nothing_to_repair_after_any_plan():
    made = world(1, 2, 3)
    made.rollback()
    assert plan_repair(made.realm, now=NOW) is None
    assert plan_repair(World().realm, now=NOW) is None


def test_an_alias_that_nothing_bears_ends_insufficient():
    assert check_present("challenger", {"challenger": 3}, model="fraud") == 3
    with pytest.raises(NotLearnable, match=r"no @challenger .* Aliases: @champion") as refusal:
        check_present("challenger", {"champion": 1}, model="fraud")
    assert refusal.value.reason_code == "no_challenger"


# --- any history at all -----------------------------------------------------------------------------

actions = st.lists(
    st.one_of(
        st.tuples(st.just("promote"), st.integers(1, 6)),
        st.tuples(st.just("rollback"), st.none()),
        st.tuples(st.just("rollback"), st.integers(1, 6)),
        st.tuples(st.just("crash"), st.integers(1, 6), st.integers(0, 6)),
        st.tuples(st.just("outside"), st.integers(1, 6)),
    ),
    max_size=12,
)


def newest_former_champion(made):
    barred = rolled_back_versions(made.history) | {made.aliases.get("champion")}
    order = [reign.version for reign in reversed(champion_periods(made.history))]
    return next((version for version in order if version not in barred), None)


@settings(max_examples=150, deadline=None)
@given(actions=actions)
def test_after_any_history_the_fallback_is_the_newest_former_champion_never_rolled_back_from(actions):
    made = World()
    for action, *arguments in actions:
        try:
            if action == "promote":
                made.promote(arguments[0])
            elif action == "rollback":
                made.rollback(to=arguments[0])
            elif action == "crash":
                plan = plan_promotion(made.realm, version=arguments[0], now=NOW, reason="crash")
                made.carry_out(plan, steps=arguments[1])
                made.settle()
            elif made.aliases:
                made.aliases = {**made.aliases, "champion": arguments[0]}
                repair = plan_repair(made.realm, now=NOW)
                if repair is not None:
                    made.carry_out(repair)
        except (Blocked, NotLearnable, InputError):
            continue
        assert made.aliases.get("fallback") == newest_former_champion(made)
        assert made.status()["consistent"]
        held = {made.aliases.get("champion"), made.aliases.get("fallback")}
        assert archived(made) == {reign.version for reign in champion_periods(made.history)} - held
