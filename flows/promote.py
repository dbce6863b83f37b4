"""Promote a version: the aliases move to it under one plan."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from prefect import flow

from evergreen.tasks.core.promotion.registry_state import check_present
from evergreen.tasks.core.verdict import StageResult
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.promotion import promote_task
from evergreen.tasks.runtime.parameters import DryRun, Evidence, Expected, ModelName, ReasonText, Version
from evergreen.tasks.runtime.result import concluded


@flow(name="promote", flow_run_name="promote-{model}")
@concluded("promote")
def promote(
    model: ModelName,
    version: Version = None,
    expected_champion: Expected = "any",
    evidence: Evidence = None,
    reason: ReasonText = "Promoted by hand.",
    dry_run: DryRun = False,
) -> StageResult:
    """Make an approved version (default: @challenger) the champion; the champion of now becomes @fallback."""
    setup = open_setup(model)
    aliases = setup.stores.registry.aliases(setup.model)
    return promote_task(
        setup,
        version or check_present("challenger", aliases, model=setup.model),
        expected_champion=expected_champion,
        evidence=evidence,
        reason=reason,
        dry_run=dry_run,
    )


def __getattr__(name: str) -> Any:
    """Find the flows that stood here in version 0.1: its deployments name them by this file."""
    if name not in ("rollback", "reconcile"):
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"evergreen.flows.{name}"), name)
