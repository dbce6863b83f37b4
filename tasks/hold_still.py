"""Hold a model still for a moment: under its lock, with nothing left open, so that no promotion goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tasks.act import acting
from tasks.io.clock import utc_now
from tasks.io.setup import Setup
from tasks.promote import PATIENCE_S, move


@contextmanager
def held_still(setup: Setup, *, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold the model's lock after what a dead owner left was settled.

    Raises
    ------
    Held
        ``lock_held`` when another has it for longer than ``patience_s`` seconds.
    """
    stores, model = setup.stores, setup.model
    with acting(stores.registry, stores.ledger, model, move=move, clock=utc_now, patience_s=patience_s):
        yield
