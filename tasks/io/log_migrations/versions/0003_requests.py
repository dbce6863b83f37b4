"""Let the log hold what a client sent under its own key or ids, as a digest."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; no row is rewritten."""
    op.add_column("predictions", sa.Column("request", sa.String(64)))


def downgrade() -> None:
    """Refuse: dropping the log is a decision, not a migration."""
    raise NotImplementedError("The log has no way back; restore a backup instead.")
