"""The page and the figures of a live test: whole, escaped, offline, and right where nothing is known yet."""

import re

import numpy as np
import pytest

from evergreen.tasks.core.ab_testing.analysis import conclude
from evergreen.tasks.core.ab_testing.checks import measure_maturity
from evergreen.tasks.core.ab_testing.report import live_items, live_markdown, maturity_line
from evergreen.tasks.core.log_items import Json, Metrics, Table, Text
from evergreen.tasks.core.serial import to_plain
from evergreen.tasks.core.verdict import StageResult, State
from evergreen.tasks.io.ab_plots import draw_live_page, trace_figure
from tests.support.live_tests import DAY, live_test, look, pairs, two_arms


def judged_of(test, answered, *, now=10 * DAY):
    seen = look(test, answered, now=now)
    ended = conclude(test, seen, champion=1)
    place = np.arange(0.0, 9 * DAY, 3_600.0)
    labels = measure_maturity(place, place + DAY, now=now, length=DAY, ages=[DAY, 2 * DAY])
    details = to_plain({"look": seen.to_dict(), "maturity": labels.to_dict(), "conclusion": ended.to_dict()})
    return StageResult(state=State.LIVE_TEST_RUNNING, model="fraud", reasons=ended.reasons, details=details)


def trace(judged):
    (one,) = judged.details["look"]["challengers"]
    units = one["n_control"] + one["n_challenger"]
    point = {name: one[name] for name in ("improvement", "low", "high", "verdict")}
    return {one["variant"]: [{"at": "2026-06-01T00:00:00+00:00", "now": DAY, "n": units, **point}]}


@pytest.mark.parametrize("mode", ["arms", "paired"])
@pytest.mark.parametrize("n", [0, 2_000])
def test_a_page_shows_verdict_evidence_and_labels_and_asks_no_server(mode, n):
    rng = np.random.default_rng(0)
    test = live_test(mode, hypothesis="it is <b>better</b>")
    judged = judged_of(test, pairs(rng, n=n) if mode == "paired" else two_arms(rng, n=n))
    page = draw_live_page(test, judged, trace(judged), clock="timestamp")
    own = re.sub(r"<script>.*?</script>", "", page, count=1, flags=re.DOTALL)
    assert "it is &lt;b&gt;better&lt;/b&gt;" in own
    assert judged.details["look"]["challengers"][0]["verdict"] in own
    assert "How complete labels are" in own
    assert not re.search(r"(src|href)=[\"']https?:", own)


def test_the_markdown_names_units_split_and_labels():
    rng = np.random.default_rng(1)
    test = live_test()
    told = live_markdown(test, judged_of(test, two_arms(rng)))
    assert "| new (version 2) | superior |" in told
    assert "p of a mismatch at any time" in told
    assert "100% of the champion's predictions have an outcome" in told
    few = live_markdown(live_test("paired"), judged_of(live_test("paired"), pairs(rng, n=5)))
    assert "Paired rows: new 5 of 5" in few
    assert "Labels: no cohort" in maturity_line({"ages": [1.0], "curve": [None]})


def test_what_is_logged_are_numbers_that_are_known_the_trace_and_the_page():
    test = live_test()
    judged = judged_of(test, two_arms(np.random.default_rng(2), n=0))
    items = list(live_items(test, judged, trace(judged), page="page", html="<html>"))
    (numbers,) = [one.values for one in items if isinstance(one, Metrics)]
    assert {"new.n_control": 0.0, "new.n_challenger": 0.0, "new.log_e_value": 0.0} == numbers
    assert {"look.md", "live-test.html"} == {one.path for one in items if isinstance(one, Text)}
    assert ["look.json"] == [one.path for one in items if isinstance(one, Json)]
    assert ["trace-new.json"] == [one.path for one in items if isinstance(one, Table)]


def test_the_image_leaves_out_looks_at_which_nothing_was_known():
    points = [
        {"at": "a", "n": 0, "improvement": None, "low": None, "high": None, "verdict": "undecided"},
        {"at": "b", "n": 900, "improvement": 0.1, "low": -0.1, "high": 0.3, "verdict": "undecided"},
    ]
    figure = trace_figure(live_test(), "new", points)
    assert "plots/trace-new.png" == figure.path
    assert [900] == figure.figure.axes[0].lines[0].get_xdata().tolist()
