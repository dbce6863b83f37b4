"""A canary that fails, judged by services in processes of their own; imports little, for each of them does."""

from evergreen.tasks.core.config.serving import GuardrailLimits
from evergreen.tasks.core.traffic.counts import ArmFigures
from evergreen.tasks.core.traffic.decide import Round, decide_traffic
from evergreen.tasks.io.ledger import Ledger
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.traffic import traffic_in_force, write_decision


def bad_round(rows=400):
    """Return a round in which every other row of ``v8`` failed, and none of the champion's."""
    arm = ArmFigures(name="v8", rows=rows, errors=rows // 2, erred=rows // 2)
    return Round(number=1, since=utc_now(), figures=(ArmFigures(name="champion", rows=rows), arm))


def stop_once(url):
    """Judge, write, and follow what is there; return whether the entry is mine, and who answers now."""
    ledger, now = Ledger(url), utc_now()
    state = traffic_in_force(ledger, "fraud", champion=7)
    entry = None
    if state.plan.challengers:
        decision = decide_traffic(state, bad_round(), now=now, limits=GuardrailLimits(processes=12))
        entry = write_decision(ledger, "fraud", decision, at=now)
    after = traffic_in_force(ledger, "fraud", champion=7)
    return entry is not None, [one.name for one in after.plan.variants]
