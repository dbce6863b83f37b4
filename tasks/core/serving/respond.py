"""Answered rows as the bytes of a response: ours, and MLflow's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tasks.core.serving.answers import Answers
from tasks.core.serving.refused import Refused

_encode = msgspec.json.Encoder().encode


class Answered(msgspec.Struct, frozen=True, gc=False):
    """One row as it is answered.

    Attributes
    ----------
    prediction_id : str
        The prediction's own name; outcomes come back under it.
    score : float | dict of str to float
        P(positive), a prediction, or a probability a class.
    decision : object
        The class; None where there is only a score.
    version : int
        Version that answered.
    variant : str
        Name of the variant that answered.
    """

    prediction_id: str
    score: Any
    decision: Any
    version: int
    variant: str


class _Body(msgspec.Struct, gc=False):
    model: str
    predictions: Sequence[Answered]


class _MlflowBody(msgspec.Struct, gc=False):
    predictions: list[Any]
    prediction_ids: list[str]
    versions: list[int]
    variants: list[str]


def answered(answers: Answers, ids: Sequence[str], *, version: int, variant: str) -> list[Answered]:
    """Return answers of one variant row by row, each with its id.

    Raises
    ------
    ValueError
        When there are not as many ids as answers.
    """
    rows = zip(ids, answers.plain_scores(), answers.decisions, strict=True)
    return [Answered(one, score, decision, version, variant) for one, score, decision in rows]


def to_body(model: str, rows: Sequence[Answered]) -> bytes:
    """Return the response: ``{"model": …, "predictions": [{prediction_id, score, decision, version, variant}]}``.

    >>> to_body("fraud", [Answered("p1", 0.25, "no", 3, "champion")])
    b'{"model":"fraud","predictions":[{"prediction_id":"p1","score":0.25,"decision":"no","version":3,...}]}'
    """
    return _encode(_Body(model, rows))


def to_mlflow_body(rows: Sequence[Answered]) -> bytes:
    """Return MLflow's response, with what it lacks beside: ids, versions and variants.

    Predictions are what ``predict`` returns: the decision, or the score where nothing is decided.

    >>> to_mlflow_body([Answered("p1", 0.25, "no", 3, "champion")])
    b'{"predictions":["no"],"prediction_ids":["p1"],"versions":[3],"variants":["champion"]}'
    """
    return _encode(
        _MlflowBody(
            predictions=[row.score if row.decision is None else row.decision for row in rows],
            prediction_ids=[row.prediction_id for row in rows],
            versions=[row.version for row in rows],
            variants=[row.variant for row in rows],
        )
    )


def to_refusal(refused: Refused) -> bytes:
    """Return the body of a refusal; its status is the response's own.

    >>> to_refusal(Refused(422, "no_rows", "No rows. Send at least one.", field="records"))
    b'{"error":{"code":"no_rows","message":"No rows. Send at least one.","field":"records"}}'
    """
    return _encode(refused.to_dict())
