"""Create the append-only ledger: one table, and triggers that refuse change, deletion and forks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

SQLITE = (
    """
    CREATE TRIGGER evergreen_ledger_no_update BEFORE UPDATE ON evergreen_ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: UPDATE refused'); END
    """,
    """
    CREATE TRIGGER evergreen_ledger_no_delete BEFORE DELETE ON evergreen_ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: DELETE refused'); END
    """,
    # INSERT OR REPLACE deletes without firing the trigger above; this one fires before it can.
    """
    CREATE TRIGGER evergreen_ledger_no_replace BEFORE INSERT ON evergreen_ledger
    WHEN EXISTS (SELECT 1 FROM evergreen_ledger
                 WHERE model = NEW.model AND stream = NEW.stream AND seq = NEW.seq)
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: this number is taken'); END
    """,
    """
    CREATE TRIGGER evergreen_ledger_chain BEFORE INSERT ON evergreen_ledger
    WHEN NEW.prev_hash <> COALESCE(
        (SELECT hash FROM evergreen_ledger
         WHERE model = NEW.model AND stream = NEW.stream AND seq = NEW.seq - 1),
        CASE NEW.seq WHEN 1 THEN '0000000000000000000000000000000000000000000000000000000000000000'
                     ELSE 'missing' END)
    BEGIN SELECT RAISE(ABORT, 'the ledger is hash-chained: prev_hash does not continue its stream'); END
    """,
)

POSTGRES = (
    """
    CREATE FUNCTION evergreen_ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'the ledger is append-only: % refused', TG_OP; END $$
    """,
    """
    CREATE TRIGGER evergreen_ledger_no_change BEFORE UPDATE OR DELETE ON evergreen_ledger
    FOR EACH ROW EXECUTE FUNCTION evergreen_ledger_refuse()
    """,
    """
    CREATE TRIGGER evergreen_ledger_no_truncate BEFORE TRUNCATE ON evergreen_ledger
    FOR EACH STATEMENT EXECUTE FUNCTION evergreen_ledger_refuse()
    """,
    """
    CREATE FUNCTION evergreen_ledger_check_chain() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE expected text := repeat('0', 64);
    BEGIN
        IF NEW.seq <> 1 THEN
            EXECUTE format('SELECT hash FROM %I.%I WHERE model = $1 AND stream = $2 AND seq = $3',
                           TG_TABLE_SCHEMA, TG_TABLE_NAME)
            INTO expected USING NEW.model, NEW.stream, NEW.seq - 1;
        END IF;
        IF NEW.prev_hash IS DISTINCT FROM expected THEN
            RAISE EXCEPTION 'the ledger is hash-chained: prev_hash does not continue its stream'
            USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER evergreen_ledger_chain BEFORE INSERT ON evergreen_ledger
    FOR EACH ROW EXECUTE FUNCTION evergreen_ledger_check_chain()
    """,
)


def upgrade() -> None:
    """Create the table and its triggers."""
    op.create_table(
        "evergreen_ledger",
        sa.Column("model", sa.String(255), primary_key=True),
        sa.Column("stream", sa.String(64), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("prev_hash", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    dialect = op.get_bind().dialect.name
    for statement in SQLITE if dialect == "sqlite" else POSTGRES:
        op.execute(statement)


def downgrade() -> None:
    """Refuse: the ledger is kept for ever."""
    raise NotImplementedError("The ledger is append-only; restore a backup instead.")
