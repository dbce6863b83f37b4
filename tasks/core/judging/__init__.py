"""Judging: what the signals of a window say against the model's own past, and which alarms follow."""
