"""Who takes the throne after a won challenge: the refitted recipe where it agrees, else the judged version."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.core.challenge.agreement import judge_agreement, measure_agreement
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

_MOST_COMPARED = 10_000
"""Rows on which a refit must agree with the judged version."""


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
        schema, _ = read_split(setup, judged)
        everything = load_parts(setup, until=until, refit=True, also=schema.features)
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
    """Pass the operational checks, and the agreement of scores with the judged version.

    They are compared on the newest training rows, which both have learned from: where the refit alone has, a model
    that remembers its rows answers differently by nature.
    """
    smoke = serving_smoke(setup.stores)(setup.model, refit)
    if not smoke.passed:
        return smoke
    newest = np.arange(max(len(parts.training) - _MOST_COMPARED, 0), len(parts.training))
    rows = parts.training.take(newest)
    before, after = (
        load_model(setup, version).score(rows, config=setup.config) for version in (judged, refit)
    )
    return judge_agreement(
        measure_agreement(before, after), bound=setup.config.promotion.refit_agreement, n=len(rows)
    )
