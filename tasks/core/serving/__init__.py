"""Serving, decided purely: what a request means, and whether it was seen before."""
