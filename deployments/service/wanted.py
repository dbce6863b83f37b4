"""The traffic plan that is wanted of a model, as the ledger has it."""

from __future__ import annotations

from collections.abc import Callable

from tasks.core.traffic.plan import TrafficPlan, plain_plan
from tasks.io.setup import Setup


def wanted_plan(setup: Setup) -> Callable[[int], TrafficPlan]:
    """Return what reads the plan that is in force, for a champion."""

    def read(champion: int) -> TrafficPlan:
        return plain_plan(salt=f"{setup.model}/traffic/0")

    return read
