"""The validation gate: each file one family of checks; each check a pure function of measured numbers."""
