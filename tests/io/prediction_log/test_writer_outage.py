"""A database that takes nothing is known to be down whatever its driver says, and known to be up again by itself."""

import resource
import signal
import sqlite3
import time
from contextlib import closing, contextmanager

import psycopg
import pytest
from sqlalchemy.engine import make_url

from evergreen.tasks.core.errors import InputError, Unreachable
from evergreen.tasks.io.prediction_log.writer import LogWriter, open_store
from tests.support.logs import MODEL, WAIT, Failing, Place, served, sqlite_path
from tests.support.stores import execute

ERRORS = {
    "sqlite": [
        sqlite3.DatabaseError,
        sqlite3.InternalError,
        sqlite3.IntegrityError,
        sqlite3.ProgrammingError,
    ],
    "postgres": [
        psycopg.errors.ReadOnlySqlTransaction,
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.DataCorrupted,
        psycopg.errors.UndefinedTable,
    ],
}
CASES = [(kind, error) for kind, errors in ERRORS.items() for error in errors]


@pytest.fixture
def place(request, tmp_path):
    return Place(request.param, tmp_path, request)


@pytest.fixture
def sqlite(request, tmp_path):
    return Place("sqlite", tmp_path, request)


both = pytest.mark.parametrize("place", ["sqlite", "postgres"], indirect=True)


def put(writer, *names, **more):
    return writer.put(MODEL, [served(name, **more) for name in names])


def wait_until_up(writer, *, down=False):
    """Wait until the writer says that its database is up, while nothing is put."""
    end = time.monotonic() + WAIT
    while writer.state().down is not down and time.monotonic() < end:
        time.sleep(0.01)
    return writer.state().down is down


@pytest.mark.parametrize(("place", "error"), CASES, indirect=["place"])
def test_whatever_a_driver_raises_is_the_databases_trouble(place, error):
    store = open_store(place.url, timeout=5.0)
    Failing(store, "insert_predictions", after=False, times=10**6, error=error)
    writer = LogWriter(store, patience=0.0, probe=1e6)
    assert isinstance(put(writer, "p1").exception(WAIT), Unreachable)
    assert (writer.state().down, writer.state().failed) == (True, 1)
    assert writer.stop(timeout=WAIT)


@pytest.mark.parametrize(("place", "error"), CASES, indirect=["place"])
def test_such_trouble_is_waited_for_and_met_by_a_new_connection(place, error):
    store = open_store(place.url, timeout=5.0)
    Failing(store, "insert_predictions", after=False, times=1, error=error)
    connect, opened = store.begin, []

    def begin():
        opened.append(store._connection is None)
        connect()

    store.begin = begin
    writer = LogWriter(store, patience=30.0)
    put(writer, "p1").result(WAIT)
    assert writer.stop(timeout=WAIT)
    assert opened == [True, True]
    assert place.ids() == ["p1"]


@both
def test_a_value_the_database_cannot_hold_fails_its_own_request_alone(place):
    writer = LogWriter(place.url, probe=1e6)
    futures = [
        put(writer, f"p{n}", position=float(n), version=2**70 if n == 3 else 3, entity=None) for n in range(8)
    ]
    errors = [future.exception(WAIT) for future in futures]
    assert [n for n, error in enumerate(errors) if error is not None] == [3]
    assert isinstance(errors[3], InputError)
    assert (writer.state().down, writer.state().retries) == (False, 0)
    writer.stop()
    assert place.ids() == [f"p{n}" for n in range(8) if n != 3]


def test_a_standby_after_a_failover_is_left_for_the_new_primary_by_itself(request, tmp_path):
    place = Place("postgres", tmp_path, request)
    name = make_url(place.url).database
    maintenance = make_url(place.url).set(database="postgres").render_as_string(hide_password=False)
    writer = LogWriter(place.url, patience=0.1, probe=0.02)
    put(writer, "p1").result(WAIT)
    execute(maintenance, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    execute(
        maintenance,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE application_name = 'evergreen-log-writer' AND datname = '{name}'",
    )
    assert isinstance(put(writer, "p2").exception(WAIT), Unreachable)
    assert writer.state().down
    execute(maintenance, f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert wait_until_up(writer)
    put(writer, "p2", position=2.0).result(WAIT)
    writer.stop()
    assert place.ids() == ["p1", "p2"]


@both
def test_a_database_that_answers_and_takes_no_row_stays_down(place):
    store = open_store(place.url, timeout=5.0)
    failing = Failing(store, "insert_predictions", after=False, times=10**6)
    looks, drop = [], store.drop
    store.drop = lambda: (looks.append(writer.state().down), drop())
    writer = LogWriter(store, patience=0.0, probe=0.01)
    put(writer, "p1").exception(WAIT)
    end = time.monotonic() + WAIT
    while len(looks) < 5 and time.monotonic() < end:
        time.sleep(0.01)
    assert looks[1:5] == [True] * 4
    failing.left = 0
    assert wait_until_up(writer)
    assert writer.stop(timeout=WAIT)
    assert place.ids() == []  # what was written to see whether it can be, was taken back


@contextmanager
def full_disk():
    """Let writes past the first pages of a file fail, as on a full disk."""
    kept = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, limits[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, kept)


def test_a_disk_that_is_full_is_down_until_there_is_room(sqlite):
    store = open_store(sqlite.url, timeout=5.0)
    looks, probe = [], store.probe

    def counted(**at):
        try:
            probe(**at)
        except Exception as error:
            looks.append(type(error))
            raise

    store.probe = counted
    writer = LogWriter(store, patience=0.1, probe=0.01)
    put(writer, "p1").result(WAIT)
    with full_disk():
        assert isinstance(put(writer, *map(str, range(500))).exception(WAIT), Unreachable)
        end = time.monotonic() + WAIT
        while len(looks) < 3 and time.monotonic() < end:
            time.sleep(0.01)
        assert writer.state().down
    assert len(looks) >= 3
    assert wait_until_up(writer)
    assert writer.stop(timeout=WAIT)
    assert sqlite.ids() == ["p1"]


def test_an_outage_is_noticed_while_nothing_is_put(sqlite):
    writer = LogWriter(sqlite.url, patience=0.1, probe=0.01)
    put(writer, "p1").result(WAIT)
    with closing(sqlite3.connect(sqlite_path(sqlite.url), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert wait_until_up(writer, down=True)
        other.execute("COMMIT")
    assert wait_until_up(writer)
    assert writer.stop(timeout=WAIT)


@both
def test_an_idle_connection_that_was_cut_is_no_outage(place):
    store = open_store(place.url, timeout=5.0)
    failing = Failing(store, "begin", after=False, times=0)
    writer = LogWriter(store, patience=0.0, probe=0.01)
    put(writer, "p1").result(WAIT)
    failing.left = 1
    end = time.monotonic() + WAIT
    while failing.left and time.monotonic() < end:
        time.sleep(0.01)
    put(writer, "p2", position=2.0).result(WAIT)
    assert writer.state().down is False
    assert writer.stop(timeout=WAIT)
    assert place.ids() == ["p1", "p2"]


@both
def test_a_look_that_goes_wrong_in_any_way_ends_no_writer(place):
    store = open_store(place.url, timeout=5.0)
    failing = Failing(store, "begin", after=False, times=6, error=KeyError)
    writer = LogWriter(store, probe=0.01)
    end = time.monotonic() + WAIT
    while failing.left and time.monotonic() < end:
        time.sleep(0.01)
    assert wait_until_up(writer)
    put(writer, "p1").result(WAIT)
    assert writer.stop(timeout=WAIT)
    assert place.ids() == ["p1"]
