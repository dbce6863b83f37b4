"""Alembic's entry: migrate the ledger on the connection that was handed over, or on a URL by hand.

By hand, from the project's root, for those who let only administrators change schemas::

    alembic -c tasks/io/migrations/alembic.ini -x url=postgresql+psycopg://… upgrade head
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from tasks.io.ledger_database import VERSION_TABLE, make_engine, metadata, parse_url


def run(connection: Connection) -> None:
    """Run the migrations in one transaction."""
    context.configure(connection=connection, target_metadata=metadata, version_table=VERSION_TABLE)
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with make_engine(parse_url(context.get_x_argument(as_dictionary=True)["url"])).begin() as opened:
        run(opened)
