"""One contract for every log of windows: in memory, on SQLite, on a real PostgreSQL."""

from datetime import datetime, timedelta

import pandas as pd
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.errors import ConfigError, InputError, UnknownName, Unreachable
from evergreen.tasks.core.profiles.profile import measure_profile
from evergreen.tasks.io.databases import LOG
from evergreen.tasks.io.ledger import Ledger
from evergreen.tasks.io.prediction_log.store import Log
from tests.support.logs import LOGS, MODEL, NOW, frame, grid, new_log, record, sum_profiles
from tests.support.processes import race
from tests.support.stores import execute

INPUTS, OUTCOMES = Phase.INPUTS, Phase.OUTCOMES


def open_log_once(url, number):
    """Open (and at first migrate) a log and put one window."""
    Log(url).put_window(record(number, number + 1))


@pytest.fixture(params=LOGS)
def log(request, tmp_path):
    return new_log(request.param, tmp_path, request)


@pytest.fixture(params=["sqlite", "postgres"])
def log_url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'deep' / 'log.db'}"
    return request.getfixturevalue("postgres_url")


def spans(records):
    return [(each.window.start, each.window.end) for each in records]


def test_what_is_read_is_what_was_put(log):
    payload = {"memory": {"☃": [1, 2.5, None, True]}, "measures": []}
    put = record(1772366400.123456, 1772370000.0, payload=payload)
    log.put_window(put)
    assert log.get_window(MODEL, INPUTS, put.window) == put
    assert log.windows(MODEL, INPUTS) == [put]
    assert log.get_window(MODEL, OUTCOMES, put.window) is None
    assert log.get_window("churn", INPUTS, put.window) is None


def test_a_window_put_again_replaces_the_first(log):
    log.put_window(record(0, 10, payload={"try": 1}))
    log.put_window(record(0, 10, payload={"try": 2}))
    assert [each.payload for each in log.windows(MODEL, INPUTS)] == [{"try": 2}]


def test_windows_are_read_in_time_order_between_two_positions(log):
    for start in (20, 0, 30, 10, -10):
        log.put_window(record(start, start + 10))
    log.put_window(record(0, 10, model="churn"))
    log.put_window(record(0, 10, phase=OUTCOMES))
    assert spans(log.windows(MODEL, INPUTS)) == [(-10, 0), (0, 10), (10, 20), (20, 30), (30, 40)]
    assert spans(log.windows(MODEL, INPUTS, since=0, until=20)) == [(0, 10), (10, 20)]


def test_days_are_the_sums_of_their_hours(log):
    shape, hours = grid(), [frame(seed, rows=20 + seed) for seed in range(1, 5)]
    for number, rows in enumerate(hours):
        short = measure_profile(rows, shape).to_window_dict()
        log.put_window(record(number, number + 1, profiles={"inputs": short}), grids=[shape])
    (whole,) = sum_profiles(log, log.windows(MODEL, INPUTS), "inputs")
    expected = measure_profile(pd.concat(hours, ignore_index=True), shape)
    assert {name: column.counts for name, column in whole.columns.items()} == {
        name: column.counts for name, column in expected.columns.items()
    }
    assert [whole.columns[name].nulls for name in "xc"] == [expected.columns[name].nulls for name in "xc"]
    assert whole.columns["x"].mean == pytest.approx(expected.columns["x"].mean, abs=1e-9)
    assert sum_profiles(log, log.windows(MODEL, INPUTS), "answers") == ()


def test_profiles_over_two_grids_are_summed_apart_oldest_first(log):
    old, new = grid(seed=7), grid(seed=8)
    for number, shape in enumerate([old, old, new]):
        short = measure_profile(frame(number), shape).to_window_dict()
        log.put_window(record(number, number + 1, profiles={"inputs": short}), grids=[shape])
    sums = sum_profiles(log, log.windows(MODEL, INPUTS), "inputs")
    assert [(each.grid.id, each.columns["x"].n) for each in sums] == [(old.id, 100), (new.id, 50)]


def test_a_grid_is_written_once_and_an_unknown_one_is_named(log):
    shape = grid()
    for start in (0, 1):
        log.put_window(record(start, start + 1), grids=[shape])
    assert log.grid(shape.id) == shape
    with pytest.raises(UnknownName, match="'nowhere'"):
        log.grid("nowhere")


def test_what_json_cannot_say_is_refused_and_nothing_is_written(log):
    with pytest.raises(InputError, match="NaN into null"):
        log.put_window(record(0, 1, payload={"psi": float("nan")}))
    with pytest.raises(InputError, match="is open"):
        log.put_window(record(0, float("inf")))
    with pytest.raises(InputError, match="no time zone"):
        log.put_window(record(0, 1, at=datetime(2026, 1, 1)))
    assert log.windows(MODEL, INPUTS) == []


@pytest.mark.parametrize("kind", LOGS)
def test_a_purge_by_position_takes_windows_that_end_by_it_in_both_phases(kind, tmp_path, request):
    log = new_log(kind, tmp_path, request, chunk=3)
    for start in range(10):
        log.put_window(record(start, start + 1))
        log.put_window(record(start, start + 1, phase=OUTCOMES))
    log.put_window(record(0, 1, model="churn"))
    assert log.purge_windows(MODEL, before=7.0) == 14
    assert spans(log.windows(MODEL, INPUTS)) == [(7, 8), (8, 9), (9, 10)]
    assert spans(log.windows(MODEL, OUTCOMES)) == [(7, 8), (8, 9), (9, 10)]
    assert spans(log.windows("churn", INPUTS)) == [(0, 1)]
    assert log.purge_windows(MODEL, before=7.0) == 0


def test_a_purge_by_moment_takes_what_was_written_before_it(log):
    for day in range(4):
        log.put_window(record(day, day + 1, at=NOW + timedelta(days=day)))
    assert log.purge_windows(MODEL, written_before=NOW + timedelta(days=2)) == 2
    assert spans(log.windows(MODEL, INPUTS)) == [(2, 3), (3, 4)]


def test_a_purge_must_be_told_by_what(log):
    for wrong in ({}, {"before": 1.0, "written_before": NOW}):
        with pytest.raises(InputError, match="either"):
            log.purge_windows(MODEL, **wrong)


def test_alembic_knows_the_revision_the_fast_path_compares_with():
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", f"tasks/io/{LOG.migrations}")
    assert ScriptDirectory.from_config(config).get_current_head() == LOG.head


def test_the_migrated_tables_are_the_ones_the_code_speaks_to(log_url):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    Log(log_url)
    with LOG.make_engine(LOG.parse_url(log_url)).connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": LOG.version_table})
        assert compare_metadata(context, LOG.metadata) == []


def test_ledger_and_log_share_a_postgresql_database_without_meeting(postgres_url):
    Ledger(postgres_url).append(model=MODEL, stream="plans", kind="made", payload={}, at=NOW)
    Log(postgres_url).put_window(record(0, 1))
    query = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('public', 'evergreen_log')"
    assert sorted(tuple(row) for row in execute(postgres_url, query)) == [
        *(
            ("evergreen_log", name)
            for name in ("evergreen_log_version", "grids", "outcomes", "predictions", "shadows")
        ),
        ("evergreen_log", "windows"),
        ("public", "evergreen_ledger"),
        ("public", "evergreen_ledger_version"),
    ]
    assert [entry.kind for entry in Ledger(postgres_url).read()] == ["made"]


def test_a_user_who_may_not_create_the_schema_is_told_what_to_ask_for(postgres_url):
    name = postgres_url.partition("?")[0].rsplit("/", 1)[1]
    execute(postgres_url, f"CREATE ROLE reader_{name} LOGIN")
    weak = (
        create_engine(postgres_url).url.set(username=f"reader_{name}").render_as_string(hide_password=False)
    )
    try:
        with pytest.raises(ConfigError, match=r"permission denied.*Grant its user CREATE"):
            Log(weak)
    finally:
        execute(postgres_url, f"DROP ROLE reader_{name}")


def test_a_log_of_a_newer_evergreen_is_refused(tmp_path):
    url = f"sqlite:///{tmp_path / 'log.db'}"
    Log(url)
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(text("UPDATE evergreen_log_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="The log is at revision 9999"):
        Log(url)


def test_a_log_that_does_not_answer_is_said_to_be_unreachable_without_its_password(tmp_path):
    with pytest.raises(Unreachable, match=r"The log .* does not answer .* EVERGREEN_LOG_URL") as error:
        Log(f"postgresql://me:secret@/log?host={tmp_path}")
    assert "secret" not in str(error.value)


def test_eight_processes_that_open_a_new_log_at_once_all_find_it_migrated(log_url):
    assert race(open_log_once, [(log_url, number) for number in range(8)]) == [None] * 8
    assert spans(Log(log_url).windows(MODEL, INPUTS)) == [(number, number + 1) for number in range(8)]
