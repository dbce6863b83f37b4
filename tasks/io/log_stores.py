"""Which store a log has: one for each kind of database."""

from __future__ import annotations

from tasks.io.log_database import LOG
from tasks.io.log_store import LogStore


def open_store(url: str, *, timeout: float) -> LogStore:
    """Return the store of a log, which is migrated when needed; it waits at most ``timeout`` seconds for others' locks.

    Raises
    ------
    ConfigError
        For a URL of another kind. ``Unreachable`` when the database does not answer.
    """
    parsed = LOG.parse_url(url)
    LOG.migrate(LOG.make_engine(parsed))
    if parsed.drivername.startswith("sqlite"):
        from tasks.io.log_store_sqlite import SqliteStore

        return SqliteStore(str(parsed.database), timeout=timeout)
    from tasks.io.log_store_postgres import PostgresStore

    return PostgresStore(parsed, schema=str(LOG.schema), timeout=timeout)
