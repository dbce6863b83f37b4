"""Gather what ``status`` shows; it only reads."""

from __future__ import annotations

from typing import Any

from evergreen.tasks.core.ab_testing.ledger import describe_running, fold_tests
from evergreen.tasks.core.health.checks import judge_last_run
from evergreen.tasks.core.promotion.registry_state import describe_status
from evergreen.tasks.core.verdict import Reason
from evergreen.tasks.io.alerts import last_run, open_alarms
from evergreen.tasks.io.retraining import retraining_status
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.setup import Setup
from evergreen.tasks.io.traffic import traffic_status

_TAGS = {
    "validation_status": "validation_status",
    "trained_from": "evergreen.trained_from",
    "trained_to": "evergreen.trained_to",
    "trigger": "evergreen.trigger",
    "evaluated_as": "evergreen.evaluated_as",
}


def model_status(setup: Setup) -> dict[str, Any]:
    """Return champion, challenger, what is pending, whether ledger and aliases agree, and which alarms are open."""
    ledger, registry = setup.stores.ledger, setup.stores.registry
    entries = ledger.read(model=setup.model)
    view = describe_status(
        aliases=registry.aliases(setup.model), entries=entries, lock_is_held=ledger.lock_is_held(setup.model)
    )
    tags = {info.version: info.tags for info in registry.versions(setup.model)}
    for role in ("champion", "fallback", "challenger", "candidate"):
        if view[role]:
            own = tags.get(view[role]["version"], {})
            view[role] |= {name: own[tag] for name, tag in _TAGS.items() if tag in own}
    first = f"Model '{setup.model}' has no version yet. Train the first by 'evergreen train {setup.model}'."
    reasons = [] if tags else [Reason(code="no_version", message=first).to_dict()]
    now, interval = utc_now(), setup.config.monitoring.interval.amount
    run = judge_last_run(last_run(ledger, setup.model, before=now), now, interval=interval)
    return {
        "state": "Consistent" if view["consistent"] else "Inconsistent",
        "reasons": reasons,
        "model": setup.model,
        **view,
        "health": {"last_run": run.to_dict(), "open": open_alarms(ledger, setup.model)},
        "retraining": retraining_status(setup),
        "traffic": traffic_status(setup),
        "live_test": describe_running(fold_tests(entries)),
    }
