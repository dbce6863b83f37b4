"""Drift: what moved between the reference and a window, and whether that is more than chance."""
