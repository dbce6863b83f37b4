"""The gates: each file one family; each check a pure function of measured numbers."""
