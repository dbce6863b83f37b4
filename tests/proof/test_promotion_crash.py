"""Crash at every single point of a promotion and a rollback, and at random moments: reconcile always mends it."""

import functools
import gc
import json
import os
import random
import shutil
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from evergreen.tasks.core.errors import Blocked
from evergreen.tasks.core.promotion.registry_state import describe_status
from evergreen.tasks.io.ledger import Ledger
from evergreen.tasks.io.mlflow_store.registry import MlflowRegistry
from evergreen.tasks.promotion import Promoter
from tests.support.processes import CONTEXT, ask, finish, run_until, start
from tests.support.stores import create_database, execute

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]
MODEL = "fraud"
IMPORTS = [
    "alembic.command",
    "mlflow.pyfunc",
    "mlflow.sklearn",
    "mlflow.store.db.utils",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "psycopg",
    "sklearn.dummy",
    "skops.io",
    "skops.io._sklearn",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "sqlalchemy.orm",
    "tests.proof.test_promotion_crash",
]
"""What the processes need, imported once in the server they are forked from."""
RANDOM_KILLS = 50
SEED = 20260301
JOBS = {
    "promotion": {
        "before": {"champion": 3, "fallback": 2, "challenger": 4, "candidate": 4},
        "after": {"champion": 4, "fallback": 3},
    },
    "rollback": {
        "before": {"champion": 3, "fallback": 2, "challenger": 4, "candidate": 4},
        "after": {"champion": 2, "fallback": 1, "challenger": 4, "candidate": 4},
    },
    "promotion of the fallback": {
        "before": {"champion": 3, "fallback": 2, "challenger": 4, "candidate": 4},
        "after": {"champion": 2, "fallback": 3, "challenger": 4, "candidate": 4},
    },
}
"""What each job starts from and ends in, in the template that ``build`` makes."""


def open_stores(folder, ledger_url):
    return MlflowRegistry(f"sqlite:///{folder}/mlflow.db"), Ledger(ledger_url)


def build(folder, ledger_url):
    """Log four real models that each predict their own version; 1, 2, 3 reign in turn, 4 is challenger."""
    import mlflow
    from sklearn.dummy import DummyRegressor

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment(
        experiment_id=mlflow.create_experiment("e", artifact_location=f"file://{folder}/files")
    )
    registry, ledger = open_stores(folder, ledger_url)
    for version in (1, 2, 3, 4):
        model = DummyRegressor(strategy="constant", constant=version).fit([[0.0]], [version])
        with mlflow.start_run() as run:
            logged = mlflow.sklearn.log_model(
                model, name="model", input_example=np.zeros((1, 1)), pip_requirements=["scikit-learn"]
            )
        tags = {"validation_status": "approved"}
        registry.register(MODEL, source=logged.model_uri, run_id=run.info.run_id, tags=tags)
        Promoter(registry, ledger, MODEL).set_candidate(version=version)
        Promoter(registry, ledger, MODEL).admit_challenger(version=version)
        if version < 4:
            Promoter(registry, ledger, MODEL).promote(version=version, reason="template")


def act(job, registry, ledger):
    if job == "promotion":
        Promoter(registry, ledger, MODEL).promote(version=4, reason="better", expected_champion=3)
    elif job == "promotion of the fallback":
        Promoter(registry, ledger, MODEL).promote(version=2, reason="better again")
    elif job == "rollback":
        Promoter(registry, ledger, MODEL).rollback(reason="worse")
    elif job == "reconcile":
        Promoter(registry, ledger, MODEL).reconcile()


def work(folder, ledger_url, job, started):
    """Do a job and say when it begins; what the random kills kill."""
    registry, ledger = open_stores(folder, ledger_url)
    registry.aliases(MODEL)
    started.set()
    act(job, registry, ledger)


def contend(folder, ledger_url, version, start):
    """Promote one of two versions against the same champion at the same moment; return the state's name."""
    registry, ledger = open_stores(folder, ledger_url)
    registry.aliases(MODEL)
    start.wait()
    try:
        result = Promoter(registry, ledger, MODEL).promote(
            version=version, reason="mine", expected_champion=3
        )
        return result.state.value, None
    except Blocked as error:
        return "Blocked", error.reason_code


def served_version():
    """Load what serving code loads and ask it who it is."""
    import mlflow

    return int(mlflow.pyfunc.load_model(f"models:/{MODEL}@champion").predict(np.zeros((1, 1)))[0])


def look(registry, ledger):
    """Return what serving code and an operator see now."""
    aliases, entries = registry.aliases(MODEL), ledger.read(model=MODEL)
    status = describe_status(aliases=aliases, entries=entries, lock_is_held=ledger.lock_is_held(MODEL))
    return {
        "aliases": aliases,
        "served": served_version(),
        "pending": [plan["state"] for plan in status["pending"]],
        "inconsistencies": status["inconsistencies"],
        "entries": len(entries),
        "tags": {str(info.version): dict(info.tags) for info in registry.versions(MODEL)},
    }


def examine(folder, ledger_url):
    """Look before reconcile, after it, and after a second one."""
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    registry, ledger = open_stores(folder, ledger_url)
    wait_until_free(ledger)
    found = [look(registry, ledger)]
    for _ in range(2):
        Promoter(registry, ledger, MODEL).reconcile()
        found.append(look(registry, ledger))
    return found


def wait_until_free(ledger):
    """Wait for PostgreSQL to notice that the client of a killed process is gone; a file lock is free at once."""
    deadline = time.monotonic() + 60
    while ledger.lock_is_held(MODEL):
        assert time.monotonic() < deadline, "the lock outlived its holder"


def copy_sqlite(source, target):
    """Copy a SQLite database with what its journal or WAL still holds, into a file that may be in use."""
    with closing(sqlite3.connect(source)) as there, closing(sqlite3.connect(target)) as here:
        there.backup(here)


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


def act_counted(folder, ledger_url, job, points, _acknowledge):
    from mlflow import MlflowClient

    registry, ledger = open_stores(folder, ledger_url)
    points.listen()
    for name in ("set_alias", "delete_alias", "set_tags"):
        points.wrap(MlflowRegistry, name)
    for name in dir(MlflowClient):
        if not name.startswith("_") and callable(getattr(MlflowClient, name)):
            points.wrap(MlflowClient, name)
    act(job, registry, ledger)


def crash(folder, ledger_url, job, crash_at=None):
    """Do a job in a forked process that dies at its point; return the status and the labels of all its points."""
    for engine in pooled_engines():
        engine.dispose()  # no connection crosses the fork
    status, _, labels = run_until(functools.partial(act_counted, folder, ledger_url, job), crash_at)
    assert crash_at is not None or status == 0
    return status, labels


def labels_of(folder, ledger_url, job):
    """Return the labels of all points of a job that nothing interrupts."""
    warm_up(folder, ledger_url)
    return crash(folder, ledger_url, job)[1]


def enumerate_crashes(folder, ledger_url, job, prelude=None):
    """Return, for the whole job and then for each of its points, the label and the three looks of ``examine``.

    Parameters
    ----------
    prelude : tuple of (job, point), optional
        A crash before the job: the job then settles what it left.
    """
    ledger = warm_up(folder, ledger_url)
    if prelude is not None:
        assert os.WTERMSIG(crash(folder, ledger_url, *prelude)[0]) == signal.SIGKILL
        wait_until_free(ledger)
    snapshot = Snapshot(folder, ledger_url)
    _, labels = crash(folder, ledger_url, job)
    found = [("no crash", examine(folder, ledger_url))]
    for point, label in enumerate(labels, start=1):
        snapshot.restore()
        assert os.WTERMSIG(crash(folder, ledger_url, job, point)[0]) == signal.SIGKILL
        found.append((f"{job}, point {point} of {len(labels)}: {label}", examine(folder, ledger_url)))
    return found


class Copies:
    """Copies of one template of the stores; the models' files are shared, for nobody writes them."""

    def __init__(self, template, ledger_url, server):
        self._template, self._ledger_url, self._server = template, ledger_url, server

    def make(self, folder):
        """Return (folder, ledger URL) of a fresh copy."""
        folder.mkdir(parents=True)
        shutil.copy(self._template / "mlflow.db", folder)
        if self._server is None:
            shutil.copy(self._template / "ledger.db", folder)
            return str(folder), f"sqlite:///{folder}/ledger.db"
        return str(folder), create_database(self._server, template=make_url(self._ledger_url).database)

    def drop(self, folder, ledger_url):
        shutil.rmtree(folder)
        if self._server is not None:
            execute(self._server, f"DROP DATABASE {make_url(ledger_url).database} WITH (FORCE)")


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def copies(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    server, ledger_url = None, f"sqlite:///{folder}/ledger.db"
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_server")
        ledger_url = create_database(server)
    CONTEXT.set_forkserver_preload(IMPORTS)
    assert finish(start(build, str(folder), ledger_url)) == 0
    return Copies(folder, ledger_url, server)


def assert_mended(found, *, before, after, where):
    """Check the three looks: at the crash, after reconcile, after a second reconcile."""
    crashed, mended, again = found
    assert crashed["served"] == crashed["aliases"]["champion"], where
    assert crashed["served"] in {before["champion"], after["champion"]}, where
    assert crashed["aliases"].get("fallback") != crashed["aliases"]["champion"], where
    assert set(crashed["pending"]) <= {"crashed"}, where
    moved = crashed["aliases"]["champion"] == after["champion"]
    assert mended["aliases"] == (after if moved else before), where
    assert mended["served"] == mended["aliases"]["champion"], where
    assert mended["aliases"]["fallback"] != mended["aliases"]["champion"], where
    assert (mended["pending"], mended["inconsistencies"]) == ([], []), where
    assert again == mended, where


@pytest.mark.parametrize("job", sorted(JOBS))
def test_a_crash_at_every_point_leaves_a_champion_that_loads_and_is_mended(copies, tmp_path, job):
    expected = JOBS[job]
    found = ask(tmp_path, enumerate_crashes, *copies.make(tmp_path / "stores"), job)
    print(f"\n{job}: {len(found) - 1} crash points")
    for where, looks in found:
        assert_mended(looks, **expected, where=where)
    met = " ".join(where for where, _ in found)
    for kind in (
        "commit",
        "INSERT INTO evergreen_ledger",
        "set_alias",
        "delete_alias",
        "UPDATE registered_model",
    ):
        assert kind in met
    outcomes = {(looks[0]["served"], bool(looks[0]["pending"])) for _, looks in found}
    old, new = expected["before"]["champion"], expected["after"]["champion"]
    assert outcomes == {(old, False), (old, True), (new, True), (new, False)}
    whole, tags = found[0][1][1], [looks[1]["tags"] for _, looks in found if looks[1]["served"] == new]
    assert [sorted(each) for each in tags] == [sorted(whole["tags"])] * len(tags)
    for each in tags:
        assert archived(each) == archived(whole["tags"])


def archived(tags):
    """Return who is tagged archived and who rolled back from."""
    keys = ("evergreen.archived", "evergreen.rolled_back")
    return {key: {version for version, held in tags.items() if held.get(key) == "true"} for key in keys}


@pytest.mark.parametrize(
    ("job", "label"),
    [
        ("promotion", "after set_alias"),
        ("promotion of the fallback", "after delete_alias"),
        ("rollback", "before set_tags"),
    ],
)
def test_a_crash_at_every_point_of_the_reconciling_itself_is_mended_by_the_next(copies, tmp_path, job, label):
    folder, url = copies.make(tmp_path / "labels")
    labels = ask(tmp_path, labels_of, folder, url, job)
    copies.drop(folder, url)
    prelude = (job, labels.index(label) + 1)
    found = ask(tmp_path, enumerate_crashes, *copies.make(tmp_path / "stores"), "reconcile", prelude)
    print(f"\nreconcile after a {job} crashed at {label}: {len(found) - 1} crash points")
    end = found[0][1][1]["aliases"]
    assert end == JOBS[job]["before" if label == "after delete_alias" else "after"]
    for where, looks in found:
        assert_mended(looks, before=JOBS[job]["before"], after=JOBS[job]["after"], where=where)
        assert looks[1]["aliases"] == end, where


@pytest.mark.parametrize("job", ["promotion", "rollback"])
def test_a_kill_at_random_moments_is_mended(copies, tmp_path, job):
    rng = random.Random(SEED)
    duration = measure(copies, tmp_path / "whole", job)
    served = set()
    for number in range(RANDOM_KILLS // 2):
        folder, url = copies.make(tmp_path / str(number))
        started = CONTEXT.Event()
        process = start(work, folder, url, job, started)
        assert started.wait(120)
        time.sleep(rng.uniform(0, 1.1 * duration))
        process.kill()
        assert finish(process) in {0, -signal.SIGKILL}
        looks = ask(folder, examine, folder, url)
        assert_mended(looks, **JOBS[job], where=f"{job}, random kill {number}")
        served.add(looks[0]["served"])
        copies.drop(folder, url)
    assert served == {JOBS[job]["before"]["champion"], JOBS[job]["after"]["champion"]}


def measure(copies, folder, job):
    """Return how long a job takes from its start to its end, in seconds."""
    folder, url = copies.make(folder)
    started = CONTEXT.Event()
    process = start(work, folder, url, job, started)
    assert started.wait(120)
    begun = time.monotonic()
    assert finish(process) == 0
    copies.drop(folder, url)
    return time.monotonic() - begun


@pytest.mark.parametrize("attempt", range(5))
def test_of_two_simultaneous_promotions_exactly_one_wins(copies, tmp_path, attempt):
    folder, url = copies.make(tmp_path / "stores")
    barrier, paths = CONTEXT.Barrier(2), [tmp_path / "one.json", tmp_path / "two.json"]
    versions = (4, 2)
    runners = [
        start(contend, folder, url, version, barrier, answer=path)
        for version, path in zip(versions, paths, strict=True)
    ]
    assert [finish(runner) for runner in runners] == [0, 0]
    answers = [tuple(json.loads(path.read_text())) for path in paths]
    assert sorted(state for state, _ in answers) == ["Blocked", "Promoted"]
    refused = next(code for state, code in answers if state == "Blocked")
    assert refused in {"lock_held", "champion_moved"}
    winner = versions[[state for state, _ in answers].index("Promoted")]
    looks = ask(tmp_path, examine, folder, url)
    assert looks[0]["aliases"]["champion"] == winner
    assert looks[0] == looks[1]
    assert looks[0]["inconsistencies"] == []
