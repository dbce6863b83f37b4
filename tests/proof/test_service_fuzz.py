"""The service is asked anything: by schemathesis from its own document, and by bodies nearly right or noise."""

import asyncio
import contextlib
import json
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.python import asgi
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from evergreen.deployments.service.app import make_app
from evergreen.deployments.service.service import Service
from evergreen.tasks.core.serving.signature import Column, Signature
from evergreen.tasks.io.serving_keys import create_key, keys_path
from evergreen.tasks.io.settings import utc_now
from tests.support.bodies import ANY_BODIES, SCALARS, VALUES, dumps, near_bodies
from tests.support.serving import PREDICT, ROW, model_of, serving

SERVED = Signature(
    (Column("x", "number"), Column("z", "number"), Column("colour", "text")), context=("at",), time="at"
)
"""What the model of the tests takes."""
_IDS = st.one_of(st.sampled_from(["p0", "p1", "é", "a" * 255]), st.integers(0, 10**6).map(str))
_OUTCOMES = st.fixed_dictionaries(
    {"id": _IDS, "outcome": st.sampled_from(["yes", "yes", "yes", "no", True, 1, 0.5])},
    optional={"known_at": st.sampled_from(["2027-01-01T00:00:00Z", 1_800_000_000, None, 12.5])},
)


@st.composite
def _near_outcomes(draw):
    """Return outcomes that are right, or wrong in one respect."""
    odd = draw(st.sampled_from(["none", "none", "value", "key", "text", "document"]))
    outcomes = draw(st.lists(_OUTCOMES, min_size=1, max_size=6))
    if odd == "value":
        draw(st.sampled_from(outcomes))[draw(st.sampled_from(["id", "outcome", "known_at"]))] = draw(VALUES)
    if odd == "key":
        draw(st.sampled_from(outcomes)).pop(draw(st.sampled_from(["id", "outcome"])))
        outcomes[0] |= draw(st.dictionaries(st.text(max_size=9), SCALARS, max_size=2))
    document = {"outcomes": outcomes}
    if odd == "document":
        document = draw(st.sampled_from([outcomes, {"outcomes": draw(VALUES)}, document | {"more": 1}]))
    text = json.dumps(document, ensure_ascii=draw(st.booleans()))
    if odd == "text":
        new = draw(
            st.sampled_from(['"id": "p1", "id"', "", "1e999", "NaN", "[[[[[[", '"\\ud800"', '"\\u0000"'])
        )
        text = text.replace(draw(st.sampled_from(['"id"', ":", ",", "]", '"yes"', '"p0"'])), new, 1)
    return text.encode("utf-8", errors="surrogatepass")


PATHS = st.sampled_from(["/models/tested/predict", "/models/tested/outcomes", "/invocations"])
_ROWS = st.one_of(
    near_bodies(SERVED), near_bodies(SERVED), near_bodies(SERVED), ANY_BODIES, st.binary(max_size=400)
)
_TOLD = st.one_of(_near_outcomes(), _near_outcomes(), _near_outcomes(), ANY_BODIES, st.binary(max_size=400))


def bodies_for(path):
    """Return bodies for an endpoint: three of five nearly right, the others anything."""
    return _TOLD if path.endswith("outcomes") else _ROWS


_LINES = st.binary(max_size=30).map(
    lambda line: line.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")
)
HEADERS = st.one_of(
    st.just({}),
    st.just({}),
    st.fixed_dictionaries({"Idempotency-Key": st.sampled_from([b"k-1", b"k-2", b"k-3"])}),
    st.dictionaries(
        st.sampled_from(
            ["Idempotency-Key", "Content-Type", "Content-Encoding", "Authorization", "X-API-Key"]
        ),
        st.one_of(
            _LINES, st.sampled_from([b"application/json; charset=utf-8", b"text/csv", b"Bearer x", b"gzip"])
        ),
        max_size=2,
    ),
)


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


CONFIG = {
    "seed": 5,
    "continue-on-failure": True,
    "suppress-health-check": ["all"],
    "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", 404, 409, 422]}},
}
"""All checks with what they are by default, but for one.

What fits the document may still be refused with 422: no document of this kind says that lists beside the rows are as
long as they are, which columns the model has that the path names, that a text is a moment, or that an id is new.
"""


@dataclass
class Asked:
    """What came of it.

    Attributes
    ----------
    operations : set of str
        Those of the document.
    statuses : Counter
        Answers by operation and status.
    faults : list of str
        Checks that failed, errors of schemathesis itself, and tracebacks.
    answered : Answered
        What was answered with 200.
    """

    operations: set = field(default_factory=set)
    statuses: Counter = field(default_factory=Counter)
    faults: list = field(default_factory=list)
    answered: Answered = field(default_factory=Answered)


def ask_by_document(model, *, examples, secret=None):
    """Serve a model in this process and let schemathesis ask it, with an API key or without; return what came of it."""
    app = make_app(Service([model], deliver=lambda setup: None))
    options = {**CONFIG, "generation": {"max-examples": examples, "with-security-parameters": secret is None}}
    if secret is not None:
        options["headers"] = {"Authorization": f"Bearer {secret}"}
    config = SchemathesisConfig.from_dict(options)
    asked = Asked()
    try:
        with asgi.get_client(app) as client:
            deadline = time.monotonic() + 60
            while client.get("/ready").status_code != 200:
                assert time.monotonic() < deadline, client.get("/ready").text
                time.sleep(0.05)
        document = schemathesis.openapi.from_asgi("/openapi.json", app, config=config)
        asked.operations = {one.ok().label for one in document.get_all_operations()}
        for event in from_schema(document).execute():
            _take(asked, event)
    finally:
        asgi.shutdown_lifespans()
    return asked


def _take(asked, event):
    if isinstance(event, events.NonFatalError):
        asked.faults.append(f"{event.label}: {event.value!r}")
    if isinstance(event, events.FatalError):
        raise event.exception
    if not isinstance(event, events.ScenarioFinished):
        return
    for name, interaction in event.recorder.interactions.items():
        case, response = event.recorder.cases[name].value, interaction.response
        asked.statuses[case.operation.label, response.status_code] += 1
        if "Traceback" in response.text:
            asked.faults.append(f"{case.operation.label}: a traceback")
        if response.status_code == 200 and case.method == "POST":
            asked.answered.remember(case.operation.path, case.body, json.loads(response.text))
    for name, checks in event.recorder.checks.items():
        case = event.recorder.cases[name].value
        asked.faults += [
            f"{case.operation.label}: {one.name}: {one.failure_info.failure} {case.as_curl_command()[:500]}"
            for one in checks
            if one.failure_info is not None
        ]


BODIES, EXAMPLES = 10_000, 100
SMALL = {"max_rows": 4, "max_body_mb": 0.004}

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_whatever_the_body_it_is_answered_logged_or_refused_in_the_documented_shape(
    store, monitored, request, monkeypatch
):
    if store == "postgres":
        monkeypatch.setenv("EVERGREEN_LOG_URL", request.getfixturevalue("postgres_url"))
    model = model_of(monitored, serving=SMALL)
    asked = PATHS.flatmap(lambda path: st.tuples(st.just(path), bodies_for(path), HEADERS))
    with fuzzed(model) as service:

        @seed(5)
        @settings(
            max_examples=BODIES,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        )
        @given(asked=asked)
        def ask(asked):
            path, body, headers = asked
            assert [] == service.ask(path, body, headers)

        ask()
        assert [] == service.ask(PREDICT, dumps({"records": [ROW]}))
    statuses = dict(sorted(service.statuses.items()))
    print(
        f"\n{store}: {service.statuses.total()} bodies, {len(service.answered.predicted)} predictions; {statuses}"
    )
    assert service.statuses.total() >= BODIES
    assert {200, 400, 409, 413, 415, 422} <= {status for _, status in service.statuses}
    assert [] == unlogged(model, service.answered)


@pytest.mark.parametrize(("store", "guarded"), [("sqlite", False), ("postgres", True)])
def test_the_service_keeps_its_document_whatever_schemathesis_asks(
    store, guarded, monitored, request, monkeypatch
):
    if store == "postgres":
        monkeypatch.setenv("EVERGREEN_LOG_URL", request.getfixturevalue("postgres_url"))
    model = model_of(monitored)
    secret = create_key(keys_path(model.settings), "fuzz", at=utc_now()) if guarded else None
    asked = ask_by_document(model, examples=EXAMPLES, secret=secret)
    print(f"\n{store}: {asked.statuses.total()} requests, {len(asked.answered.predicted)} predictions")
    assert [] == asked.faults
    assert asked.operations == {label for label, status in asked.statuses if status == 200}
    assert guarded == (401 in {status for _, status in asked.statuses})
    assert [] == unlogged(model, asked.answered)
