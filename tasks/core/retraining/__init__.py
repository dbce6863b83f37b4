"""Retraining: what asks for it, what holds it, and what became of it."""
