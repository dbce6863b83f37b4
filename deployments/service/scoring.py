"""Score the rows of requests that wait together: the champion's in one call, and each other arm's in one."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deployments.service.live import Arm, Live
from deployments.service.trouble import place_of
from tasks.core.serving.answers import Answers
from tasks.core.serving.batch import Batch
from tasks.core.serving.recut import recut
from tasks.core.traffic.assign import entity_key
from tasks.core.traffic.ensemble import blend_decisions, blend_scores

logger = logging.getLogger(__name__)

Row = tuple[Any, Any, int | None, str]
"""Score, decision, version and variant of one row."""
CHAMPION = "champion"


@dataclass(frozen=True, slots=True)
class Routed:
    """What became of one row, for the guardrails.

    Attributes
    ----------
    index : int
        Place in the plan of the variant it was meant for.
    hashed : int
        Hash of what it was assigned by.
    seconds : float
        How long that variant took for its rows.
    failed, answered : bool
        Whether the variant failed; whether it answered.
    """

    index: int
    hashed: int
    seconds: float = 0.0
    failed: bool = False
    answered: bool = True


def score_rows(
    live: Live, batches: Sequence[Batch], whole: Batch, ids: Sequence[str]
) -> tuple[list[Row], list[Routed]]:
    """Answer the rows of several requests, one after the other.

    A challenger that fails is answered for by the champion: its failure is its own, and counted.

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

    Returns
    -------
    list of Row, list of Routed
        One answer a row; and who was meant to give it, nothing where the champion answers everything.
    """
    if live.plan.is_plain:
        return _rows(live.champion.model.score(whole), live.champion.number, CHAMPION), []
    assigner = live.assigner
    hashes = [assigner.hash(key) for key in row_keys(batches, ids)]
    by_variant: dict[int, list[int]] = {}
    for place, hashed in enumerate(hashes):
        by_variant.setdefault(assigner.route_of(hashed).index, []).append(place)
    rows: list[Any] = [None] * whole.n
    routed: list[Any] = [None] * whole.n
    for index, places in by_variant.items():
        found, outcome = _answer_variant(live, index, _take(whole, places))
        for place, row in zip(places, found, strict=True):
            rows[place] = row
            routed[place] = Routed(index, hashes[place], **outcome)
    return rows, routed


def _answer_variant(live: Live, index: int, batch: Batch) -> tuple[list[Row], dict[str, Any]]:
    """Return a variant's answers, or the champion's in its place, and which of the two it was."""
    name, champion = live.plan.variants[index].name, live.arms[CHAMPION]
    arm, failed = live.arms.get(name), False
    if arm is not None and arm is not champion:
        started = time.perf_counter()
        try:
            return answer_arm(arm, batch), {"seconds": time.perf_counter() - started}
        except (
            Exception
        ) as error:  # whatever a challenger raises is its own; who asked gets the champion's answer
            logger.warning("variant '%s' fails: %s at %s", name, type(error).__name__, place_of(error))
            failed = True
    started = time.perf_counter()
    rows = answer_arm(champion, batch)
    return rows, {"seconds": time.perf_counter() - started, "failed": failed, "answered": arm is champion}


def answer_arm(arm: Arm, batch: Batch) -> list[Row]:
    """Return an arm's answers: its version's own, or the weighted mean of its members, decided as the champion does."""
    answers = [version.model.score(recut(batch, version.model.signature)) for version, _ in arm.members]
    if len(answers) == 1:
        return _rows(answers[0], arm.version, arm.variant.name)
    scores = blend_scores([one.scores for one in answers], [weight for _, weight in arm.members])
    classes = answers[0].classes
    decisions: list[Any] = [None] * batch.n
    if classes:
        decisions = blend_decisions(scores, classes=classes, threshold=arm.threshold)
    return _rows(Answers(scores, decisions, classes), None, arm.variant.name)


def _rows(answers: Answers, version: int | None, variant: str) -> list[Row]:
    scores = answers.plain_scores()
    return [(s, d, version, variant) for s, d in zip(scores, answers.decisions, strict=True)]


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
