"""Tell the world that the throne was moved: a Prefect event for automations, a page for people."""

from __future__ import annotations

from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event

from tasks.core.reign.history import reigns
from tasks.core.reign.promote_report import promotion_markdown
from tasks.core.verdict import StageResult, State
from tasks.io.ledger import Ledger
from tasks.links import artifact_key

EVENTS = {State.PROMOTED: "evergreen.model.promoted", State.ROLLED_BACK: "evergreen.model.rolled_back"}


def announce(result: StageResult, ledger: Ledger) -> StageResult:
    """Emit the event of a promotion or rollback, show the page, and hand the result on."""
    if result.details.get("dry_run"):
        return result
    if result.state in EVENTS:
        resource = {
            "prefect.resource.id": f"evergreen.model.{result.model}",
            "prefect.resource.name": result.model,
        }
        emit_event(event=EVENTS[result.state], resource=resource, payload=result.to_dict())
    page = promotion_markdown(result, reigns(ledger.read(model=result.model)))
    create_markdown_artifact(
        page, key=artifact_key("reigns", result.model), description="Who reigns, and why"
    )
    return result
