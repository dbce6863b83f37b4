"""Evidently's page: drawn from bounded samples, or a named reason why it was not."""

import builtins
import re

import numpy as np
import pytest

from evergreen.tasks.io.compare_files import write_page
from evergreen.tasks.io.evidently import draw_evidently_page


def sample(n=200, *, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "numeric": {"income": (rng.normal(size=n) + shift).tolist(), "secret": rng.normal(size=n).tolist()},
        "categorical": {"plan": rng.choice(["basic", "pro"], n).tolist()},
    }


def codes(page):
    return [reason.code for reason in page.reasons]


@pytest.fixture(scope="module")
def page():
    return draw_evidently_page(sample(), sample(shift=1, seed=1), private=frozenset({"secret"}))


def test_the_page_is_html_of_the_columns_that_may_be_shown(page):
    assert page.html.lstrip().startswith("<!DOCTYPE html>")
    assert "income" in page.html
    assert "secret" not in page.html
    assert ["columns_left_out"] == codes(page)


def test_the_page_asks_no_server(page):
    loaded = re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"']https?://[^\"']+", page.html)
    loaded += re.findall(r"url\([\"']?https?://[^)]*\)", page.html)
    assert [] == loaded


@pytest.mark.parametrize(
    ("reference", "current", "code"),
    [
        (None, sample(), "no_reference_sample"),
        ({"numeric": {}, "categorical": {}}, sample(), "no_rows"),
        (sample(), {"numeric": {"income": []}, "categorical": {}}, "no_rows"),
        (sample(), {"numeric": {"other": [1.0]}, "categorical": {}}, "no_common_column"),
    ],
)
def test_where_there_is_nothing_to_draw_the_reason_is_named(reference, current, code):
    drawn = draw_evidently_page(reference, current)
    assert (None, code) == (drawn.html, codes(drawn)[0])


@pytest.mark.parametrize(
    "bad",
    [
        {"numeric": {"income": [None] * 50, "secret": [1.0] * 50}, "categorical": {"plan": ["basic"] * 50}},
        {"numeric": {"income": [1.0], "secret": [None]}, "categorical": {"plan": ["never seen"]}},
        {"numeric": {"income": [1.0, None]}, "categorical": {}},
    ],
    ids=["all null and constant", "one row, a new category", "lost columns"],
)
def test_odd_windows_never_fail(bad):
    drawn = draw_evidently_page(sample(), bad)
    assert drawn.html is not None or "evidently_failed" in codes(drawn)
    assert "columns_left_out" in codes(drawn)


def test_a_failure_of_evidently_is_a_reason_and_no_failure_of_ours(monkeypatch):
    real = builtins.__import__

    def broken(name, *args, **kwargs):
        if name.partition(".")[0] == "evidently":
            raise ImportError("evidently is broken here")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", broken)
    drawn = draw_evidently_page(sample(), sample())
    assert (None, ["evidently_failed"]) == (drawn.html, codes(drawn))
    assert "ImportError: evidently is broken here" in drawn.reasons[0].message


def test_a_page_is_written_where_it_should_be(tmp_path):
    path = write_page(tmp_path / "pages" / "drift.html", "<p>ü</p>")
    assert "<p>ü</p>" == path.read_text(encoding="utf-8")
