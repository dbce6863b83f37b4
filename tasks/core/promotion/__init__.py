"""Promotion and rollback: plans, their ledger entries, and the history of champions."""
