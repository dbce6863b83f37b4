"""Answered rows as bytes, in either shape."""

import json

import numpy as np

from evergreen.deployments.service.endpoint import mlflow_answer, own_answer
from evergreen.tasks.io.prediction_log.records import Served


def served(name, score, decision=None, **more):
    values = {"position": 0.0, "version": 3, "variant": "champion", "features": b"{}", **more}
    return Served(prediction_id=name, score=score, decision=decision, **values)


def test_every_float_survives_either_answer():
    scores = [*(np.random.default_rng(0).random(200) ** 40).tolist(), 1e300, 5e-324]
    rows = [served(str(number), score) for number, score in enumerate(scores)]
    assert scores == [row["score"] for row in json.loads(own_answer("m", rows))["predictions"]]
    assert scores == json.loads(mlflow_answer("m", rows))["predictions"]


def test_mlflows_prediction_is_the_decision_where_there_is_one():
    rows = [served("a", {"low": 0.25, "top": 0.75}, "top"), served("b", 1.5, version=None, variant="mean")]
    assert {
        "predictions": ["top", 1.5],
        "model": "m",
        "ids": ["a", "b"],
        "versions": [3, None],
        "variants": ["champion", "mean"],
    } == json.loads(mlflow_answer("m", rows))
