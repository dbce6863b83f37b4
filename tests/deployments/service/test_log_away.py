"""A log that fails is the service's trouble: a 503 that says when, never a client's or a model's fault."""

import asyncio
import sqlite3
import threading
from functools import partial

import pytest
from sqlalchemy.engine import make_url

from evergreen.tasks.io.prediction_log.drivers import SqliteStore
from evergreen.tasks.io.prediction_log.writer import LogWriter, open_store
from tests.support.serving import OUTCOMES, PREDICT, ROW, error_of, model_of, predict, rows, serve, until
from tests.support.stores import execute

PATHS = [PREDICT, "/invocations", OUTCOMES]
WORDS = "connection to server at db.internal, port 5432 failed: /run/pg/.s.PGSQL.5432 for ada:secret"


QUICK = {"patience": 0.1, "probe": 0.02}
"""The writer is patient for a moment only, and looks at its database often."""


quick_writer = partial(LogWriter, **QUICK)


@pytest.fixture
def model(monitored):
    return model_of(monitored, serving={"max_rows": 10})


class Unwilling(SqliteStore):
    """A file that takes nothing while there is an error to raise, and makes everyone wait while it is shut."""

    error = None

    def __init__(self, path, *, timeout):
        super().__init__(path, timeout=timeout)
        self.gate = threading.Event()
        self.gate.set()

    def begin(self):
        assert self.gate.wait(30)
        super().begin()

    def insert_predictions(self, records, *, at):
        return self._unless(super().insert_predictions, records, at=at)

    def insert_outcomes(self, records, *, at):
        return self._unless(super().insert_outcomes, records, at=at)

    def _unless(self, insert, records, *, at):
        if self.error is not None:
            raise self.error
        return insert(records, at=at)


class Opened:
    """Makes the log's writer on a file that can be made unwilling."""

    def __call__(self, url, **options):
        timeout = QUICK["patience"] / 2
        open_store(url, timeout=timeout)  # migrates it
        self.store = Unwilling(str(make_url(url).database), timeout=timeout)
        return quick_writer(self.store, **options)


@pytest.fixture
def opened():
    return Opened()


async def send(client, path):
    if path == OUTCOMES:
        return await client.post(path, json={"outcomes": [{"id": "a", "outcome": "yes"}]})
    return await predict(client, ROW, path=path)


async def readiness(client):
    answer = await client.get("/ready")
    return answer.status_code, answer.json()["log"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", [sqlite3.OperationalError, sqlite3.DatabaseError, sqlite3.IntegrityError])
def test_a_log_that_takes_nothing_is_told_with_a_time_and_comes_back_by_itself(model, opened, path, kind):
    async def scenario(client):
        opened.store.error = kind("the disk image is malformed")
        answer, away = await send(client, path), await readiness(client)
        opened.store.error = None
        await until(lambda: client.get("/ready"), lambda answer: answer.status_code == 200)
        return answer, away, (await send(client, path)).status_code

    answer, away, after = serve(scenario, model, make_writer=opened)
    assert (503, "log_unreachable", None) == error_of(answer)
    assert "2" == answer.headers["retry-after"]
    assert ((503, "unreachable"), 200) == (away, after)


@pytest.mark.parametrize("path", PATHS)
def test_an_answer_never_repeats_what_a_driver_says(model, opened, caplog, path):
    async def scenario(client):
        opened.store.error = sqlite3.OperationalError(WORDS)
        return await send(client, path)

    answer = serve(scenario, model, make_writer=opened)
    assert (503, "log_unreachable", None) == error_of(answer)
    assert [] == [word for word in WORDS.split() if len(word) > 6 and word in answer.text]
    assert "db.internal" in caplog.text


@pytest.mark.parametrize("path", PATHS)
def test_a_bug_of_the_writers_is_told_as_ours_and_not_as_the_models(model, opened, caplog, path):
    async def scenario(client):
        opened.store.error = ZeroDivisionError("the secret of a row")
        return await send(client, path), await readiness(client)

    answer, ready = serve(scenario, model, make_writer=opened)
    assert (500, "internal", None) == error_of(answer)
    assert (200, "writable") == ready
    assert "ZeroDivisionError" in caplog.text
    assert "secret" not in answer.text + caplog.text


@pytest.mark.parametrize("path", PATHS)
def test_a_value_the_database_cannot_hold_is_the_requests_trouble(model, opened, path):
    async def scenario(client):
        opened.store.error = sqlite3.DataError("string or blob too big")
        return await send(client, path), await readiness(client)

    answer, ready = serve(scenario, model, make_writer=opened)
    assert (422, "input_error", None) == error_of(answer)
    assert "DataError" in answer.text
    assert (200, "writable") == ready


def test_a_standby_after_a_failover_is_503_until_it_takes_rows(monitored, postgres_url, monkeypatch):
    monkeypatch.setenv("EVERGREEN_LOG_URL", postgres_url)
    model = model_of(monitored)
    name = make_url(postgres_url).database
    maintenance = make_url(postgres_url).set(database="postgres").render_as_string(hide_password=False)

    async def scenario(client):
        before = (await predict(client, ROW)).status_code
        execute(maintenance, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        execute(
            maintenance, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        away = error_of(await predict(client, ROW)), await readiness(client)
        execute(maintenance, f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await until(lambda: client.get("/ready"), lambda answer: answer.status_code == 200)
        return before, away, (await predict(client, ROW)).status_code

    before, away, after = serve(scenario, model, make_writer=quick_writer)
    assert ((503, "log_unreachable", None), (503, "unreachable")) == away
    assert (200, 200) == (before, after)
    assert [(2,)] == [
        tuple(row) for row in execute(postgres_url, "SELECT count(*) FROM evergreen_log.predictions")
    ]


def test_a_full_log_is_back_pressure_and_what_was_taken_is_answered(model, opened):
    async def scenario(client):
        opened.store.gate.clear()
        taken = [asyncio.create_task(predict(client, *rows(10))) for _ in range(4)]
        await until(lambda: client.get("/metrics"), lambda answer: "log_queue_rows 40.0" in answer.text)
        refused = [await send(client, path) for path in PATHS]
        opened.store.gate.set()
        return refused, await asyncio.gather(*taken), (await predict(client, ROW)).status_code

    refused, taken, after = serve(scenario, model, make_writer=opened, queue_rows=8)
    assert [(503, "log_full", None)] * 3 == [error_of(answer) for answer in refused]
    assert ["1"] * 3 == [answer.headers["retry-after"] for answer in refused]
    assert "40 rows wait for the log, 1 more are too many: at most 40 may" in refused[0].text
    assert ([200] * 4, 200) == ([answer.status_code for answer in taken], after)


def test_the_largest_request_that_is_allowed_finds_room_in_the_log(monitored):
    model = model_of(monitored, serving={"max_rows": 10_001, "timeout": "60s"})

    async def scenario(client):
        return await predict(client, *rows(10_001))

    answer = serve(scenario, model, make_writer=quick_writer)
    assert 200 == answer.status_code, answer.text
    assert 10_001 == len(answer.json()["predictions"])


def test_an_answer_that_takes_too_long_is_not_waited_for(monitored, opened):
    model = model_of(monitored, serving={"timeout": "0.3s"})

    async def scenario(client):
        opened.store.gate.clear()
        answer = await predict(client, ROW)
        opened.store.gate.set()
        return answer

    answer = serve(scenario, model, make_writer=opened)
    assert (503, "too_slow", None) == error_of(answer)
    assert "1" == answer.headers["retry-after"]
