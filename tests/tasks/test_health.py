"""Health measured on a real MLflow store and a real ledger: a champion that works, breaks, is missing."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from evergreen.tasks import health
from evergreen.tasks.alerts import deliver_alerts
from evergreen.tasks.core.drift.types import DriftKind, SignalSeries
from evergreen.tasks.core.health.checks import Condition
from evergreen.tasks.core.monitoring.reference_series import ReferenceSeries
from evergreen.tasks.core.promotion.plan import CHAMPION
from evergreen.tasks.health import HealthFacts, check_health
from evergreen.tasks.io.alerts import open_alarms
from evergreen.tasks.io.mlflow_store.models import load_model
from evergreen.tasks.io.status import model_status
from tests.support.champions import ModelStores
from tests.support.stores import STRONG

STARTED = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = 3600.0


@pytest.fixture
def stores(two_versions_store, mlflow_uri, tmp_path, monkeypatch):
    return ModelStores(tmp_path / "own", mlflow_uri, monkeypatch, start=two_versions_store)


@pytest.fixture
def setup(stores):
    return setup_with_champion(stores)


def setup_with_champion(stores, **sections):
    made = stores.setup(**sections)
    made.stores.registry.set_alias("tested", CHAMPION, STRONG)
    assert made.stores.ledger.last("tested", "health") is None
    return made


def answer():
    """Stand for a Prefect server that is well."""


def look(setup, **facts):
    """Return conditions by check."""
    report = check_health.fn(setup, HealthFacts(started=STARTED, **facts), ask_prefect=answer)
    return {check.name: check.condition.value for check in report.checks}


def past():
    series = SignalSeries(
        keys=(),
        starts=np.arange(30) * HOUR,
        rows=np.full(30, 60.0),
        values=np.zeros((30, 0)),
        errors=np.zeros((30, 0)),
        window="1h",
    )
    return ReferenceSeries(window="1h", series={DriftKind.DATA: series})


def keep(setup, phase, n, *, place, at=STARTED - timedelta(hours=1)):
    payload = {"start": place * HOUR, "end": (place + 1) * HOUR, "n": n}
    setup.stores.ledger.append(
        model="tested", stream=f"windows-{phase}", kind="window", payload=payload, at=at
    )


def test_a_well_machine_is_well_and_leaves_no_entry(setup):
    found = look(setup)
    assert {
        "champion",
        "ledger",
        "mlflow",
        "prefect",
        "feed",
        "rate",
        "labels",
        "disk",
        "age",
        "last_run",
    } == set(found)
    assert ["ok"] * 4 == [found[name] for name in ("champion", "ledger", "mlflow", "prefect")]
    assert "failed" not in found.values()
    assert [] == setup.stores.ledger.read(stream="health")


def test_a_champion_answers_the_windows_own_rows(setup):
    rows = pd.DataFrame({"signal": [0.1, None], "noise": [1.0, 2.0], "colour": ["red", None]})
    assert "ok" == look(setup, rows=rows)["champion"]


def test_rows_without_a_feature_are_told_as_a_champion_that_does_not_answer(setup):
    found = check_health.fn(
        setup, HealthFacts(started=STARTED, rows=pd.DataFrame({"noise": [1.0]})), ask_prefect=answer
    )
    assert Condition.FAILED is found.checks[0].condition
    assert "signal" in found.checks[0].reason.message


def test_without_a_champion_the_check_fails_and_an_alert_opens_once_and_resolves_once(stores):
    setup = stores.setup()
    assert ["failed", "failed"] == [look(setup)["champion"] for _ in range(2)]
    setup.stores.registry.set_alias("tested", CHAMPION, STRONG)
    assert ["ok", "ok"] == [look(setup)["champion"] for _ in range(2)]
    changes = [entry.payload["alert"]["change"] for entry in setup.stores.ledger.read(stream="health")]
    assert ["opened", "resolved"] == changes


def test_a_champion_whose_files_are_gone_is_told(setup, stores):
    for file in (stores.folder / "home").rglob("*.skops"):
        file.unlink()
    info = setup.stores.registry.version("tested", STRONG)
    from evergreen.tasks.io.mlflow_store.tracking import open_tracker

    tracker = open_tracker(setup.stores)
    tracker.client.delete_run(info.run_id)
    setup.stores.registry.set_tags("tested", STRONG, {"evergreen.run": "0" * 32})
    assert "failed" == look(setup)["champion"]


def test_a_server_that_does_not_answer_is_told_without_its_password(setup):
    def refuse():
        raise ConnectionError("no answer from http://ada:secret@host/api")

    report = check_health.fn(setup, HealthFacts(started=STARTED), ask_prefect=refuse)
    (failed,) = [check for check in report.checks if check.condition is Condition.FAILED]
    assert "prefect" == failed.name
    assert "secret" not in failed.reason.message
    assert ["prefect"] == [alarm["name"] for alarm in open_alarms(setup.stores.ledger, setup.model)]


@pytest.mark.parametrize(("hours", "condition"), [(4, "ok"), (6, "failed")])
def test_a_silent_feed_is_an_alarm(setup, hours, condition, monkeypatch):
    monkeypatch.setattr(health, "_lag_at_registration", lambda _: 0.0)
    assert condition == look(setup, newest=0.0, as_of=hours * HOUR, past=past())["feed"]


@pytest.mark.parametrize(("hours", "condition"), [(2, "ok"), (6, "failed")])
def test_right_after_a_training_the_rows_it_was_made_of_are_the_newest(stores, hours, condition):
    setup = setup_with_champion(stores, alerts={"max_data_age": "5h"})
    newest = load_model(setup, STRONG).plan.evaluation.end
    assert condition == look(setup, newest=None, as_of=newest + hours * HOUR)["feed"]


def test_a_feed_that_was_as_old_at_training_is_historical(setup):
    assert "not_applicable" == look(setup, newest=0.0, as_of=9e9, past=past())["feed"]


def test_a_configured_silence_holds_for_historical_data_too(stores):
    setup = setup_with_champion(stores, alerts={"max_data_age": "1h"})
    assert "failed" == look(setup, newest=0.0, as_of=9e9)["feed"]


def test_a_run_that_was_given_its_end_is_not_called_silent(setup):
    assert "not_applicable" == look(setup, newest=0.0, past=past())["feed"]


def test_thin_windows_warn(setup):
    for place in range(5):
        keep(setup, "inputs", 20, place=place)
    assert "warning" == look(setup, past=past())["rate"]


def test_missing_labels_fail(setup):
    for place in range(20):
        keep(setup, "inputs", 100, place=place)
        keep(setup, "outcomes", 95 if place < 15 else 10, place=place)
    assert "failed" == look(setup)["labels"]


def test_an_old_model_warns(stores):
    setup = setup_with_champion(stores, alerts={"max_model_age": "30d"})
    assert "warning" == look(setup, as_of=datetime(2027, 1, 1, tzinfo=UTC).timestamp())["age"]
    assert "ok" == look(setup, as_of=datetime(2026, 2, 5, tzinfo=UTC).timestamp())["age"]


def test_a_monitoring_that_has_not_run_for_long_warns(setup):
    keep(setup, "inputs", 1, place=0)
    assert "warning" == look(setup)["last_run"]
    keep(setup, "inputs", 1, place=1, at=datetime.now(UTC))
    recent = check_health.fn(
        setup, HealthFacts(started=datetime.now(UTC) + timedelta(seconds=1)), ask_prefect=answer
    )
    assert "ok" == next(check.condition.value for check in recent.checks if check.name == "last_run")


def test_failing_health_reaches_the_channels_like_drift(stores, webhook, monkeypatch):
    monkeypatch.setenv("HOOK", f"json://127.0.0.1:{webhook.port}/")
    setup = stores.setup(alerts={"notify": ["env:HOOK"]})
    look(setup)
    deliver_alerts.fn(setup, sleep=lambda _: None, announce=lambda _: None)
    setup.stores.registry.set_alias("tested", CHAMPION, STRONG)
    look(setup)
    deliver_alerts.fn(setup, sleep=lambda _: None, announce=lambda _: None)
    expected = ["[critical] tested: champion (health)", "[resolved] tested: champion (health)"]
    assert expected == [body["title"] for body in webhook.got]


def test_status_shows_open_alarms_and_a_monitoring_that_stands_still(stores):
    setup = stores.setup()
    assert ("not_applicable", []) == (
        model_status(setup)["health"]["last_run"]["condition"],
        open_alarms(setup.stores.ledger, setup.model),
    )
    look(setup)
    keep(setup, "inputs", 1, place=0)
    found = model_status(setup)["health"]
    assert ("warning", ["champion"]) == (
        found["last_run"]["condition"],
        [alarm["name"] for alarm in found["open"]],
    )
