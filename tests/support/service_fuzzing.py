"""A service that is asked anything: what every answer must be, and what the log must hold of it in the end."""

import asyncio
import contextlib
import json
from collections import Counter

from jsonschema import Draft202012Validator
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from tests.support.serving import PREDICT, serving

DOCUMENTED = {PREDICT: "/models/{model}/predict", "/models/tested/outcomes": "/models/{model}/outcomes"}


class Answered:
    """What was answered with 200: predictions by id, and outcomes by id."""

    def __init__(self):
        self.predicted, self.told = {}, {}

    def remember(self, path, document, said):
        """Remember one answer of a path that predicts or takes outcomes."""
        if path.endswith("outcomes"):
            self.told |= {one["id"]: one["outcome"] for one in document["outcomes"]}
        elif path.endswith("predict"):
            for one in said["predictions"]:
                self.predicted[one["id"]] = (one["version"], one["variant"], one["score"], one["decision"])
        elif path.endswith("invocations"):
            rows = zip(said["ids"], said["versions"], said["variants"], said["predictions"], strict=True)
            for name, version, variant, decision in rows:
                score = self.predicted.get(name, (None,) * 4)[2]
                self.predicted[name] = (version, variant, score, decision)


class Fuzzed:
    """A service in this process whose answers are checked as they come, and remembered.

    Parameters
    ----------
    client : httpx.AsyncClient
        Asks the service.
    run : callable
        Runs a coroutine to its end.
    """

    def __init__(self, client, run):
        self._client, self._run = client, run
        self._document = run(client.get("/openapi.json")).json()
        self.answered, self.statuses = Answered(), Counter()

    def ask(self, path, body, headers=None):
        """Send a request; return what is wrong with its answer."""
        headers = {"content-type": b"application/json", **(headers or {})}
        answer = self._run(self._client.post(path, content=body, headers=headers))
        self.statuses[path, answer.status_code] += 1
        said = answer.json()
        wrong = list(self._faults(path, answer, said))
        if not wrong and answer.status_code == 200:
            self.answered.remember(path, json.loads(body), said)
        return wrong

    def _faults(self, path, answer, said):
        if answer.status_code >= 500:
            yield f"status {answer.status_code}"
        if "Traceback" in answer.text:
            yield "a traceback"
        responses = self._document["paths"][DOCUMENTED.get(path, path)]["post"]["responses"]
        documented = responses.get(str(answer.status_code))
        if documented is None:
            yield f"status {answer.status_code} is not in the document"
            return
        schema = {
            **documented["content"]["application/json"]["schema"],
            "components": self._document["components"],
        }
        yield from (error.message for error in Draft202012Validator(schema).iter_errors(said))
        if answer.status_code != 200 and not (said["error"]["code"] and said["error"]["message"]):
            yield "a refusal that says nothing"


@contextlib.contextmanager
def fuzzed(model):
    """Serve a model to be asked anything."""
    with asyncio.Runner() as runner:
        serves = serving(model)
        client = runner.run(serves.__aenter__())
        try:
            yield Fuzzed(client, runner.run)
        finally:
            runner.run(serves.__aexit__(None, None, None))


def unlogged(model, answered):
    """Return what was answered with 200 and is not in the log as it was answered; and what is there unasked."""
    with contextlib.closing(
        create_engine(model.settings.log_url, poolclass=NullPool).connect()
    ) as connection:
        schema = "evergreen_log." if connection.dialect.name == "postgresql" else ""
        predictions = {
            name: (version, variant, json.loads(score), json.loads(decision))
            for name, version, variant, score, decision in connection.execute(
                text(f"SELECT prediction_id, version, variant, score, decision FROM {schema}predictions")
            )
        }
        outcomes = {
            name: json.loads(outcome)
            for name, outcome in connection.execute(
                text(f"SELECT prediction_id, outcome FROM {schema}outcomes")
            )
        }
    wrong = [name for name, one in answered.predicted.items() if not _same(predictions.get(name), one)]
    wrong += [name for name, outcome in answered.told.items() if outcomes.get(name) != outcome]
    return wrong + sorted(predictions.keys() - answered.predicted.keys())


def _same(stored, answered):
    """Return whether a row says what was answered; MLflow's answers have no score."""
    return stored is not None and all(
        one == other
        for place, (one, other) in enumerate(zip(stored, answered, strict=True))
        if place != 2 or other
    )
