"""Benchmarks against peers: both sides in one run, CPU seconds, one table (`make bench`)."""
