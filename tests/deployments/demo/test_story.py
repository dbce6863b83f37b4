import pkgutil

import pandas as pd
import pytest
import yaml

from evergreen.deployments.config_docs import CONFIG_DIR
from evergreen.deployments.demo.__main__ import PAYMENT, STORY
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
