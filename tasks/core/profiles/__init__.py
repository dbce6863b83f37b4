"""Profiles: what some rows look like, as counts over a grid: small, mergeable, free of raw rows."""
