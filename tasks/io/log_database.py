"""The log's database: grids and windows of the monitor, served predictions, what shadows said of them, outcomes.

Beside the ledger, not in it: much is written and deleted here, and must never hold up a claim there.
"""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, LargeBinary, MetaData, String, Table, Text

from tasks.io.databases import Database

metadata = MetaData()

grids = Table(
    "grids",
    metadata,
    Column("grid_id", String(64), primary_key=True),
    Column("grid", LargeBinary, nullable=False),
)

windows = Table(
    "windows",
    metadata,
    Column("model", String(255), primary_key=True),
    Column("phase", String(16), primary_key=True),
    Column("start", Float(53), primary_key=True),
    Column("end", Float(53), primary_key=True),
    Column("version", Integer),
    Column("at", String(32), nullable=False),
    Column("payload", LargeBinary, nullable=False),
)

predictions = Table(
    "predictions",
    metadata,
    Column("model", String(255), primary_key=True),
    Column("prediction_id", String(255), primary_key=True),
    Column("position", Float(53), nullable=False),
    Column("at", String(32), nullable=False),
    Column("version", Integer),
    Column("variant", String(64)),
    Column("entity", String(255)),
    Column("score", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("features", Text, nullable=False),
    Column("request", String(64)),
    Index("predictions_by_position", "model", "position"),
    Index("predictions_by_variant", "model", "variant", "position"),
)

shadows = Table(
    "shadows",
    metadata,
    Column("model", String(255), primary_key=True),
    Column("prediction_id", String(255), primary_key=True),
    Column("variant", String(64), primary_key=True),
    Column("version", Integer),
    Column("score", Text, nullable=False),
    Column("decision", Text, nullable=False),
)

outcomes = Table(
    "outcomes",
    metadata,
    Column("model", String(255), primary_key=True),
    Column("prediction_id", String(255), primary_key=True),
    Column("outcome", Text, nullable=False),
    Column("known_at", Float(53), nullable=False),
    Column("at", String(32), nullable=False),
    Index("outcomes_by_known_at", "model", "known_at"),
)

LOG = Database(
    name="log",
    variable="EVERGREEN_LOG_URL",
    metadata=metadata,
    head="0003",
    migrations="log_migrations",
    schema="evergreen_log",
)
