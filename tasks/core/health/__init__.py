"""Is the machinery well: checks that judge measured facts, each ok, warning, failed or not applicable."""
