"""Alembic's entry: migrate the ledger on the connection that was handed over, or on a URL by hand.

By hand, from the project's root, for those who let only administrators change schemas::

    alembic -c tasks/io/migrations/alembic.ini -x url=postgresql+psycopg://… upgrade head
"""

from __future__ import annotations

import evergreen.tasks.io.ledger  # noqa: F401  (its table)
from evergreen.tasks.io.databases import LEDGER

LEDGER.run_migrations()
