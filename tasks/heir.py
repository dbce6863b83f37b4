"""Who takes the throne after a won challenge: the refitted recipe where it agrees, else the judged version."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.core.challenge.agreement import check_refit
from tasks.core.data.rows import Parts
from tasks.core.errors import NotLearnable
from tasks.core.reign.realm import APPROVED, VALIDATION_STATUS
from tasks.core.verdict import Reason, Verdict
from tasks.data import load_parts
from tasks.io.models import load_model, read_split
from tasks.io.setup import Setup
from tasks.prove import serving_smoke
from tasks.refit import can_refit, refit_version
from tasks.retries import SIDE_EFFECT
from tasks.stage_task import stage_task


@dataclass(frozen=True, kw_only=True)
class Heir:
    """The version to be promoted, what stood for or against a refit, and the story for the ledger."""

    version: int
    reasons: tuple[Reason, ...]
    story: str


@stage_task(**SIDE_EFFECT)
def prepare_heir(setup: Setup, parts: Parts, judged: int, *, until: str | None = None) -> Heir:
    """Refit the winning recipe on all labelled rows and gate it again; fall back to the judged version.

    Withholding the newest window costs accuracy, so that a refit is the rule. The evidence is about the judged
    version, though: a refit that fails its smoke test or answers differently is left unpromoted.
    """
    story = f"Version {judged} was superior"
    if not setup.config.promotion.refit or not can_refit(setup, judged):
        return Heir(version=judged, reasons=(), story=f"{story}.")
    try:
        schema, plan = read_split(setup, judged)
        # begins at the change that the judged version knew of: a later one was not part of what was judged
        everything = load_parts(
            setup, until=until, refit=True, also=schema.features, change_at=plan.change_at
        )
        refit = refit_version(setup, judged, everything.training, plan=everything.plan)
    except NotLearnable as error:
        return Heir(
            version=judged, reasons=(Reason.from_error(error),), story=f"{story}; no refit was possible."
        )
    verdict = _gate_refit(setup, parts, judged, refit.version)
    status = APPROVED if verdict.passed else "rejected"
    setup.stores.registry.set_tags(setup.model, refit.version, {VALIDATION_STATUS: status})
    if not verdict.passed:
        return Heir(version=judged, reasons=verdict.reasons, story=f"{story}; its refit was not used.")
    story = f"{story}; version {refit.version} is its recipe refitted on all labelled rows."
    return Heir(version=refit.version, reasons=verdict.reasons, story=story)


def _gate_refit(setup: Setup, parts: Parts, judged: int, refit: int) -> Verdict:
    """Pass the operational checks, and the agreement of scores with the judged version."""
    smoke = serving_smoke(setup.stores)(setup.model, refit)
    if not smoke.passed:
        return smoke
    before, after = load_model(setup, judged), load_model(setup, refit)
    return check_refit(before, after, parts.training, config=setup.config)
