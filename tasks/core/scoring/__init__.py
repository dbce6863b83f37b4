"""Batch prediction: a table in, predictions out, each with an id that comes from its row."""
