"""Return to a former champion."""

from __future__ import annotations

from prefect import flow

from evergreen.tasks.core.verdict import StageResult
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.promotion import rollback_task, serving_smoke
from evergreen.tasks.runtime.parameters import DryRun, ModelName, ReasonText, Version
from evergreen.tasks.runtime.result import concluded


@flow(name="rollback", flow_run_name="rollback-{model}")
@concluded("rollback")
def rollback(
    model: ModelName, to: Version = None, reason: ReasonText = "Rolled back by hand.", dry_run: DryRun = False
) -> StageResult:
    """Return to @fallback, or to the former champion `to`; the version left is never @fallback again."""
    setup = open_setup(model)
    stores, attempts = setup.stores, setup.config.evaluation.max_rollback_attempts
    return rollback_task(
        stores.registry,
        stores.ledger,
        model=setup.model,
        to=to,
        reason=reason,
        dry_run=dry_run,
        smoke=serving_smoke(stores),
        max_rollback_attempts=attempts,
    )
