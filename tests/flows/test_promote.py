"""The flows promote, rollback and reconcile on a real Prefect server: named states, events, the page."""

import pytest
from prefect.client.orchestration import get_client

from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.promotion import Promoter

pytestmark = pytest.mark.server
MODEL = "payments"


@pytest.fixture
def setup(prefect_server, mlflow_uri, tmp_path, monkeypatch):
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    monkeypatch.delenv("EVERGREEN_LEDGER_URL", raising=False)
    opened = open_setup(MODEL)
    for number in (1, 2, 3):
        opened.stores.registry.register(
            MODEL, source=f"file:models/{number}", run_id=None, tags={"validation_status": "approved"}
        )
    return opened


def promote_in_turn(setup, *versions):
    for version in versions:
        Promoter(setup.stores.registry, setup.stores.ledger, MODEL).promote(
            version=version, reason="by a test"
        )


def aliases(setup):
    return setup.stores.registry.aliases(MODEL)


def run(flow, **options):
    state = flow(MODEL, **options, return_state=True)
    return state.name, state.result(raise_on_failure=False)


def codes(data):
    return [reason["code"] for reason in data["reasons"]]


def test_a_rollback_with_nothing_to_return_to_ends_insufficient(setup):
    from evergreen.flows.rollback import rollback

    promote_in_turn(setup, 1)
    name, data = run(rollback)
    assert (name, codes(data)) == ("InsufficientData", ["nothing_to_return_to"])
    assert aliases(setup) == {"champion": 1}


def test_a_promotion_without_a_challenger_ends_insufficient(setup):
    from evergreen.flows.promote import promote

    name, data = run(promote)
    assert (name, codes(data)) == ("InsufficientData", ["no_challenger"])


def test_a_dry_promotion_shows_its_plan_and_moves_nothing(setup):
    from evergreen.flows.promote import promote

    promote_in_turn(setup, 1)
    name, data = run(promote, version=2, dry_run=True)
    assert (name, codes(data)) == ("Blocked", ["dry_run"])
    assert [step["alias"] for step in data["plan"]["steps"]] == ["champion", "fallback"]
    assert aliases(setup) == {"champion": 1}


def test_a_promotion_while_another_acts_ends_held(setup):
    from evergreen.flows.promote import promote

    promote_in_turn(setup, 1)
    with setup.stores.ledger.lock(MODEL):
        name, data = run(promote, version=2)
    assert (name, codes(data)) == ("Blocked", ["lock_held"])
    assert aliases(setup) == {"champion": 1}


def test_a_first_champion_whose_files_do_not_load_is_told_of(setup):
    from evergreen.flows.promote import promote

    name, data = run(promote, version=1)
    assert name == "InsufficientData"
    assert codes(data)[0] == "promotion"
    assert codes(data)[-1] == "nothing_to_return_to"
    assert len(codes(data)) > 2
    assert aliases(setup) == {"champion": 1}


def test_a_reconciliation_ends_reconciled_and_leaves_its_page(setup):
    from evergreen.flows.reconcile import reconcile

    promote_in_turn(setup, 1, 2)
    setup.stores.registry.set_alias(MODEL, "champion", 3)
    name, data = run(reconcile)
    assert (name, codes(data)) == ("Reconciled", ["repair"])
    assert aliases(setup) == {"champion": 3, "fallback": 2}
    with get_client(sync_client=True) as client:
        from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[f"reigns-{MODEL}"]))
        pages = client.request(
            "POST",
            "/artifacts/filter",
            json={"artifacts": wanted.model_dump(mode="json", exclude_unset=True)},
        ).json()
    assert any("| 3 |" in page["data"] for page in pages)


def test_a_version_that_is_not_registered_is_wrong_input(setup):
    from evergreen.flows.promote import promote

    state = promote(MODEL, version=99, return_state=True)
    assert state.name == "InputError"
    assert state.is_failed()
    assert "Registered: 1, 2, 3" in state.message
