"""The one alias writer at work: held, proved by smoke, rolled back by itself, reconciled."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from evergreen.tasks.core.errors import Blocked, InputError, NotLearnable
from evergreen.tasks.core.promotion.history import champion_periods, open_plans
from evergreen.tasks.core.promotion.ledger import check_chain
from evergreen.tasks.core.promotion.registry_state import describe_status
from evergreen.tasks.core.verdict import Outcome, Reason, State, Verdict
from evergreen.tasks.io.ledger import Ledger
from evergreen.tasks.promotion import Promoter
from tests.support.memory_stores import MemoryLedger, MemoryRegistry
from tests.support.stores import execute

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PASSED = Verdict(outcome=Outcome.PASS)
FAILED = Verdict(outcome=Outcome.FAIL, reasons=(Reason(code="does_not_load", message="It does not load."),))


@pytest.fixture
def registry():
    made = MemoryRegistry()
    for number in range(1, 7):
        made.register("fraud", source=f"file:{number}", run_id=None, tags={"validation_status": "approved"})
    return made


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def ledger(request, tmp_path):
    if request.param == "memory":
        return MemoryLedger()
    if request.param == "sqlite":
        return Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    return Ledger(request.getfixturevalue("postgres_url"))


@pytest.fixture
def memory():
    return MemoryLedger()


def promote(registry, ledger, version, **options):
    how = {name: options.pop(name) for name in ("smoke", "max_rollback_attempts", "clock") if name in options}
    return Promoter(registry, ledger, "fraud", **how).promote(version, **{"reason": "better", **options})


def promote_in_turn(registry, ledger, *versions):
    for version in versions:
        promote(registry, ledger, version)


def smoke_fails_for(*bad):
    asked = []

    def smoke(model, version):
        asked.append((model, version))
        return FAILED if version in bad else PASSED

    smoke.asked = asked
    return smoke


def is_consistent(registry, ledger):
    status = describe_status(
        aliases=registry.aliases("fraud"),
        entries=ledger.read(model="fraud"),
        lock_is_held=ledger.lock_is_held("fraud"),
    )
    return status["consistent"]


def test_a_promotion_writes_its_plan_moves_the_aliases_and_closes(registry, ledger):
    promote_in_turn(registry, ledger, 1)
    result = promote(registry, ledger, 2, expected_champion=1, evidence="fraud/decisions/4")
    assert result.state is State.PROMOTED
    assert (result.version, result.details["fallback"]) == (2, 1)
    assert registry.aliases("fraud") == {"champion": 2, "fallback": 1}
    assert [entry.kind for entry in ledger.read()] == ["planned", "closed"] * 2
    assert champion_periods(ledger.read())[-1].evidence == "fraud/decisions/4"
    assert is_consistent(registry, ledger)


def test_a_rollback_returns_and_tags_and_says_so(registry, ledger):
    promote_in_turn(registry, ledger, 1, 2)
    result = Promoter(registry, ledger, "fraud").rollback(reason="worse in production")
    assert (result.state, result.version) == (State.CHAMPION_RESTORED, 1)
    assert registry.aliases("fraud") == {"champion": 1}
    assert registry.version("fraud", 2).tags["evergreen.rolled_back"] == "true"
    assert is_consistent(registry, ledger)


def test_a_dry_run_shows_the_plan_and_changes_nothing(registry, memory):
    promote_in_turn(registry, memory, 1)
    entries = memory.read()
    result = promote(registry, memory, 2, dry_run=True, smoke=smoke_fails_for(2))
    assert "@champion -> 2; @fallback -> 1" in result.reasons[0].message
    assert result.details["plan"]["version"] == 2
    assert registry.aliases("fraud") == {"champion": 1}
    assert memory.read() == entries


def test_a_dry_rollback_changes_nothing_either(registry, memory):
    promote_in_turn(registry, memory, 1, 2)
    entries = memory.read()
    result = Promoter(registry, memory, "fraud").rollback(reason="what if", dry_run=True)
    assert "delete @fallback (1); @champion -> 1" in result.reasons[0].message
    assert registry.aliases("fraud") == {"champion": 2, "fallback": 1}
    assert memory.read() == entries


def test_the_plan_of_a_dry_run_is_the_one_that_acting_applies(registry, memory):
    promote_in_turn(registry, memory, 1, 2)
    shown = promote(registry, memory, 3, dry_run=True, clock=lambda: NOW).details["plan"]
    promote(registry, memory, 3, clock=lambda: NOW)
    assert [entry.payload for entry in memory.read() if entry.kind == "planned"][-1] == shown


def test_what_is_refused_leaves_ledger_and_aliases_as_they_were(registry, memory):
    promote_in_turn(registry, memory, 1)
    registry.set_tags("fraud", 3, {"validation_status": "rejected"})
    entries = memory.read()
    refusals = [
        (Blocked, lambda: promote(registry, memory, 2, expected_champion=5)),
        (NotLearnable, lambda: promote(registry, memory, 3)),
        (InputError, lambda: promote(registry, memory, 99)),
        (NotLearnable, lambda: Promoter(registry, memory, "fraud").rollback(reason="no way back")),
        (NotLearnable, lambda: Promoter(registry, memory, "fraud").admit_challenger(version=3)),
    ]
    for error, act in refusals:
        with pytest.raises(error):
            act()
    assert registry.aliases("fraud") == {"champion": 1}
    assert memory.read() == entries
    assert not memory.lock_is_held("fraud")


def test_a_champion_that_passes_its_smoke_test_stays(registry, ledger):
    promote_in_turn(registry, ledger, 1)
    smoke = smoke_fails_for()
    assert promote(registry, ledger, 2, smoke=smoke).state is State.PROMOTED
    assert smoke.asked == [("fraud", 2)]


def test_a_champion_that_fails_its_smoke_test_is_rolled_back_by_itself(registry, ledger):
    promote_in_turn(registry, ledger, 1, 2)
    result = promote(registry, ledger, 3, smoke=smoke_fails_for(3))
    assert result.state is State.CHAMPION_RESTORED
    assert [reason.code for reason in result.reasons] == ["promotion", "does_not_load", "rolled_back"]
    assert registry.aliases("fraud") == {"champion": 2, "fallback": 1}
    assert is_consistent(registry, ledger)


def test_an_undecided_smoke_test_rolls_back_too(registry, memory):
    promote_in_turn(registry, memory, 1)
    promote(
        registry, memory, 2, smoke=lambda m, v: Verdict(outcome=Outcome.INSUFFICIENT) if v == 2 else PASSED
    )
    assert registry.aliases("fraud") == {"champion": 1}


def test_the_second_attempt_goes_one_reign_further_back(registry, memory):
    promote_in_turn(registry, memory, 1, 2, 3)
    smoke = smoke_fails_for(4, 3)
    result = promote(registry, memory, 4, smoke=smoke)
    assert [version for _, version in smoke.asked] == [4, 3, 2]
    assert (result.state, result.version) == (State.CHAMPION_RESTORED, 2)
    assert registry.aliases("fraud") == {"champion": 2, "fallback": 1}


def test_no_more_rollbacks_than_allowed_are_made(registry, memory):
    promote_in_turn(registry, memory, 1, 2, 3, 4, 5)
    smoke = smoke_fails_for(1, 2, 3, 4, 5, 6)
    result = promote(registry, memory, 6, smoke=smoke, max_rollback_attempts=2)
    assert [version for _, version in smoke.asked] == [6, 5, 4]
    assert result.state is State.INSUFFICIENT_DATA
    assert result.reasons[-1].code == "rollback_attempts_exhausted"


def test_zero_attempts_leave_the_failed_champion_and_say_so(registry, memory):
    promote_in_turn(registry, memory, 1)
    result = promote(registry, memory, 2, smoke=smoke_fails_for(2), max_rollback_attempts=0)
    assert result.state is State.INSUFFICIENT_DATA
    assert registry.aliases("fraud")["champion"] == 2


def test_a_first_champion_that_fails_has_nothing_to_return_to(registry, memory):
    result = promote(registry, memory, 1, smoke=smoke_fails_for(1))
    assert result.state is State.INSUFFICIENT_DATA
    assert [reason.code for reason in result.reasons][-1] == "nothing_to_return_to"
    assert registry.aliases("fraud") == {"champion": 1}


def test_a_crash_before_the_smoke_test_ends_leaves_it_to_reconcile(registry, memory):
    promote_in_turn(registry, memory, 1)

    def dies(model, version):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        promote(registry, memory, 2, smoke=dies)
    assert registry.aliases("fraud")["champion"] == 2
    smoke = smoke_fails_for(2)
    result = Promoter(registry, memory, "fraud", smoke=smoke).reconcile()
    assert result.state is State.CHAMPION_RESTORED
    assert registry.aliases("fraud") == {"champion": 1}
    again = Promoter(registry, memory, "fraud", smoke=smoke).reconcile()
    assert again.state is State.RECONCILED
    assert [version for _, version in smoke.asked] == [2, 1]


def test_reconcile_on_a_sound_model_changes_nothing(registry, ledger):
    promote_in_turn(registry, ledger, 1, 2)
    entries = ledger.read()
    result = Promoter(registry, ledger, "fraud").reconcile()
    assert (result.state, result.details["settled"]) == (State.RECONCILED, [])
    assert ledger.read() == entries


def test_reconcile_takes_note_of_a_champion_set_outside(registry, ledger):
    promote_in_turn(registry, ledger, 1, 2)
    registry.set_alias("fraud", "champion", 5)
    assert not is_consistent(registry, ledger)
    result = Promoter(registry, ledger, "fraud").reconcile()
    assert result.reasons[0].code == "repair"
    assert registry.aliases("fraud") == {"champion": 5, "fallback": 2}
    assert is_consistent(registry, ledger)


def test_reconcile_says_when_the_throne_was_emptied_outside(registry, memory):
    promote_in_turn(registry, memory, 1, 2)
    registry.delete_alias("fraud", "champion")
    result = Promoter(registry, memory, "fraud").reconcile()
    assert [reason.code for reason in result.reasons] == ["no_champion"]
    assert Promoter(registry, memory, "fraud").rollback(reason="restore").version == 1


def test_candidate_and_challenger_are_moved_by_the_same_hands(registry, ledger):
    Promoter(registry, ledger, "fraud").set_candidate(version=2)
    Promoter(registry, ledger, "fraud").admit_challenger(version=2)
    assert registry.aliases("fraud") == {"candidate": 2, "challenger": 2}
    promote(registry, ledger, 2)
    assert registry.aliases("fraud") == {"champion": 2}


def test_a_dismissed_challenger_loses_its_alias_and_another_keeps_it(registry, memory):
    Promoter(registry, memory, "fraud").admit_challenger(version=2)
    Promoter(registry, memory, "fraud").dismiss_challenger(version=3)
    assert registry.aliases("fraud") == {"challenger": 2}
    Promoter(registry, memory, "fraud").dismiss_challenger(version=2)
    assert registry.aliases("fraud") == {}


def test_a_candidate_waits_for_a_promotion_in_progress_and_is_held_in_the_end(registry, ledger):
    with ledger.lock("fraud"), pytest.raises(Blocked, match="being changed"):
        Promoter(registry, ledger, "fraud").set_candidate(version=2, patience_s=0.3)
    Promoter(registry, ledger, "fraud").set_candidate(version=2, patience_s=0.3)
    assert registry.aliases("fraud") == {"candidate": 2}


class Paused:
    """A registry whose owner stops before the n-th move until it is let go on."""

    def __init__(self, registry, *, before):
        self._registry, self._left = registry, before
        self.reached, self.go_on = threading.Event(), threading.Event()

    def __getattr__(self, name):
        return getattr(self._registry, name)

    def set_alias(self, *arguments):
        self._left -= 1
        if self._left == 0:
            self.reached.set()
            assert self.go_on.wait(60)
        self._registry.set_alias(*arguments)


@pytest.fixture
def slow_owner():
    """Begin the promotion of version 3 in a thread that waits before its n-th move; return what lets it end.

    That gives the outcome: the state, or the code of a refusal; any other error is raised there. A test that fails
    before lets the thread end as well, so that none outlives its test.
    """
    with ThreadPoolExecutor(1) as pool, contextlib.ExitStack() as ending:

        def begin(registry, ledger, *, before):
            promote_in_turn(registry, ledger, 1, 2)
            paused = Paused(registry, before=before)
            ending.callback(paused.go_on.set)
            owner = pool.submit(outcome_of, paused, ledger)
            assert paused.reached.wait(60)

            def finish():
                paused.go_on.set()
                return owner.result(60)

            return finish

        yield begin


def outcome_of(registry, ledger):
    try:
        return promote(registry, ledger, 3).state
    except Blocked as error:
        return error.reason_code


@pytest.mark.parametrize("before", [1, 2])
def test_a_slow_but_living_owner_is_not_taken_over(registry, ledger, before, slow_owner):
    finish = slow_owner(registry, ledger, before=before)
    aliases, entries = registry.aliases("fraud"), ledger.read()
    others = [
        lambda: Promoter(registry, ledger, "fraud").reconcile(),
        lambda: promote(registry, ledger, 4),
        lambda: Promoter(registry, ledger, "fraud").rollback(reason="impatient"),
    ]
    for act in others:
        with pytest.raises(Blocked) as refusal:
            act()
        assert refusal.value.reason_code == "lock_held"
    status = describe_status(aliases=aliases, entries=entries, lock_is_held=ledger.lock_is_held("fraud"))
    assert [plan["state"] for plan in status["pending"]] == ["in_progress"]
    assert (registry.aliases("fraud"), ledger.read()) == (aliases, entries)
    assert finish() is State.PROMOTED
    assert registry.aliases("fraud") == {"champion": 3, "fallback": 2}
    assert is_consistent(registry, ledger)


GONE_MS = 60_000
"""How long a session of PostgreSQL may take to end: until then, and not until it is told to, it holds its lock."""


def cut_connection(ledger, tmp_path):
    """Take the lock from its holder by the means of each store; it is free when this returns."""
    if isinstance(ledger, MemoryLedger):
        ledger.break_lock("fraud")
    elif ledger.url.drivername == "sqlite":
        (tmp_path / "ledger.db.locks" / "fraud.lock").unlink()
    else:
        cut = execute(
            ledger.url,
            f"SELECT pg_terminate_backend(pid, {GONE_MS}) FROM pg_stat_activity "
            "WHERE application_name = 'evergreen-lock' AND datname = current_database()",
        )
        assert cut == [(True,)]


@pytest.mark.parametrize("before", [1, 2])
def test_an_owner_that_lost_its_lock_is_refused_at_its_next_step(
    registry, ledger, tmp_path, before, slow_owner
):
    finish = slow_owner(registry, ledger, before=before)
    cut_connection(ledger, tmp_path)
    assert finish() == "lock_lost"
    left = {1: {"champion": 3, "fallback": 1}, 2: {"champion": 3, "fallback": 2}}[before]
    assert registry.aliases("fraud") == left
    assert len(open_plans(ledger.read())) == 1
    result = Promoter(registry, ledger, "fraud").reconcile()
    assert [plan["outcome"] for plan in result.details["settled"]] == ["finished"]
    assert registry.aliases("fraud") == {"champion": 3, "fallback": 2}
    assert is_consistent(registry, ledger)


def test_an_owner_whose_plan_was_settled_by_another_does_not_close_it_again(
    registry, ledger, tmp_path, slow_owner
):
    finish = slow_owner(registry, ledger, before=2)
    cut_connection(ledger, tmp_path)
    Promoter(registry, ledger, "fraud").reconcile()
    entries = ledger.read()
    assert finish() == "lock_lost"
    assert ledger.read() == entries
    assert is_consistent(registry, ledger)


def test_a_move_that_began_before_its_lock_was_lost_is_seen_and_taken_note_of(registry, memory, slow_owner):
    """MLflow knows no compare-and-set: this one move cannot be stopped, but it does not stay hidden."""
    finish = slow_owner(registry, memory, before=1)
    memory.break_lock("fraud")
    assert promote(registry, memory, 4).details["settled"][0]["outcome"] == "abandoned"
    assert finish() == "lock_lost"
    assert not is_consistent(registry, memory)
    assert Promoter(registry, memory, "fraud").reconcile().reasons[0].code == "repair"
    assert registry.aliases("fraud") == {"champion": 3, "fallback": 4}
    assert is_consistent(registry, memory)
    assert check_chain(memory.read()) == ()


def test_the_next_acting_flow_settles_what_a_dead_owner_left(registry, memory):
    promote_in_turn(registry, memory, 1, 2)

    class Dies(Paused):
        def set_alias(self, *arguments):
            self._left -= 1
            if self._left == 0:
                raise KeyboardInterrupt
            self._registry.set_alias(*arguments)

    with pytest.raises(KeyboardInterrupt):
        promote(Dies(registry, before=2), memory, 3)
    result = promote(registry, memory, 4)
    assert [plan["outcome"] for plan in result.details["settled"]] == ["finished"]
    assert registry.aliases("fraud") == {"champion": 4, "fallback": 3}
    assert is_consistent(registry, memory)
