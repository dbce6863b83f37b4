"""Watching: which windows are due, one look at each, and how a run ends."""
