"""What happened to a live test between two looks: traffic and throne, read from the ledger."""

from datetime import UTC, datetime

import numpy as np
import pytest

from evergreen.tasks.core.ab_testing.analysis import Action, conclude
from evergreen.tasks.core.ab_testing.ledger import (
    AB,
    BEGUN,
    CREATED,
    StreamMarks,
    begin_payload,
    champions_meanwhile,
    create_payload,
    fold_tests,
    has_arms,
    orphaned_variants,
    traffic_meanwhile,
)
from evergreen.tasks.core.promotion.history import CLOSED, PLANNED, PLANS
from evergreen.tasks.core.promotion.ledger import next_entry
from evergreen.tasks.core.promotion.plan import Plan
from evergreen.tasks.core.traffic.decide import stop_traffic
from evergreen.tasks.core.traffic.plan import plan_traffic
from evergreen.tasks.core.traffic.state import SET, STOPPED, TRAFFIC, TrafficState, fold_traffic
from evergreen.tasks.core.traffic.variant import Role, Variant
from evergreen.tasks.core.verdict import Reason
from tests.support.live_tests import live_test, look, two_arms

START = datetime(2026, 3, 1, tzinfo=UTC)


class Book:
    """Entries of one model, and a test of version 2 ('new', a half) against version 1."""

    def __init__(self, test):
        self.test, self.streams = test, {AB: [], TRAFFIC: [], PLANS: []}

    def add(self, stream, kind, payload):
        mine = self.streams[stream]
        last = mine[-1] if mine else None
        mine.append(next_entry(last, model="m", stream=stream, at=START, kind=kind, payload=payload))
        return mine[-1]

    def create(self):
        marks = StreamMarks(traffic=len(self.streams[TRAFFIC]), plans=len(self.streams[PLANS]))
        self.add(AB, CREATED, create_payload(self.streams[AB], self.test, marks))

    def begin(self, start=5.0):
        self.add(AB, BEGUN, begin_payload(self.streams[AB], self.test.name, start))

    def set(self, *texts, role=Role.CHALLENGER, judged=()):
        variants = [Variant(name=name, role=role, share=share, members=((2, 1.0),)) for name, share in texts]
        state = TrafficState(plan=plan_traffic(variants, salt="s"), set_at=START, judged=judged)
        self.add(TRAFFIC, SET, state.to_dict())

    def stop(self):
        state = fold_traffic(self.streams[TRAFFIC], model="m")
        slow = [Reason(code="latency", message="It is slow.")]
        self.add(TRAFFIC, STOPPED, stop_traffic(state, slow).to_payload())

    def reign(self, version, *, before, kind="promotion", outcome="applied"):
        plan = Plan(
            kind=kind,
            model="m",
            version=version,
            expected_champion=before,
            before={},
            steps=(),
            reason="by hand",
        )
        entry = self.add(PLANS, PLANNED, plan.to_dict())
        self.add(PLANS, CLOSED, {"plan_id": entry.id, "outcome": outcome})

    @property
    def state(self):
        return fold_tests(self.streams[AB])[0]

    @property
    def traffic(self):
        return [reason.code for reason in traffic_meanwhile(self.streams[TRAFFIC], self.state)]

    @property
    def reigned(self):
        return [reason.observed for reason in champions_meanwhile(self.streams[PLANS], self.state)]


@pytest.fixture
def book():
    found = Book(live_test())
    found.set(("other", 0.1))  # of before
    found.reign(1, before=None)
    found.create()
    found.set(("new", 0.5))
    found.begin()
    return found


def test_the_start_of_a_test_is_where_it_began(book):
    assert (5.0, START) == (book.state.test.start, book.state.begun_at)
    assert begin_payload(book.streams[AB], book.test.name, 9.0) is None


def test_what_was_before_a_test_and_its_own_traffic_change_nothing(book):
    assert ([], []) == (book.traffic, book.reigned)
    book.set(("new", 0.5))  # by two who created it at once
    assert [] == book.traffic


def test_a_share_that_was_another_for_a_while_is_not_forgotten(book):
    book.set(("new", 0.9))
    book.set(("new", 0.5))
    assert ["traffic_changed"] == book.traffic


def test_a_guardrail_that_tripped_is_not_forgotten_when_the_same_arms_are_set_again(book):
    book.stop()
    assert ["latency"] == book.traffic
    book.set(("new", 0.5))
    assert ["latency"] == book.traffic


def test_another_challenger_beside_the_arms_changes_the_split_and_a_shadow_does_not():
    beside = plan_traffic(
        [
            Variant(name="new", role=Role.CHALLENGER, share=0.5, members=((2, 1.0),)),
            Variant(name="third", role=Role.CHALLENGER, share=0.1, members=((3, 1.0),)),
        ],
        salt="s",
    )
    assert not has_arms(beside, live_test())
    shadows = [Variant(name=name, role=Role.SHADOW, share=1.0, members=((2, 1.0),)) for name in ("new", "w")]
    assert has_arms(plan_traffic(shadows, salt="s"), live_test("paired"))


def test_a_test_that_was_never_shared_has_no_traffic_to_lose_until_it_has_begun():
    book = Book(live_test())
    book.create()
    assert [] == book.traffic
    book.begin()
    assert ["traffic_changed"] == book.traffic


def test_a_version_that_reigned_for_an_hour_is_not_forgotten(book):
    book.reign(3, before=1)
    book.reign(1, before=3, kind="rollback")
    assert [3] == book.reigned
    reasons = champions_meanwhile(book.streams[PLANS], book.state)
    seen = look(book.test, two_arms(np.random.default_rng(0)))
    ended = conclude(book.test, seen, champion=1, tripped=reasons)
    assert (Action.ABORT, ["champion_moved"]) == (ended.action, [reason.code for reason in ended.reasons])
    moved = conclude(book.test, seen, champion=3, tripped=reasons)
    assert ["champion_moved"] == [reason.code for reason in moved.reasons]


def test_a_champion_set_outside_is_seen_where_a_plan_found_it_and_an_abandoned_plan_set_none(book):
    book.reign(4, before=1, outcome="abandoned")
    assert [] == book.reigned
    book.reign(1, before=7, kind="repair")
    assert [7] == book.reigned


def test_arms_are_nobody_s_once_no_test_that_runs_has_them(book):
    book.set(("new", 0.5), judged=("new",))
    traffic = fold_traffic(book.streams[TRAFFIC], model="m")
    assert [] == orphaned_variants(traffic, [book.state])
    assert ["new"] == orphaned_variants(traffic, [])
    book.set(("new", 0.5))  # by a person
    assert [] == orphaned_variants(fold_traffic(book.streams[TRAFFIC], model="m"), [])
