"""Promote a version, roll back to a former champion, or settle what a crash left: the aliases move here."""

from __future__ import annotations

from prefect import flow

from tasks.ab_test import settle_tests
from tasks.core.reign.realm import check_present
from tasks.core.verdict import StageResult
from tasks.io.setup import open_setup
from tasks.outcomes import concluded
from tasks.parameters import DryRun, Evidence, Expected, ModelName, Version, Why
from tasks.promote import promote_task, reconcile_task, rollback_task
from tasks.prove import serving_smoke


@flow(name="promote", flow_run_name="promote-{model}")
@concluded("promote")
def promote(
    model: ModelName,
    version: Version = None,
    expected_champion: Expected = "any",
    evidence: Evidence = None,
    reason: Why = "Promoted by hand.",
    dry_run: DryRun = False,
) -> StageResult:
    """Put an approved version (default: @challenger) on the throne; the champion of now becomes @fallback."""
    setup = open_setup(model)
    stores, name = setup.stores, setup.model
    chosen = version or check_present("challenger", stores.registry.aliases(name), model=name)
    return promote_task(
        stores.registry, stores.ledger, model=name, version=chosen, expected_champion=expected_champion,
        evidence=evidence, reason=reason, dry_run=dry_run, smoke=serving_smoke(stores),
        max_rollback_attempts=setup.config.evaluation.max_rollback_attempts,
    )  # fmt: skip


@flow(name="rollback", flow_run_name="rollback-{model}")
@concluded("rollback")
def rollback(
    model: ModelName, to: Version = None, reason: Why = "Rolled back by hand.", dry_run: DryRun = False
) -> StageResult:
    """Return to @fallback, or to the former champion `to`; the version left is never @fallback again."""
    setup = open_setup(model)
    stores, attempts = setup.stores, setup.config.evaluation.max_rollback_attempts
    return rollback_task(
        stores.registry, stores.ledger, model=setup.model, to=to, reason=reason, dry_run=dry_run,
        smoke=serving_smoke(stores), max_rollback_attempts=attempts,
    )  # fmt: skip


@flow(name="reconcile", flow_run_name="reconcile-{model}")
@concluded("reconcile")
def reconcile(model: ModelName) -> StageResult:
    """Settle what a crashed run left, note aliases moved outside, prove an unproved champion, end arms left over."""
    setup = open_setup(model)
    stores, attempts = setup.stores, setup.config.evaluation.max_rollback_attempts
    options = {"smoke": serving_smoke(stores), "max_rollback_attempts": attempts}
    return settle_tests(setup, reconcile_task(stores.registry, stores.ledger, model=setup.model, **options))
