"""Alembic's entry: migrate the log on the connection that was handed over, or on a URL by hand.

By hand, from the project's root, for those who let only administrators change schemas::

    alembic -c tasks/io/log_migrations/alembic.ini -x url=postgresql+psycopg://… upgrade head
"""

from __future__ import annotations

import evergreen.tasks.io.prediction_log.records  # noqa: F401  (its tables)
from evergreen.tasks.io.databases import LOG

LOG.run_migrations()
