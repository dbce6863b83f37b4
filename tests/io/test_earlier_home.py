"""What version 0.1 wrote to disk (tests/data/README.md) is read by the code of now."""

from collections import Counter
from datetime import datetime

import pandas as pd
import pytest

from evergreen.tasks.core.ab_testing.ledger import fold_tests
from evergreen.tasks.core.challenge.alpha import ALPHA, alpha_allowance
from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.promotion.history import champion_periods, open_plans, rolled_back_versions
from evergreen.tasks.core.promotion.ledger import check_chain
from evergreen.tasks.core.retraining.history import fold_history
from evergreen.tasks.core.traffic.variant import Role
from evergreen.tasks.io.alerts import open_alarms
from evergreen.tasks.io.config import find_model, list_models, read_config
from evergreen.tasks.io.mlflow_store.models import load_model
from evergreen.tasks.io.serving_keys import keys_path, read_ring
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.io.status import model_status
from evergreen.tasks.io.traffic import read_traffic
from tests.support.champions import load_reference
from tests.support.earlier_home import FEATURES, NOW, lived_in, unpack
from tests.support.logs import sum_profiles

pytestmark = pytest.mark.filterwarnings(
    "ignore:.* is now called:FutureWarning"
)  # what its files say is understood
ENTRIES = {"orders": 203, "rides": 176}
VERSIONS = {"orders": 8, "rides": 5}
ROWS_OF_TEN_DAYS = {"orders": 400, "rides": 200}
ALPHA_LEFT = {"orders": 0.0088989, "rides": 0.028125}
ALIASES = {
    "orders": {"champion": 7, "fallback": 4, "candidate": 8},
    "rides": {"champion": 1, "challenger": 5, "candidate": 5},
}

WORDS = (
    "policy: literal",
    "preset: literal",
    "path: shadow",
    "longest: 28d",
    "follow_up: 1h",
    "clip: 0.98",
    "max_silence: 7d",
    "value: worth",
)
"""Keys and values of version 0.1 that later versions call otherwise."""


def served_rows(table, count):
    """Return the newest rows of a table, whole; the rows that were served are its newest ones."""
    return pd.read_csv(table).tail(count)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Unpack the earlier home for tests that only read."""
    with lived_in(unpack(tmp_path_factory.mktemp("earlier"))) as home:
        yield home


@pytest.fixture(params=sorted(VERSIONS))
def setup(home, request):
    return open_setup(request.param)


@pytest.fixture
def orders(home):
    return open_setup("orders")


@pytest.fixture
def rides(home):
    return open_setup("rides")


def entries(setup):
    return setup.stores.ledger.read(model=setup.model)


def test_the_ledger_opens_and_its_chain_is_whole(orders):
    found = orders.stores.ledger.read()
    assert Counter(entry.model for entry in found) == ENTRIES
    assert check_chain(found) == ()


def test_the_history_of_champions_is_what_it_was(orders):
    history = [
        (one.version, one.how, one.since.date().isoformat()) for one in champion_periods(entries(orders))
    ]
    assert history == [
        (2, "promotion", "2026-02-15"),
        (4, "promotion", "2026-02-28"),
        (7, "promotion", "2026-04-28"),
        (6, "promotion", "2026-04-30"),
        (7, "rollback", "2026-04-30"),
    ]
    assert rolled_back_versions(entries(orders)) == {6}
    assert open_plans(entries(orders)) == []


def test_each_promotion_leads_to_the_decision_it_rests_on(orders):
    rests_on = [one.evidence for one in champion_periods(entries(orders)) if one.evidence]
    assert [orders.stores.ledger.get(name).payload["version"] for name in rests_on] == [1, 3, 6]


def test_the_history_of_decisions_has_every_stage(orders, rides):
    kinds = Counter(one.kind for one in entries(orders) + entries(rides) if one.stream == "decisions")
    expected = {
        "train": 10,
        "validate": 10,
        "judgement": 8,
        "challenge": 4,
        "retrain": 4,
        "ab-test": 3,
        "live_test": 1,
        "register": 1,
        "promote": 1,
        "rollback": 1,
        "reconcile": 1,
        "score": 1,
        "replay": 1,
    }
    assert kinds == expected


def test_retrainings_and_the_pause_before_them_are_known(orders, rides):
    history = fold_history(entries(orders))
    assert history.pause is None
    (only,) = history.attempts
    assert (only.version, set(only.stages)) == (7, {"train", "validate", "challenge"})
    asked = {"data", "prediction", "concept", "performance", "periodic"}
    assert {one.trigger for one in only.causes} == asked
    assert [one.version for one in fold_history(entries(rides)).attempts] == [5]


def test_the_alpha_that_was_spent_stays_spent(setup):
    spent = setup.stores.ledger.read(model=setup.model, stream=ALPHA)
    look = alpha_allowance(spent, now=datetime.fromisoformat(NOW), level=0.05)
    assert look.left_before == pytest.approx(ALPHA_LEFT[setup.model], rel=1e-3)


def test_live_tests_are_known_ended_and_running(orders, rides):
    ended = {state.test.name: state for state in fold_tests(entries(orders))}
    assert {name: one.ended_at.hour for name, one in ended.items()} == {"old-against-new": 5, "second": 5}
    assert [one.ended["winner"] for one in ended.values()] == [None, None]
    assert len(ended["old-against-new"].analyses) == 2
    (running,) = fold_tests(entries(rides))
    assert (running.ended, [arm.version for arm in running.test.challengers]) == (None, [3])


def test_traffic_is_shared_as_it_was(orders, rides):
    assert read_traffic(orders.stores.ledger, "orders").plan.is_plain
    plan = read_traffic(rides.stores.ledger, "rides").plan
    assert [(one.version, one.role, one.share) for one in plan.variants[1:]] == [(3, Role.SHADOW, 1.0)]


def test_the_canary_that_its_guardrail_stopped_says_why(orders):
    (stopped,) = [one for one in entries(orders) if (one.stream, one.kind) == ("traffic", "stopped")]
    (reason,) = stopped.payload["reasons"]
    assert reason["observed"] > reason["limit"] == 0.1


def test_alarms_that_were_open_are_open(orders, rides):
    assert open_alarms(orders.stores.ledger, "orders") == []
    assert {"amount", "tenure"} <= {alarm["name"] for alarm in open_alarms(rides.stores.ledger, "rides")}


def test_status_tells_who_holds_the_aliases_and_finds_all_consistent(setup):
    status = model_status(setup)
    assert (status["consistent"], status["pending"]) == (True, [])
    roles = {
        role: status[role]["version"]
        for role in ("champion", "fallback", "challenger", "candidate")
        if status[role]
    }
    assert roles == ALIASES[setup.model]


def test_served_predictions_are_read_with_their_outcomes_and_shadows(orders, rides):
    log = orders.stores.log
    frame = log.read_predictions("orders", Window()).rows.frame
    assert frame["@variant"].value_counts().to_dict() == {"champion": 257, "v3": 146, "v4": 57, "batch": 40}
    assert frame["@outcome"].notna().sum() == 460
    assert log.read_predictions("rides", Window()).rows.frame["@outcome"].notna().sum() == 150
    assert len(log.read_shadows("rides", Window()).rows.frame) == 150


def test_private_values_of_served_predictions_are_digests(orders):
    frame = orders.stores.log.read_predictions("orders", Window()).rows.frame
    assert frame["tenure"].str.startswith("h:").all()


def test_windows_are_read_with_their_profiles(setup):
    for phase in Phase:
        records = setup.stores.log.windows(setup.model, phase)
        assert len(records) == 10
    read = setup.stores.log.windows(setup.model, Phase.INPUTS)
    profiles = sum_profiles(setup.stores.log, read, "inputs")
    assert sum(one.columns["amount"].n for one in profiles) == ROWS_OF_TEN_DAYS[setup.model]


def test_configurations_are_read_with_the_words_they_were_written_in(home):
    folder = home.folder / "config"
    written = (folder / "orders.yaml").read_text() + (folder / "rides.yaml").read_text()
    assert [word for word in WORDS if word not in written] == []
    read = {name: read_config(find_model(name, config_dir=folder)) for name in list_models(folder)}
    assert sorted(read) == ["orders", "proposed", "rides"]
    assert read["orders"].data.entity == "customer"
    assert read["rides"].promotion.approval == "manual"


def test_every_version_loads_with_its_records_and_predicts(setup):
    rows = served_rows(setup.base / f"{setup.model}.csv", 3)
    for info in setup.stores.registry.versions(setup.model):
        loaded = load_model(setup, info.version)
        assert set(loaded.schema.features) <= set(FEATURES)
        reference, past = load_reference(setup, info)
        assert set(reference.inputs.columns) >= set(loaded.schema.features)
        assert past.window == setup.config.monitoring.window.text
        assert past.series
        assert len(loaded.estimator.predict(rows[list(loaded.schema.features)])) == 3
    assert len(setup.stores.registry.versions(setup.model)) == VERSIONS[setup.model]


def test_the_api_key_that_was_given_out_is_known(home, orders):
    ring = read_ring(keys_path(orders.settings))
    moment = datetime.fromisoformat(NOW).timestamp()
    assert ring.find(home.api_key.encode(), now=moment) == "web"
    assert ring.find(f"{home.api_key}x".encode(), now=moment) is None
