"""Look into a database before anybody named a table."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from tasks.core.errors import ConfigError, DataError, Unreachable
from tasks.io.sources_files import detect_format


def only_table(address: str, *, base: Path) -> str | None:
    """Return the one table of a database; None where the address is no database.

    Raises
    ------
    DataError
        When there is no table, several, or a SQLite file is missing.
    ConfigError
        When the address is malformed or its driver is missing.
    Unreachable
        When a server does not answer.
    """
    if detect_format(address) != "sql":
        return None
    names = _tables(_url(address, base))
    if len(names) == 1:
        return names[0]
    listed = ", ".join(sorted(names)[:20]) or "none"
    raise DataError(f"The database holds {len(names)} tables ({listed}). Name one with --table.")


def _url(address: str, base: Path) -> sa.URL:
    try:
        url = sa.make_url(address)
    except sa.exc.ArgumentError:
        raise ConfigError(
            "DATA is no SQLAlchemy URL such as postgresql+psycopg://USER@HOST/DATABASE."
        ) from None
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return url
    path = base / str(url.database)
    if not path.exists():
        raise DataError(f"There is no database file '{url.database}'. Correct DATA.")
    return url.set(database=str(path))


def _tables(url: sa.URL) -> list[str]:
    try:
        found = sa.inspect(sa.create_engine(url, poolclass=sa.NullPool))
        return [*found.get_table_names(), *found.get_view_names()]
    except (ImportError, sa.exc.NoSuchModuleError) as error:
        raise ConfigError(f"DATA needs a driver: {error}. Install it.") from None
    except sa.exc.OperationalError:
        shown = url.render_as_string(hide_password=True)
        raise Unreachable(f"Database '{shown}' does not answer. Start it or correct DATA.") from None
    except sa.exc.DatabaseError as error:
        raise DataError(
            f"DATA is no readable database: {str(error).splitlines()[0]}. Bring another."
        ) from None
