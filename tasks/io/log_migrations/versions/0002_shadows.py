"""Let the log hold what shadows said, and find the rows of one arm of a live test."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table of shadow scores, and the index of predictions by variant."""
    op.create_table(
        "shadows",
        sa.Column("model", sa.String(255), primary_key=True),
        sa.Column("prediction_id", sa.String(255), primary_key=True),
        sa.Column("variant", sa.String(64), primary_key=True),
        sa.Column("version", sa.Integer),
        sa.Column("score", sa.Text, nullable=False),
        sa.Column("decision", sa.Text, nullable=False),
    )
    op.create_index("predictions_by_variant", "predictions", ["model", "variant", "position"])


def downgrade() -> None:
    """Refuse: dropping the log is a decision, not a migration."""
    raise NotImplementedError("The log has no way back; restore a backup instead.")
