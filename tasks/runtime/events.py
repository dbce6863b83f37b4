"""Announce decisions: Prefect events for automations (promotions, alerts, retrainings), a page for people."""

from __future__ import annotations

from typing import Any

from evergreen.tasks.core.alerts.alert import Alert, alert_events
from evergreen.tasks.core.promotion.history import PLANS, champion_periods
from evergreen.tasks.core.promotion.registry_state import promotion_markdown
from evergreen.tasks.core.retraining.history import Attempt
from evergreen.tasks.core.verdict import StageResult, State
from evergreen.tasks.io.ledger import Ledger
from evergreen.tasks.runtime.publish import Artifact, show

EVENTS = {State.PROMOTED: "evergreen.model.promoted", State.CHAMPION_RESTORED: "evergreen.model.rolled_back"}


def announce(result: StageResult, ledger: Ledger) -> StageResult:
    """Emit the event of a promotion or rollback, show the page, and return the result."""
    if result.details.get("dry_run"):
        return result
    if result.state in EVENTS:
        _emit(event=EVENTS[result.state], resource=resource_of(result.model), payload=result.to_dict())
    page = promotion_markdown(result, champion_periods(ledger.read(model=result.model, stream=PLANS)))
    show(result.model, Artifact("reigns-{model}", "Who is the champion, and why", page))
    return result


def announce_monitoring(alert: Alert) -> list[str]:
    """Emit the events of an alert and return their names; the same alert gives events of the same ids again."""
    events = alert_events(alert)
    for event in events:
        _emit(event=event.name, resource=resource_of(alert.model), payload=event.payload, id=event.id)
    return [event.name for event in events]


def announce_retraining(model: str, attempt: Attempt, result: StageResult | None = None) -> None:
    """Emit the event of a retraining that starts, or of one that ended."""
    payload: dict[str, Any] = {
        "model": model,
        "claim": attempt.claim,
        "causes": [cause.to_dict() for cause in attempt.causes],
    }
    if result is not None:
        payload |= {"state": result.state.value, "version": result.version}
    event = "evergreen.retraining.started" if result is None else "evergreen.retraining.ended"
    _emit(event=event, resource=resource_of(model), payload=payload)


def _emit(**event: Any) -> None:
    """Emit an event of Prefect's, which is imported for it."""
    from prefect.events import emit_event

    emit_event(**event)


def resource_of(model: str) -> dict[str, str]:
    """Return the resource that events of a model are about."""
    return {"prefect.resource.id": f"evergreen.model.{model}", "prefect.resource.name": model}
