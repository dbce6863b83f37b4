"""Which windows are due, the check of each, and how a monitoring run ends."""
