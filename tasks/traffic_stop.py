"""Write a stop by guardrails, however late the ledger takes it."""

from __future__ import annotations

from datetime import datetime

from tasks.core.reign.ledger import Entry
from tasks.core.traffic.decide import TrafficDecision, renew_stop
from tasks.io.ledger import Ledger
from tasks.traffic import read_traffic, write_decision


def write_stop(ledger: Ledger, model: str, stop: TrafficDecision, *, at: datetime) -> Entry | None:
    """Write a stop, on top of what services wrote since it was decided.

    Parameters
    ----------
    ledger : Ledger
        Where the traffic stands.
    model : str
        The model.
    stop : TrafficDecision
        May have been decided long ago, while the ledger was away.
    at : datetime
        Aware.

    Returns
    -------
    Entry or None
        None where a person has set the traffic since, or the arm is gone.
    """
    while True:
        renewed = renew_stop(stop, read_traffic(ledger, model))
        if renewed is None:
            return None
        entry = write_decision(ledger, model, renewed, at=at)
        if entry is not None:
            return entry
