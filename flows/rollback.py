"""Return to a former champion."""

from __future__ import annotations

from prefect import flow

from evergreen.tasks.core.verdict import StageResult
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.promotion import rollback_task
from evergreen.tasks.runtime.parameters import DryRun, ModelName, ReasonText, Version
from evergreen.tasks.runtime.result import concluded


@flow(name="rollback", flow_run_name="rollback-{model}")
@concluded("rollback")
def rollback(
    model: ModelName, to: Version = None, reason: ReasonText = "Rolled back by hand.", dry_run: DryRun = False
) -> StageResult:
    """Return to @fallback, or to the former champion `to`; the version left is never @fallback again."""
    return rollback_task(open_setup(model), to=to, reason=reason, dry_run=dry_run)
