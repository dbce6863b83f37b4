"""Statistics: each function names its null, its assumptions and its source."""
