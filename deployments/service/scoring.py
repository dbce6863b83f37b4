"""Score the rows of requests that wait together: the champion's in one call, and each other arm's in one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from deployments.service.apart import MOST_APART, Failed, Row, answer_apart, answer_arm, units_of
from deployments.service.live import Arm, Live
from deployments.service.trouble import place_of
from tasks.core.serving.batch import Batch
from tasks.core.traffic.assign import entity_key

logger = logging.getLogger(__name__)

CHAMPION = "champion"
Scored = list[Row | Failed]
"""Answers of rows, and what was raised in the place of those that have none."""


@dataclass(frozen=True, slots=True)
class Routed:
    """What became of one row, for the guardrails.

    Attributes
    ----------
    index : int
        Place in the plan of the variant it was meant for.
    hashed : int
        Hash of what it was assigned by.
    failed, answered : bool
        Whether the variant failed on this very row; whether it answered.
    """

    index: int
    hashed: int
    failed: bool = False
    answered: bool = True


def score_rows(
    live: Live, batches: Sequence[Batch], whole: Batch, ids: Sequence[str], *, apart: bool = True
) -> tuple[Scored, list[Routed]]:
    """Answer the rows of several requests, one after the other.

    A challenger that fails on a row is answered for by the champion: its failure is its own, and counted. So is the
    champion's, for which nobody answers.

    Parameters
    ----------
    live : Live
        What is served.
    batches : sequence of Batch
        Of one signature, the champion's.
    whole : Batch
        All of them as one.
    ids : sequence of str
        Prediction id of each row of all batches: whoever has neither group (of a ranking) nor entity is assigned by it.
    apart : bool
        Whether rows on which an arm fails are told apart from others (`answer_apart`), so that none fails for
        another's sake; else whatever a model raises is raised.

    Returns
    -------
    Scored, list of Routed
        One answer a row; and who was meant to give it, nothing where the champion answers everything.
    """
    plain = live.plan.is_plain
    units = units_of(batches, apart=0 if plain else MOST_APART) if apart else None
    if plain:
        return _ask(live.arms[CHAMPION], whole, units), []
    assigner = live.assigner
    hashes = [assigner.hash(key) for key in row_keys(batches, ids)]
    by_variant: dict[int, list[int]] = {}
    for place, hashed in enumerate(hashes):
        by_variant.setdefault(assigner.route_of(hashed).index, []).append(place)
    rows: Scored = [None] * whole.n  # type: ignore[list-item]
    routed: list[Routed] = [None] * whole.n  # type: ignore[list-item]
    for index, places in by_variant.items():
        own = None if units is None else [units[place] for place in places]
        found, told = _answer_variant(live, index, _take(whole, places), own)
        for place, row, (failed, answered) in zip(places, found, told, strict=True):
            rows[place] = row
            routed[place] = Routed(index, hashes[place], failed, answered)
    return rows, routed


def _answer_variant(
    live: Live, index: int, batch: Batch, units: Sequence[int] | None
) -> tuple[Scored, list[tuple[bool, bool]]]:
    """Return a variant's answers, the champion's where there are none, and of each row if it failed and answered."""
    name, champion = live.plan.variants[index].name, live.arms[CHAMPION]
    arm = live.arms.get(name)
    if arm is None:  # it could not be loaded
        return _ask(champion, batch, units), [(False, False)] * batch.n
    rows = _ask(arm, batch, units)
    failed = [place for place, row in enumerate(rows) if type(row) is Failed]
    if not failed:
        return rows, [(False, True)] * batch.n
    told = [(row.alone, False) if isinstance(row, Failed) else (False, True) for row in rows]
    if arm is not champion and units is not None:
        _say(name, rows[failed[0]])
        instead = _ask(champion, _take(batch, failed), [units[place] for place in failed])
        for place, row in zip(failed, instead, strict=True):
            rows[place] = row
    return rows, told


def _ask(arm: Arm, batch: Batch, units: Sequence[int] | None) -> Scored:
    if units is None:
        return [*answer_arm(arm, batch)]
    return answer_apart(arm, batch, units)


def _say(name: str, first: Row | Failed) -> None:
    if isinstance(first, Failed):
        logger.warning(
            "variant '%s' fails: %s at %s", name, type(first.error).__name__, place_of(first.error)
        )


def row_keys(batches: Sequence[Batch], ids: Sequence[str]) -> list[str]:
    """Return what each row is assigned by: the group of a ranking, else its entity, else its own id."""
    keys: list[str | None] = []
    for batch in batches:
        who = batch.entities if batch.entities is not None else [None] * batch.n
        group = batch.signature.group
        keys += (
            who
            if group is None
            else [entity_key(g) or e for g, e in zip(batch.column(group), who, strict=True)]
        )
    return [key or name for key, name in zip(keys, ids, strict=True)]


def _take(batch: Batch, places: Sequence[int]) -> Batch:
    return batch if len(places) == batch.n else batch.take(places)
