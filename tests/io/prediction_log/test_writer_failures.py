"""What the log's writer does when its database fails: again for a while, then it says so, and it recovers."""

import resource
import signal
import sqlite3
import threading
import time
from contextlib import closing

import pytest
from sqlalchemy.engine import make_url

from evergreen.tasks.core.errors import Unreachable
from evergreen.tasks.core.serving.idempotency import IdConflict
from evergreen.tasks.io.prediction_log.batches import RetryingStore
from evergreen.tasks.io.prediction_log.store import Log
from evergreen.tasks.io.prediction_log.writer import LogWriter, open_store
from tests.support.logs import MODEL, WAIT, Failing, Place, served, sqlite_path
from tests.support.stores import execute

STORES = ["sqlite", "postgres"]


@pytest.fixture(params=STORES)
def place(request, tmp_path):
    return Place(request.param, tmp_path, request)


@pytest.fixture
def sqlite(request, tmp_path):
    return Place("sqlite", tmp_path, request)


def put(writer, *names, keyed=False, **more):
    return writer.put(MODEL, [served(name, **more) for name in names], keyed=keyed)


def test_a_lock_that_is_let_go_in_time_is_waited_for(sqlite):
    writer = LogWriter(sqlite.url, patience=30.0)
    with closing(sqlite3.connect(sqlite_path(sqlite.url), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        future = put(writer, "p1")
        time.sleep(0.1)
        assert not future.done()
        other.execute("COMMIT")
        future.result(WAIT)
    writer.stop()
    assert sqlite.ids() == ["p1"]


def test_a_lock_that_is_kept_too_long_fails_what_waits_and_the_writer_recovers(sqlite):
    writer = LogWriter(sqlite.url, patience=0.2)
    with closing(sqlite3.connect(sqlite_path(sqlite.url), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unreachable, match=r"did not accept the request \(OperationalError\).*same id"):
            put(writer, "p1").result(WAIT)
        assert writer.state().down
        assert isinstance(put(writer, "p2").exception(WAIT), Unreachable)
        other.execute("COMMIT")
    put(writer, "p1", keyed=True).result(WAIT)
    state = writer.state()
    assert (state.down, state.failed, state.retries > 0) == (False, 2, True)
    writer.stop()
    assert sqlite.ids() == ["p1"]


def test_a_full_disk_fails_what_waits_and_the_writer_recovers(sqlite, caplog):
    writer = LogWriter(sqlite.url, patience=0.2)
    put(writer, "p1").result(WAIT)
    kept = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (16_384, limits[1])
        )  # writes past it fail, as on a full disk
        with pytest.raises(Unreachable, match="OperationalError"):
            put(writer, *map(str, range(500))).result(WAIT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, kept)
    assert "disk" in caplog.text  # clients are told the kind of failure, the process's log what it was
    assert sqlite.ids() == ["p1"]
    put(writer, "p2", position=2.0).result(WAIT)
    writer.stop()
    assert sqlite.ids() == ["p1", "p2"]


def test_a_connection_that_is_cut_is_made_anew_without_loss_or_double(request, tmp_path):
    place = Place("postgres", tmp_path, request)
    writer, futures, stop = LogWriter(place.url, patience=30.0), [], threading.Event()

    def cut():
        maintenance = make_url(place.url).set(database="postgres").render_as_string(hide_password=False)
        while not stop.wait(0.02):
            execute(
                maintenance,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                f"WHERE application_name = 'evergreen-log-writer' AND datname = '{make_url(place.url).database}'",
            )

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        for number in range(80):
            futures.append(put(writer, f"p{number:03}", position=float(number)))
            futures[-1].exception(WAIT)
    finally:
        stop.set()
        cutter.join()
    assert writer.state().retries > 0
    assert [future.exception() for future in futures] == [None] * 80
    writer.stop()
    assert place.ids() == [f"p{number:03}" for number in range(80)]


STEPS = ["begin", "predictions", "insert_predictions", "insert_shadows", "commit"]


@pytest.mark.parametrize("keyed", [False, True])
def test_a_commit_whose_answer_was_lost_is_found_and_not_written_twice(place, keyed):
    store = open_store(place.url, timeout=5.0)
    Failing(store, "commit", after=True)
    writer = LogWriter(store)
    assert put(writer, "p1", "p2", keyed=keyed).result(WAIT)[1].prediction_id == "p2"
    assert writer.state().retries == 1
    writer.stop()
    assert sorted(place.ids()) == ["p1", "p2"]


@pytest.mark.parametrize("step", STEPS)
def test_a_failure_before_any_step_is_tried_again(place, step):
    store = open_store(place.url, timeout=5.0)
    Failing(store, step, after=False, times=2)
    writer = LogWriter(store)
    from evergreen.tasks.io.prediction_log.records import ShadowScore

    put(writer, "p1", keyed=True, shadows=(ShadowScore(variant="night", version=2),)).result(WAIT)
    assert writer.state().retries == 2
    writer.stop()
    assert place.ids() == ["p1"]


def test_while_the_database_stays_down_later_batches_are_tried_once(place):
    store = open_store(place.url, timeout=5.0)
    failing = Failing(store, "begin", after=False, times=10**6)
    writer = LogWriter(store, patience=0.1)
    assert isinstance(put(writer, "p0").exception(WAIT), Unreachable)
    before = writer.state().retries
    futures = [put(writer, f"p{n}") for n in range(1, 9)]
    assert all(isinstance(future.exception(WAIT), Unreachable) for future in futures)
    assert writer.state().retries - before <= 8
    failing.left = 0
    put(writer, "p9").result(WAIT)
    assert writer.stop(timeout=WAIT)
    assert place.ids() == ["p9"]


def test_stop_ends_while_the_database_is_down_and_tells_everyone(place):
    store = open_store(place.url, timeout=5.0)
    Failing(store, "begin", after=False, times=10**6)
    writer = LogWriter(store, patience=0.1, most_rows=1)
    futures = [put(writer, f"p{n}") for n in range(20)]
    assert writer.stop(timeout=WAIT)
    assert [type(future.exception(0)) for future in futures] == [Unreachable] * 20


def test_what_only_one_request_makes_impossible_fails_only_that_one(place):
    store = open_store(place.url, timeout=5.0)
    insert = store.insert_predictions

    def refuse(records, *, at):
        if any(record.prediction_id == "p5" for record in records):
            raise ValueError("unheard of")
        return insert(records, at=at)

    store.insert_predictions = refuse
    writer = LogWriter(store)
    futures = [put(writer, f"p{n}", position=float(n)) for n in range(10)]
    errors = [future.exception(WAIT) for future in futures]
    assert [n for n, error in enumerate(errors) if error is not None] == [5]
    assert isinstance(errors[5], ValueError)
    writer.stop()
    assert place.ids() == [f"p{n}" for n in range(10) if n != 5]


def test_another_writer_that_came_between_look_and_insert_is_met_by_looking_again(place):
    store, other = open_store(place.url, timeout=5.0), LogWriter(place.url)
    look, came = store.predictions, []

    def look_and_be_late(keys):
        found = look(keys)
        if place.kind == "postgres" and not came:  # SQLite lets nobody in between
            came.append(put(other, "k", keyed=True, score=0.75).result(WAIT))
        return found

    store.predictions = look_and_be_late
    if place.kind == "sqlite":
        put(other, "k", keyed=True, score=0.75).result(WAIT)
    results = PatientStoreOf(store).write("k", "q")
    assert results["k"][0].score == 0.75
    assert results["q"][0].prediction_id == "q"
    with pytest.raises(IdConflict):
        put(other, "k", keyed=True, entity="bob").result(WAIT)
    other.stop()
    assert sorted(place.ids()) == ["k", "q"]


class PatientStoreOf:
    """Writes keyed requests of one row, all in one batch."""

    def __init__(self, store):
        self._store = RetryingStore(store, patience=5.0)

    def write(self, *names):
        from evergreen.tasks.io.prediction_log.batches import Put
        from evergreen.tasks.io.prediction_log.encode import encode_rows

        rows = [(served(name),) for name in names]
        puts = [Put(1, row, records=encode_rows(MODEL, row), keyed=True) for row in rows]
        results = self._store.write(puts, at=lambda: "2026-03-01T12:00:00+00:00")
        self._store.close()
        return dict(zip(names, results, strict=True))


def test_a_log_that_does_not_answer_is_said_to_be_unreachable_at_once(tmp_path):
    with pytest.raises(Unreachable, match="does not answer"):
        LogWriter(f"postgresql://me@/log?host={tmp_path}")


def test_the_writer_meets_a_purge_that_runs_at_the_same_time(place):
    writer, log = LogWriter(place.url), Log(place.url)
    futures = []
    for number in range(0, 2000, 20):
        futures.append(put(writer, *(f"p{n:04}" for n in range(number, number + 20)), position=float(number)))
        if number % 400 == 0:
            log.purge_predictions(MODEL, before=float(number))
    for future in futures:
        future.result(WAIT)
    log.purge_predictions(MODEL, before=1600.0)
    writer.stop()
    assert sorted(place.ids()) == [f"p{n:04}" for n in range(1600, 2000)]
