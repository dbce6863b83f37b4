"""Rows: clocks, schemas, and how they are divided."""
