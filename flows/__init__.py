"""Flows: each file reads as one policy; it composes tasks and decides nothing itself."""
