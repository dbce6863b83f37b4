import io
import json
import pkgutil
import shlex
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from rich.console import Console

from evergreen.deployments.cli import output
from evergreen.deployments.config_docs import CONFIG_DIR
from evergreen.deployments.demo.__main__ import PAYMENT, STORY, exchange_text, outcomes
from evergreen.deployments.demo.payments import DRIFT_DAY, FIRST_DAY, LAST_DAY, ROWS_PER_DAY, card_payments
from evergreen.tasks.core.config import parse_model
from evergreen.tasks.core.config.model import merge

DAY = 86_400.0
START = FIRST_DAY.timestamp()


def payments(first=None, last=None):
    start = None if first is None else START + first * DAY
    end = None if last is None else START + last * DAY
    return pd.concat(card_payments(start, end), ignore_index=True)


def test_the_same_window_always_holds_the_same_rows():
    whole = payments(0, 4)
    pd.testing.assert_frame_equal(
        payments(2, 4), whole[whole["time"] >= FIRST_DAY + pd.Timedelta(days=2)].reset_index(drop=True)
    )


def test_the_history_has_its_declared_length():
    assert LAST_DAY * ROWS_PER_DAY == len(payments())


def test_a_window_without_payments_keeps_its_columns():
    empty = payments(-20, -10)
    assert (0, list(payments(0, 1).columns)) == (len(empty), list(empty.columns))


def test_the_declared_drift_makes_digital_goods_dangerous():
    def digital_fraud(first, last):
        rows = payments(first, last)
        return rows.loc[(rows["merchant"] == "digital") & (rows["channel"] == "online"), "fraud"].mean()

    assert digital_fraud(DRIFT_DAY, DRIFT_DAY + 40) > 3 * digital_fraud(DRIFT_DAY - 40, DRIFT_DAY)


@pytest.mark.parametrize("chapter", STORY, ids=lambda chapter: chapter.title)
def test_every_chapter_has_a_valid_configuration_and_a_flow(chapter):
    base = yaml.safe_load((CONFIG_DIR / "payments.yaml").read_text())
    parse_model(merge(base, chapter.changes) | {"model": "payments"}, origin=chapter.title)
    assert callable(pkgutil.resolve_name(f"evergreen.flows.{chapter.flow}"))


def test_the_payment_that_is_asked_about_has_every_feature():
    assert set(payments(0, 1).columns) - {"payment_id", "time", "fraud"} == set(PAYMENT)


def test_reasons_are_shown_whole_on_80_columns_with_short_times():
    said = (
        "10 windows from 2026-03-16T00:00:00+00:00 to 2026-03-26T12:00:00+00:00: alarm: @loss [5] (concept, since "
        "2026-03-20T00:00:00+00:00), started at 2026-05-05 12:00:00 UTC."
    )
    printed = io.StringIO()
    results = [{"state": "ChampionRestored", "version": 2, "reasons": [{"message": said}]}]
    Console(file=printed, width=80).print(outcomes(results))
    lines = printed.getvalue().splitlines()
    assert all(len(line) <= 80 for line in lines)
    why = " ".join(line.split("│")[4].strip() for line in lines if line.count("│") == 5)
    expected = (
        "10 windows from 2026-03-16 to 2026-03-26 12:00: alarm: @loss [5] (concept, since 2026-03-20), started at "
        "2026-05-05 12:00."
    )
    assert expected == why.strip()


def test_the_question_and_the_answer_fit_80_columns_and_can_be_pasted():
    url = "http://127.0.0.1:40367/models/payments/predict"
    answer = {
        "model": "payments",
        "predictions": [{"id": "01a22e5b9844e434d1ae6a04072aeef7", "score": 0.0891844637048526}],
    }
    text = exchange_text(url, json.dumps({"records": [PAYMENT]}), json.dumps(answer, separators=(",", ":")))
    assert all(len(line) <= 80 for line in text.splitlines())
    asked, answered = text.split("Ask it:\n")[1].split("\nIt answers:\n")
    words = shlex.split(asked)
    assert ["curl", "-s", url] == words[:3]
    assert {"records": [PAYMENT]} == json.loads(words[-1])
    assert answer == json.loads(answered)


def test_the_note_of_a_temporary_server_fits_80_columns(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_URL", "")
    monkeypatch.setattr(output, "find_prefect", lambda settings: False)
    monkeypatch.setattr(output, "join_temporary_server", lambda home: "http://127.0.0.1:1/api")
    assert not output.prepare_prefect()
    said = capsys.readouterr().err
    assert "No Prefect server is running" in said
    assert all(len(line) <= 80 for line in said.splitlines())


def test_mlflow_makes_its_tables_in_silence(tmp_path):
    code = (
        "from evergreen.deployments.demo import __main__ as demo; demo._prepare()\n"
        "from evergreen.tasks.io.settings import read_settings\n"
        "from evergreen.tasks.io.setup import Stores\n"
        "print(Stores(read_settings()).registry.aliases('payments'))\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ("{}\n", "") == (done.stdout, done.stderr)
