"""A service that is asked by schemathesis whatever its OpenAPI document allows, and what it does not."""

import json
import time
from collections import Counter
from dataclasses import dataclass, field

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.python import asgi

from evergreen.deployments.service.app import make_app
from evergreen.deployments.service.service import Service
from tests.support.service_fuzzing import Answered

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
    app = make_app(Service([model]))
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
