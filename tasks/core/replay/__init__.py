"""Replay: what policies of retraining would have done on a model's own history, decided by the live functions."""
