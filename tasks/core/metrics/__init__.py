"""Metrics: what they are, and measuring them."""
