"""Enumerate crash points: one killed process for each statement, commit and client call of a job.

Runs in one warmed process that restores the stores, forks, lets the child die at its point, and looks.
"""

import functools
import gc
import json
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from tests.support.crashing import Points, act, examine, look, open_stores, wait_until_free


def copy_sqlite(source, target):
    """Copy a SQLite database with what its journal or WAL still holds, into a file that may be in use."""
    with closing(sqlite3.connect(source)) as there, closing(sqlite3.connect(target)) as here:
        there.backup(here)


def labels_of(folder, ledger_url, job):
    """Return the labels of all points of a job that nothing interrupts."""
    warm_up(folder, ledger_url)
    assert run_until(folder, ledger_url, job, None) == 0
    return whole_labels(folder)


class Snapshot:
    """The stores of a folder as they were when it was taken; ``restore`` brings them back in place."""

    def __init__(self, folder, ledger_url):
        self._folder, self._ledger_url = Path(folder), ledger_url
        self._files = ["mlflow", "ledger"] if ledger_url.startswith("sqlite") else ["mlflow"]
        for name in self._files:
            copy_sqlite(self._folder / f"{name}.db", self._folder / f"{name}.kept")
        if "ledger" not in self._files:
            self._postgres("DROP TABLE IF EXISTS kept", "CREATE TABLE kept AS SELECT * FROM evergreen_ledger")

    def restore(self):
        for name in self._files:
            copy_sqlite(self._folder / f"{name}.kept", self._folder / f"{name}.db")
        if "ledger" not in self._files:
            self._postgres(
                "ALTER TABLE evergreen_ledger DISABLE TRIGGER USER",
                "DELETE FROM evergreen_ledger",
                "INSERT INTO evergreen_ledger SELECT * FROM kept",
                "ALTER TABLE evergreen_ledger ENABLE TRIGGER USER",
            )

    def _postgres(self, *statements):
        with create_engine(self._ledger_url, poolclass=NullPool).begin() as connection:
            for statement in statements:
                connection.execute(text(statement))


def warm_up(folder, ledger_url):
    """Open every store once, so that each engine there will be is known before the first fork."""
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    registry, ledger = open_stores(folder, ledger_url)
    look(registry, ledger)
    return ledger


@functools.cache
def pooled_engines():
    """Return MLflow's engines; it keeps one for each store for good, and ours keep no connection."""
    found = [held for held in gc.get_objects() if isinstance(held, Engine)]
    gc.freeze()  # a collection in a forked child would copy every page it touches
    return [engine for engine in found if not isinstance(engine.pool, NullPool)]


def run_until(folder, ledger_url, job, crash_at):
    """Do a job in a forked process that dies at its point; return the status and the labels it reached."""
    for engine in pooled_engines():
        engine.dispose()  # no connection crosses the fork
    log = Path(folder) / "points.json"
    child = os.fork()
    if child == 0:
        try:
            registry, ledger = open_stores(folder, ledger_url)
            points = Points(crash_at)
            points.install()
            act(job, registry, ledger)
            log.write_text(json.dumps(points.labels))
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]


def whole_labels(folder):
    """Return the labels that the last job in this folder reached which nothing interrupted."""
    return json.loads((Path(folder) / "points.json").read_text())


def enumerate_crashes(folder, ledger_url, job, prelude=None):
    """Return, for the whole job and then for each of its points, the label and the three looks of ``examine``.

    Parameters
    ----------
    prelude : tuple of (job, point), optional
        A crash before the job: the job then settles what it left.
    """
    ledger = warm_up(folder, ledger_url)
    if prelude is not None:
        assert os.WTERMSIG(run_until(folder, ledger_url, *prelude)) == signal.SIGKILL
        wait_until_free(ledger)
    snapshot = Snapshot(folder, ledger_url)
    assert run_until(folder, ledger_url, job, None) == 0
    labels = whole_labels(folder)
    found = [("no crash", examine(folder, ledger_url))]
    for point, label in enumerate(labels, start=1):
        snapshot.restore()
        assert os.WTERMSIG(run_until(folder, ledger_url, job, point)) == signal.SIGKILL
        found.append((f"{job}, point {point} of {len(labels)}: {label}", examine(folder, ledger_url)))
    return found
