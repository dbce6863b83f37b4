"""One contract for every ledger: in memory, on SQLite, on a real PostgreSQL."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

from evergreen.tasks.core.errors import Blocked, ConfigError, InputError, UnknownName, Unreachable
from evergreen.tasks.core.promotion.ledger import GENESIS, check_chain
from evergreen.tasks.io.databases import LEDGER
from evergreen.tasks.io.ledger import Ledger
from evergreen.tasks.io.locks import hold_advisory_lock
from tests.support.memory_stores import MemoryLedger
from tests.support.processes import CONTEXT, race

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def open_once(url, number):
    """Open (and at first migrate) a ledger and append one entry."""
    payload = {"number": number}
    Ledger(url).append(model="fraud", stream="decisions", kind="train", payload=payload, at=NOW)


def claim_once(url):
    """Claim the one start that is to be had."""
    ledger = Ledger(url)
    entry = ledger.claim(
        model="fraud",
        stream="retraining",
        at=NOW,
        decide=lambda history: None if history else ("started", {}),
    )
    return "held" if entry is None else "started"


def follow_all(url, count):
    """Number a stream up to ``count``, as one of many that each do the same; return how many were mine."""
    ledger, mine = Ledger(url), 0
    while (length := _length(ledger)) < count:
        entry = ledger.follow(
            model="fraud",
            stream="windows-inputs",
            after=length,
            kind="window",
            payload={"is": length},
            at=NOW,
        )
        mine += entry is not None
    return mine


def _length(ledger):
    last = ledger.last("fraud", "windows-inputs")
    return last.seq if last else 0


def hold(url, ready, done):
    """Hold a model's lock until told, or killed."""
    with Ledger(url).lock("fraud"):
        ready.set()
        done.wait(60)


@pytest.fixture(params=["sqlite", "postgres"])
def ledger_url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'deep' / 'ledger.db'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def ledger(request, tmp_path):
    if request.param == "memory":
        return MemoryLedger()
    if request.param == "sqlite":
        return Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    return Ledger(request.getfixturevalue("postgres_url"))


def append(ledger, *, model="fraud", stream="decisions", kind="train", payload=None, at=NOW):
    return ledger.append(model=model, stream=stream, kind=kind, payload=payload or {}, at=at)


def test_entries_are_numbered_from_one_and_chained(ledger):
    first, second = append(ledger), append(ledger)
    assert (first.seq, first.prev_hash, first.id) == (1, GENESIS, "fraud/decisions/1")
    assert (second.seq, second.prev_hash) == (2, first.hash)


def test_streams_and_models_are_numbered_apart(ledger):
    append(ledger)
    assert append(ledger, stream="plans").seq == 1
    assert append(ledger, model="prod.fraud").seq == 1


def test_what_is_read_is_what_was_appended(ledger):
    payload = {"text": "naïve ☃ 'quoted'", "list": [1, 2.5, None, True], "nested": {"a": {"b": []}}}
    appended = append(ledger, payload=payload)
    assert ledger.read() == [appended]
    assert ledger.get(appended.id) == appended
    assert appended.payload == payload


def test_what_an_earlier_version_wrote_is_read_in_todays_words_and_its_chain_holds(ledger_url):
    ledger = Ledger(ledger_url)
    append(ledger, payload={"state": "Kept", "reasons": [{"code": "worse", "message": "Kept."}]})
    (entry,) = ledger.read()
    assert ("ChampionKept", "Kept.") == (entry.payload["state"], entry.payload["reasons"][0]["message"])
    assert "Kept" == entry.stored["state"]
    append(ledger, payload={"state": "ChampionKept"})
    assert (entry, ()) == (ledger.get(entry.id), check_chain(ledger.read()))
    assert ledger.last("fraud", "decisions").stored is None


def test_a_time_is_kept_to_the_microsecond_and_in_utc(ledger):
    there = datetime(2026, 3, 1, 13, 0, 0, 123456, tzinfo=timezone(timedelta(hours=1)))
    append(ledger, at=there)
    read = ledger.read()[0].at
    assert read == there
    assert read.utcoffset() == timedelta(0)


def test_reading_filters_by_model_and_stream_in_order(ledger):
    for model, stream in [("b", "plans"), ("a", "plans"), ("a", "alpha"), ("a", "plans")]:
        append(ledger, model=model, stream=stream)
    assert [e.id for e in ledger.read()] == ["a/alpha/1", "a/plans/1", "a/plans/2", "b/plans/1"]
    assert [e.id for e in ledger.read(model="a", stream="plans")] == ["a/plans/1", "a/plans/2"]
    assert [e.id for e in ledger.read(stream="alpha")] == ["a/alpha/1"]
    assert ledger.read(model="nobody") == []


@pytest.mark.parametrize(
    "entry_id", ["fraud/decisions/9", "other/decisions/1", "nonsense", "fraud/decisions/x"]
)
def test_an_entry_that_is_not_there_is_named(ledger, entry_id):
    append(ledger)
    with pytest.raises(UnknownName, match=entry_id):
        ledger.get(entry_id)


def test_a_payload_json_cannot_say_is_refused_and_nothing_is_written(ledger):
    with pytest.raises(InputError, match="NaN into null"):
        append(ledger, payload={"auc": float("nan")})
    assert ledger.read() == []


def test_a_naive_time_is_refused(ledger):
    with pytest.raises(InputError, match="no time zone"):
        append(ledger, at=datetime(2026, 1, 1))


def test_a_claim_sees_the_stream_and_appends_what_is_decided(ledger):
    append(ledger, stream="retraining", kind="started")
    seen = []

    def decide(history):
        seen.append([entry.kind for entry in history])
        return "ended", {"ok": True}

    entry = ledger.claim(model="fraud", stream="retraining", at=NOW, decide=decide)
    assert seen == [["started"]]
    assert (entry.seq, entry.kind, entry.payload) == (2, "ended", {"ok": True})


def test_a_claim_that_decides_nothing_writes_nothing(ledger):
    assert ledger.claim(model="fraud", stream="retraining", at=NOW, decide=lambda history: None) is None
    assert ledger.read() == []


def test_a_claim_that_was_overtaken_decides_again_on_the_new_stream(ledger):
    seen = []

    def decide(history):
        seen.append(len(history))
        if len(seen) == 1:
            append(ledger, stream="retraining", kind="faster")
        return "mine", {}

    entry = ledger.claim(model="fraud", stream="retraining", at=NOW, decide=decide)
    kinds = [entry.kind for entry in ledger.read(stream="retraining")]
    assert kinds == ["faster", "mine"]
    assert seen == [0, 1]
    assert check_chain(ledger.read()) == ()
    assert entry.kind == "mine"


def follow(ledger, *, after, payload=None):
    return ledger.follow(
        model="fraud", stream="windows-inputs", after=after, kind="window", payload=payload or {}, at=NOW
    )


def test_following_appends_only_to_the_end_the_caller_read(ledger):
    assert ledger.last("fraud", "windows-inputs") is None
    first = follow(ledger, after=0, payload={"n": 1})
    assert (first.seq, first.kind, first.payload) == (1, "window", {"n": 1})
    assert follow(ledger, after=0) is None
    assert follow(ledger, after=2) is None
    second = follow(ledger, after=1)
    assert (second.seq, second.prev_hash) == (2, first.hash)
    assert ledger.read() == [first, second]
    assert check_chain(ledger.read()) == ()


def test_a_tail_holds_the_newest_entries_of_its_stream_in_order(ledger):
    written = [append(ledger) for _ in range(5)]
    append(ledger, stream="plans")
    append(ledger, model="prod.fraud")
    assert ledger.last("fraud", "decisions") == written[-1]
    assert ledger.read_tail("fraud", "decisions", 2) == written[-2:]
    assert ledger.read_tail("fraud", "decisions", 9) == written
    assert ledger.read_tail("fraud", "decisions", 0) == []
    assert ledger.read_tail("nobody", "decisions", 3) == []


def test_a_lock_excludes_others_at_once_and_is_free_afterwards(ledger):
    with ledger.lock("fraud") as lock:
        lock.check()
        assert ledger.lock_is_held("fraud")
        with pytest.raises(Blocked, match="being changed by another") as refusal, ledger.lock("fraud"):
            pass
        assert refusal.value.reason_code == "lock_held"
        lock.check()
    assert not ledger.lock_is_held("fraud")
    with ledger.lock("fraud") as again:
        again.check()


def test_a_lock_is_given_back_though_its_session_goes_on(postgres_url):
    """As a server's does for a while after its connection was closed; here a pool keeps it."""
    engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    try:
        with hold_advisory_lock(engine, "fraud"):
            assert Ledger(postgres_url).lock_is_held("fraud")
        assert not Ledger(postgres_url).lock_is_held("fraud")
    finally:
        engine.dispose()


def test_locks_of_two_models_do_not_meet(ledger):
    with ledger.lock("fraud"), ledger.lock("prod/fraud ☃"):
        assert ledger.lock_is_held("prod/fraud ☃")
    assert not ledger.lock_is_held("churn")


def test_a_lock_is_freed_when_its_holder_raises(ledger):
    with pytest.raises(ZeroDivisionError), ledger.lock("fraud"):
        raise ZeroDivisionError
    assert not ledger.lock_is_held("fraud")


def run(url, statement):
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(text(statement))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE evergreen_ledger SET kind = 'rewritten'",
        "DELETE FROM evergreen_ledger",
        "DELETE FROM evergreen_ledger WHERE seq = 2",
        "INSERT INTO evergreen_ledger VALUES ('fraud', 'decisions', 3, '', '', '', 'forged', 'x')",
        "INSERT INTO evergreen_ledger VALUES ('fraud', 'decisions', 9, '', '', '', 'forged', 'x')",
        "INSERT INTO evergreen_ledger VALUES ('new', 'decisions', 1, '', '', '', 'forged', 'x')",
    ],
)
def test_the_database_itself_refuses_to_change_delete_or_fork(ledger_url, statement):
    ledger = Ledger(ledger_url)
    before = [append(ledger), append(ledger)]
    with pytest.raises(DatabaseError, match=r"append-only|hash-chained"):
        run(ledger_url, statement)
    assert ledger.read() == before


def test_sqlite_refuses_replacing_and_postgres_truncating(ledger_url):
    ledger = Ledger(ledger_url)
    before = [append(ledger)]
    statement = "TRUNCATE evergreen_ledger"
    if ledger_url.startswith("sqlite"):
        statement = "INSERT OR REPLACE INTO evergreen_ledger SELECT * FROM evergreen_ledger"
    with pytest.raises(DatabaseError, match="append-only"):
        run(ledger_url, statement)
    assert ledger.read() == before


def test_an_entry_changed_behind_the_triggers_is_found_by_the_chain(ledger_url):
    ledger = Ledger(ledger_url)
    for _ in range(3):
        append(ledger)
    run(
        ledger_url,
        "DROP TRIGGER evergreen_ledger_no_update"
        if ledger_url.startswith("sqlite")
        else "ALTER TABLE evergreen_ledger DISABLE TRIGGER ALL",
    )
    run(ledger_url, "UPDATE evergreen_ledger SET payload = '{\"auc\": 1}' WHERE seq = 2")
    assert [(fault.entry_id, fault.code) for fault in check_chain(ledger.read())] == [
        ("fraud/decisions/2", "changed")
    ]


def test_a_word_of_an_earlier_version_that_was_changed_to_todays_is_found_by_the_chain(ledger_url):
    ledger = Ledger(ledger_url)
    append(ledger, payload={"state": "Kept"})
    run(
        ledger_url,
        "DROP TRIGGER evergreen_ledger_no_update"
        if ledger_url.startswith("sqlite")
        else "ALTER TABLE evergreen_ledger DISABLE TRIGGER ALL",
    )
    run(ledger_url, 'UPDATE evergreen_ledger SET payload = \'{"state"\\:"ChampionKept"}\'')
    assert ["changed"] == [fault.code for fault in check_chain(ledger.read())]


def test_alembic_knows_the_revision_the_fast_path_compares_with():
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "tasks/io/migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == LEDGER.head


def test_the_migrated_table_is_the_one_the_code_speaks_to(ledger_url):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    Ledger(ledger_url)
    with create_engine(ledger_url, poolclass=NullPool).connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": LEDGER.version_table})
        assert compare_metadata(context, LEDGER.metadata) == []


def test_a_ledger_of_a_newer_evergreen_is_refused(ledger_url):
    Ledger(ledger_url)
    run(ledger_url, "UPDATE evergreen_ledger_version SET version_num = '9999'")
    with pytest.raises(ConfigError, match="newer Evergreen"):
        Ledger(ledger_url)


@pytest.mark.parametrize("url", ["mysql://host/db", "sqlite://", "sqlite:///:memory:", "ledger.db", ""])
def test_a_url_that_cannot_hold_a_ledger_is_refused_with_what_is_allowed(url):
    with pytest.raises(ConfigError, match="postgresql\\+psycopg://"):
        Ledger(url)


def test_a_database_that_does_not_answer_is_said_to_be_unreachable_without_its_password(tmp_path):
    with pytest.raises(Unreachable, match="does not answer") as error:
        Ledger(f"postgresql://me:secret@/ledger?host={tmp_path}")
    assert "secret" not in str(error.value)


def test_twenty_processes_that_open_a_new_ledger_at_once_all_find_it_migrated(ledger_url):
    assert race(open_once, [(ledger_url, number) for number in range(20)]) == [None] * 20
    ledger = Ledger(ledger_url)
    assert sorted(entry.payload["number"] for entry in ledger.read()) == list(range(20))
    assert check_chain(ledger.read()) == ()


def test_of_twenty_processes_that_race_for_a_claim_exactly_one_starts(ledger_url):
    ledger = Ledger(ledger_url)
    outcomes = race(claim_once, [(ledger_url,)] * 20)
    assert sorted(outcomes) == ["held"] * 19 + ["started"]
    assert [entry.kind for entry in ledger.read()] == ["started"]


def test_of_six_processes_that_follow_each_other_every_number_is_written_once(ledger_url):
    ledger = Ledger(ledger_url)
    mine = race(follow_all, [(ledger_url, 40)] * 6)
    assert sum(mine) == 40
    assert [entry.payload["is"] for entry in ledger.read()] == list(range(40))
    assert check_chain(ledger.read()) == ()


def test_a_lock_dies_with_a_holder_that_is_killed(ledger_url):
    ledger = Ledger(ledger_url)
    ready, done = CONTEXT.Event(), CONTEXT.Event()
    holder = CONTEXT.Process(target=hold, args=(ledger_url, ready, done))
    holder.start()
    assert ready.wait(60)
    assert ledger.lock_is_held("fraud")
    with pytest.raises(Blocked, match="being changed by another process"), ledger.lock("fraud"):
        pass
    holder.kill()
    holder.join()
    deadline = datetime.now(UTC) + timedelta(seconds=30)
    while ledger.lock_is_held("fraud") and datetime.now(UTC) < deadline:
        pass
    with ledger.lock("fraud") as lock:
        lock.check()
