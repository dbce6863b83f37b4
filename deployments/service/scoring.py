"""Score the rows of requests that wait together: the champion's in one call, and each other arm's in one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from evergreen.deployments.service.errors import place_of
from evergreen.deployments.service.live import Live, ServedArm
from evergreen.tasks.core.serving.answers import Answers
from evergreen.tasks.core.serving.batch import Batch, project_columns
from evergreen.tasks.core.traffic.assign import entity_key
from evergreen.tasks.core.traffic.variant import blend_decisions, blend_scores

logger = logging.getLogger(__name__)

Row = tuple[Any, Any, int | None, str]
"""Score, decision, version and variant of one row."""
MAX_ISOLATED_ROWS = 128
"""Rows of one call whose failures are isolated where a request has several; an arm that fails on all of them is called
about twice as often."""


@dataclass(frozen=True, slots=True)
class FailedRow:
    """What stands in a row's place when the arm failed on it."""

    error: Exception
    """What was raised."""
    alone: bool
    """Whether the row was scored alone; else another row of its unit may be the cause."""


def units_of(batches: Sequence[Batch], *, isolated: int = MAX_ISOLATED_ROWS) -> list[int]:
    """Return for each row of several requests the number of its unit; rows of one unit are always scored together.

    The first rows of the call, and requests of one row, are units of their own (a negative number); the rest of a
    request is one unit. Units depend on the requests alone, so they are the same for every arm and its failures.

    Parameters
    ----------
    batches : sequence of Batch
        The requests.
    isolated : int
        How many of the first rows are units of their own.

    >>> from types import SimpleNamespace
    >>> units_of([SimpleNamespace(n=3), SimpleNamespace(n=1), SimpleNamespace(n=2)], isolated=2)
    [-1, -2, 0, -4, 2, 2]
    """
    units: list[int] = []
    for number, batch in enumerate(batches):
        for _ in range(batch.n):
            place = len(units)
            units.append(-place - 1 if place < isolated or batch.n == 1 else number)
    return units


def isolate_failures(arm: ServedArm, batch: Batch, units: Sequence[int]) -> list[Row | FailedRow]:
    """Return an arm's answers, and in the place of a row it fails on what was raised: halves of what fails are retried.

    Parameters
    ----------
    arm : ServedArm
        Called once where it does not fail, at most twice as often as there are units where it fails on all.
    batch : Batch
        The rows.
    units : sequence of int, shape (n,)
        Of each row (`units_of`); those of one unit are neighbours.
    """
    cuts = [0, *(at for at, (a, b) in enumerate(pairwise(units), 1) if a != b), batch.n]
    answers: list[Row | FailedRow] = []
    parts = [(0, len(cuts) - 1)]
    while parts:
        first, last = parts.pop()
        begin, end = cuts[first], cuts[last]
        try:
            answers += answer_arm(arm, batch if end - begin == batch.n else batch.take(range(begin, end)))
        except Exception as error:  # a model may raise anything; the row's request gets it
            if last - first == 1:
                answers += [FailedRow(error, alone=units[begin] < 0)] * (end - begin)
            else:
                middle = (first + last) // 2
                parts += [(middle, last), (first, middle)]
    return answers


def answer_arm(arm: ServedArm, batch: Batch) -> list[Row]:
    """Return an arm's answers: its version's own, or the weighted mean of its members, decided as the champion does."""
    models = [version.model for version, _ in arm.members]
    answers = [model.score(project_columns(batch, model.signature)) for model in models]
    if len(answers) == 1:
        return answered_rows(answers[0], arm.version, arm.variant.name)
    scores = blend_scores([one.scores for one in answers], [weight for _, weight in arm.members])
    classes = answers[0].classes
    decisions: list[Any] = [None] * batch.n
    if classes:
        decisions = blend_decisions(scores, classes=classes, threshold=arm.threshold)
    return answered_rows(Answers(scores, decisions, classes), None, arm.variant.name)


def answered_rows(answers: Answers, version: int | None, variant: str) -> list[Row]:
    """Return answers row by row."""
    scores = answers.plain_scores()
    return [(s, d, version, variant) for s, d in zip(scores, answers.decisions, strict=True)]


CHAMPION = "champion"
Scored = list[Row | FailedRow]
"""Answers of rows, and what was raised in the place of those that have none."""


@dataclass(frozen=True, slots=True)
class Routed:
    """How one row was routed and what came of it, for the guardrails."""

    index: int
    """Place in the plan of the variant the row was routed to."""
    hashed: int
    """Hash of the key it was routed by."""
    failed: bool = False
    answered: bool = True
    """Whether the variant failed on this very row; whether it answered."""


def score_rows(
    live: Live, batches: Sequence[Batch], whole: Batch, ids: Sequence[str], *, isolate: bool = True
) -> tuple[Scored, list[Routed]]:
    """Answer the rows of several requests, one after the other.

    Where a challenger fails on a row, the champion answers it, and the failure is counted. Where the champion fails,
    nothing answers.

    Parameters
    ----------
    live : Live
        What is served.
    batches : sequence of Batch
        Of one signature, the champion's.
    whole : Batch
        All of them as one.
    ids : sequence of str
        Prediction id of each row of all batches: a row with neither group (of a ranking) nor entity is routed by it.
    isolate : bool
        Whether failures are isolated (`isolate_failures`), so that no row fails because of another; else whatever a
        model raises is raised.

    Returns
    -------
    Scored, list of Routed
        One answer a row; and how each was routed, nothing where the champion answers everything.
    """
    plain = live.plan.is_plain
    units = units_of(batches, isolated=0 if plain else MAX_ISOLATED_ROWS) if isolate else None
    if plain:
        return _score_arm(live.arms[CHAMPION], whole, units), []
    assigner = live.assigner
    hashes = [assigner.hash(key) for key in row_keys(batches, ids)]
    by_variant: dict[int, list[int]] = {}
    for place, hashed in enumerate(hashes):
        by_variant.setdefault(assigner.route_of(hashed).index, []).append(place)
    rows: Scored = [None] * whole.n  # type: ignore[list-item]
    routed: list[Routed] = [None] * whole.n  # type: ignore[list-item]
    for index, places in by_variant.items():
        own = None if units is None else [units[place] for place in places]
        answers, outcomes = _answer_variant(live, index, _take(whole, places), own)
        for place, row, (failed, answered) in zip(places, answers, outcomes, strict=True):
            rows[place] = row
            routed[place] = Routed(index, hashes[place], failed, answered)
    return rows, routed


def _answer_variant(
    live: Live, index: int, batch: Batch, units: Sequence[int] | None
) -> tuple[Scored, list[tuple[bool, bool]]]:
    """Return a variant's answers, the champion's where it has none, and whether it failed and answered, row by row."""
    name, champion = live.plan.variants[index].name, live.arms[CHAMPION]
    arm = live.arms.get(name)
    if arm is None:  # it could not be loaded
        return _score_arm(champion, batch, units), [(False, False)] * batch.n
    rows = _score_arm(arm, batch, units)
    failed = [place for place, row in enumerate(rows) if type(row) is FailedRow]
    if not failed:
        return rows, [(False, True)] * batch.n
    outcomes = [(row.alone, False) if isinstance(row, FailedRow) else (False, True) for row in rows]
    if arm is not champion and units is not None:
        first = next(row.error for row in rows if isinstance(row, FailedRow))
        logger.warning("variant '%s' fails: %s at %s", name, type(first).__name__, place_of(first))
        fallback = _score_arm(champion, _take(batch, failed), [units[place] for place in failed])
        for place, row in zip(failed, fallback, strict=True):
            rows[place] = row
    return rows, outcomes


def _score_arm(arm: ServedArm, batch: Batch, units: Sequence[int] | None) -> Scored:
    if units is None:
        return [*answer_arm(arm, batch)]
    return isolate_failures(arm, batch, units)


def row_keys(batches: Sequence[Batch], ids: Sequence[str]) -> list[str]:
    """Return the key each row is routed by: the group of a ranking, else its entity, else its own id."""
    keys: list[str | None] = []
    for batch in batches:
        entities = batch.entities if batch.entities is not None else [None] * batch.n
        group = batch.signature.group
        if group is None:
            keys += entities
        else:
            keys += [entity_key(g) or e for g, e in zip(batch.column(group), entities, strict=True)]
    return [key or name for key, name in zip(keys, ids, strict=True)]


def _take(batch: Batch, places: Sequence[int]) -> Batch:
    return batch if len(places) == batch.n else batch.take(places)
