"""The traffic plan that is wanted of a model, as the ledger has it."""

from __future__ import annotations

from tasks.core.reign.history import PLANS, reigns
from tasks.core.traffic.state import TRAFFIC, TrafficState, fold_traffic, in_force, reigned_since
from tasks.io.setup import Setup


def wanted_traffic(setup: Setup, champion: int) -> TrafficState:
    """Return what is in force of the traffic that was set: variants that came to the throne have nothing to show."""
    ledger, model = setup.stores.ledger, setup.model
    state = fold_traffic(ledger.read_tail(model, TRAFFIC, 1), model=model)
    if state.plan.is_plain:
        return state
    reigned = reigned_since(reigns(ledger.read(model=model, stream=PLANS)), state)
    return in_force(state, champion=champion, reigned=reigned)
