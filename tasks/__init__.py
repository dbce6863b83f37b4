"""Stages: thin Prefect tasks over a pure core and an io layer that touches the world."""
