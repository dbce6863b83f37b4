"""Create the log: grids and windows of the monitor, served predictions and their outcomes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the four tables and the indexes they are read by."""
    op.create_table(
        "grids",
        sa.Column("grid_id", sa.String(64), primary_key=True),
        sa.Column("grid", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "windows",
        sa.Column("model", sa.String(255), primary_key=True),
        sa.Column("phase", sa.String(16), primary_key=True),
        sa.Column("start", sa.Float(53), primary_key=True),
        sa.Column("end", sa.Float(53), primary_key=True),
        sa.Column("version", sa.Integer),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "predictions",
        sa.Column("model", sa.String(255), primary_key=True),
        sa.Column("prediction_id", sa.String(255), primary_key=True),
        sa.Column("position", sa.Float(53), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("version", sa.Integer),
        sa.Column("variant", sa.String(64)),
        sa.Column("entity", sa.String(255)),
        sa.Column("score", sa.Text, nullable=False),
        sa.Column("decision", sa.Text, nullable=False),
        sa.Column("features", sa.Text, nullable=False),
    )
    op.create_index("predictions_by_position", "predictions", ["model", "position"])
    op.create_table(
        "outcomes",
        sa.Column("model", sa.String(255), primary_key=True),
        sa.Column("prediction_id", sa.String(255), primary_key=True),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("known_at", sa.Float(53), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
    )
    op.create_index("outcomes_by_known_at", "outcomes", ["model", "known_at"])


def downgrade() -> None:
    """Refuse: dropping the log is a decision, not a migration."""
    raise NotImplementedError("The log has no way back; restore a backup instead.")
