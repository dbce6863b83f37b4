"""Score the rows of requests that wait together: the champion's in one call, and each other arm's in one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deployments.service.live import Arm, Live
from tasks.core.serving.answers import Answers
from tasks.core.serving.batch import Batch
from tasks.core.serving.recut import recut
from tasks.core.traffic.ensemble import blend_decisions, blend_scores

Row = tuple[Any, Any, int | None, str]
"""Score, decision, version and variant of one row."""
CHAMPION = "champion"


def score_rows(live: Live, batches: Sequence[Batch], whole: Batch, ids: Sequence[str]) -> list[Row]:
    """Answer the rows of several requests, one after the other.

    Parameters
    ----------
    live : Live
        What is served.
    batches : sequence of Batch
        Of one signature, the champion's.
    whole : Batch
        All of them as one.
    ids : sequence of str
        Prediction id of each row of all batches: whoever has no entity is assigned by it.

    Returns
    -------
    list of Row
        One answer a row.
    """
    if live.plan.is_plain:
        answers = live.champion.model.score(whole)
        return _rows(answers, live.champion.number, CHAMPION)
    by_arm: dict[str, list[int]] = {}
    for place, key in enumerate(row_keys(batches, ids)):
        name = live.assigner.route(key).variant.name
        by_arm.setdefault(name if name in live.arms else CHAMPION, []).append(place)
    rows: list[Any] = [None] * whole.n
    for name, places in by_arm.items():
        for place, row in zip(places, answer_arm(live.arms[name], _take(whole, places)), strict=True):
            rows[place] = row
    return rows


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
    """Return what each row is assigned by: its entity, else its own id."""
    entities: list[str | None] = []
    for batch in batches:
        entities += batch.entities if batch.entities is not None else [None] * batch.n
    return [entity or name for entity, name in zip(entities, ids, strict=True)]


def _take(batch: Batch, places: Sequence[int]) -> Batch:
    return batch if len(places) == batch.n else batch.take(places)
