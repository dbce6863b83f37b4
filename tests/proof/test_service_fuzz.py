"""The service is asked anything: by schemathesis from its own document, and by bodies nearly right or noise."""

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from evergreen.tasks.io.serving_keys import create_key, keys_path
from evergreen.tasks.io.settings import utc_now
from tests.support.bodies import dumps
from tests.support.service_bodies import HEADERS, PATHS, bodies_for
from tests.support.service_documented import ask_by_document
from tests.support.service_fuzzing import fuzzed, unlogged
from tests.support.serving import PREDICT, ROW, model_of

BODIES, EXAMPLES = 10_000, 100
SMALL = {"max_rows": 4, "max_body_mb": 0.004}

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_whatever_the_body_it_is_answered_logged_or_refused_in_the_documented_shape(
    store, watched, request, monkeypatch
):
    if store == "postgres":
        monkeypatch.setenv("EVERGREEN_LOG_URL", request.getfixturevalue("postgres_url"))
    model = model_of(watched, serving=SMALL)
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
    store, guarded, watched, request, monkeypatch
):
    if store == "postgres":
        monkeypatch.setenv("EVERGREEN_LOG_URL", request.getfixturevalue("postgres_url"))
    model = model_of(watched)
    secret = create_key(keys_path(model.settings), "fuzz", at=utc_now()) if guarded else None
    asked = ask_by_document(model, examples=EXAMPLES, secret=secret)
    print(f"\n{store}: {asked.statuses.total()} requests, {len(asked.answered.predicted)} predictions")
    assert [] == asked.faults
    assert asked.operations == {label for label, status in asked.statuses if status == 200}
    assert guarded == (401 in {status for _, status in asked.statuses})
    assert [] == unlogged(model, asked.answered)
