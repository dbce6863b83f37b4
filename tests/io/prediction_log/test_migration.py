"""A log that an older Evergreen filled is brought up to date with all it holds."""

from dataclasses import replace

import pytest

from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.io.databases import LOG
from evergreen.tasks.io.prediction_log.store import Log
from evergreen.tasks.io.prediction_log.writer import LogWriter
from tests.support.logs import MODEL, WAIT, record, served

OLD = [
    "INSERT INTO predictions VALUES ('fraud', 'old', 1.0, '2026-01-01T00:00:00+00:00', 2, NULL, 'ada', '0.5', '1', "
    "'{\"x\":1.5}')",
    "INSERT INTO outcomes VALUES ('fraud', 'old', 'true', 2.0, '2026-01-01T00:00:00+00:00')",
]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """URL of a log at revision 0001 that holds a prediction with its outcome."""
    made = f"sqlite:///{tmp_path / 'log.db'}"
    made = request.getfixturevalue("postgres_url") if request.param == "postgres" else made
    engine = LOG.make_engine(LOG.parse_url(made))
    replace(LOG, head="0001").migrate(engine)
    with engine.begin() as connection:
        for statement in OLD:
            connection.exec_driver_sql(statement)
    return made


def test_what_an_older_log_holds_is_still_there_and_new_rows_come_beside_it(url):
    writer = LogWriter(url)
    writer.put(MODEL, [served("new", position=2.0)]).result(WAIT)
    again = writer.put(MODEL, [served("old", features={"x": 1.5})], keyed=True).result(WAIT)
    writer.stop()
    frame = Log(url).read_predictions(MODEL, Window()).rows.frame
    assert frame["@prediction_id"].tolist() == ["old", "new"]
    assert frame["@variant"].tolist() == [None, "champion"]
    assert frame["@outcome"].tolist() == [True, None]
    assert (again[0].version, again[0].score, again[0].decision) == (2, 0.5, 1)


def test_the_tables_of_an_older_log_become_the_ones_the_code_speaks_to(url):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    Log(url).put_window(record(0, 1))
    with LOG.make_engine(LOG.parse_url(url)).connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": LOG.version_table})
        assert compare_metadata(context, LOG.metadata) == []
