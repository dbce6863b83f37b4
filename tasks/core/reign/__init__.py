"""Governance: the ledger, plans of promotion and rollback, who reigned and why."""
