"""The interactive page of a replay: what it shows, that it opens offline, and that a browser draws it."""

import re
from html.parser import HTMLParser

import pytest

from evergreen.tasks.core.reports.replay_summary import ReplayDocument
from evergreen.tasks.core.verdict import State
from evergreen.tasks.io.compare_files import write_page
from evergreen.tasks.io.replay_pareto import Panel, Point, _box, _labels, _meet, draw_replay_page
from evergreen.tasks.io.replay_plots import value_range
from tests.support.replays import (
    NOTE,
    hold_decision,
    policy,
    replay_document,
    search_document,
    start_decision,
    usual_document,
)
from tests.support.servers import browser_page

NAN = float("nan")
PLOTS = ["metric-over-time", "gain-over-time", "quality-against-retrainings"]


class Reader(HTMLParser):
    """Gathers addresses that tags ask for, tags, and the text outside of scripts."""

    def __init__(self):
        super().__init__()
        self.addresses, self.tags, self.words, self.inside = [], [], [], None

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [
            value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")
        ]
        self.inside = tag if tag in ("script", "style") else self.inside

    def handle_endtag(self, tag):
        self.inside = None if tag == self.inside else self.inside

    def handle_data(self, data):
        if self.inside is None:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def read(page):
    reader = Reader()
    reader.feed(page)
    return reader


def drawn(page):
    """Return the pieces of script that draw a plot."""
    _, *plots = page.split('<div class="plot">')
    return [plot.split("</script>")[0] for plot in "".join(plots).split("Plotly.newPlot(")[1:]]


@pytest.fixture(scope="module")
def page():
    return draw_replay_page(usual_document(notes=[NOTE]), search=search_document())


@pytest.fixture(scope="module")
def reader(page):
    return read(page)


def test_the_page_is_one_file_that_asks_no_server(page, reader):
    assert [] == reader.addresses
    assert not {"link", "img", "iframe"} & set(reader.tags)
    assert "cdn.plot.ly/plotly" not in page
    assert 1 == page.count("plotly.js v")
    assert "@import" not in page.split("plotly.js v")[0]
    ours = "".join(drawn(page))
    assert not re.findall(r"https?://", ours)


def test_the_page_says_what_the_summary_says(reader):
    assert (
        "The best of 3 policies by mean roc_auc (higher is better): every, 0.85 with 4 retrainings."
        in reader.text
    )
    assert "beats every policy on accuracy" in reader.text
    assert NOTE.message in reader.text
    assert "same as last label" in reader.text


def test_each_governed_policy_has_its_decisions_folded_up(reader):
    assert 1 == reader.tags.count("details")
    assert "configured: 2 retrainings, 1 promoted, 1 refused, 1 alarm" in reader.text
    assert "ChampionKept (version 2)" in reader.text


def test_the_search_shows_its_plot_and_the_lines_to_paste(page, reader):
    assert [*PLOTS, "search"] == re.findall(r'<div id="([a-z-]+)"', page)
    assert "retraining: every: 6d" in reader.text
    assert 2 == reader.tags.count("pre")


def test_without_a_search_there_are_three_plots():
    plain = draw_replay_page(usual_document())
    assert PLOTS == re.findall(r'<div id="([a-z-]+)"', plain)
    assert "Search for a policy" not in plain


def test_names_and_sentences_are_escaped_everywhere():
    changes = {
        0: {
            "decision": {**start_decision(), "reasons": [{"code": "x", "message": "<i>&why"}]},
            "state": State.CHAMPION_KEPT,
        }
    }
    result = replay_document(
        policy("<b>", [0.5, 0.6], decision=hold_decision(), changes=changes),
        policy("never", [0.4, 0.4]),
        model="</script><u>",
    )
    page = draw_replay_page(result)
    assert not {"b", "i", "u"} & set(read(page).tags)
    assert "<b>" not in "".join(drawn(page))
    assert "</script><u>" not in page
    assert "<i>&why" in read(page).text


@pytest.mark.parametrize("clock", ["timestamp", "seconds", "rows"])
def test_undefined_windows_are_gaps_and_counted_in_the_table(clock):
    result = replay_document(
        policy("configured", [12.0, NAN, 10.0], metric="rmse", clock=clock),
        policy("never", [NAN] * 3, metric="rmse", clock=clock),
        clock=clock,
    )
    page = draw_replay_page(result)
    assert "(1 undefined)" in read(page).text
    assert "lower is better" in read(page).text
    assert "NaN" not in "".join(drawn(page))
    assert "[12.0,null,10.0]" in "".join(drawn(page)).replace(" ", "")


def test_one_policy_without_any_value_still_makes_a_page():
    page = draw_replay_page(replay_document(policy("never", [NAN, NAN])))
    assert "No policy has a value of roc_auc in any window." in read(page).text
    assert 3 == len(drawn(page))


def test_an_empty_baseline_and_a_single_window_are_drawn():
    page = draw_replay_page(
        replay_document(policy("configured", [0.7]), baseline=policy("same_as_last", [NAN], version=0))
    )
    assert "same as last label" in read(page).text


def test_a_baseline_far_away_is_hidden_at_first_and_the_page_says_so():
    far = usual_document(baseline=policy("same_as_last", [0.1] * 4, version=0))
    near = usual_document(baseline=policy("same_as_last", [0.75] * 4, version=0))
    assert (True, False) == (
        value_range(ReplayDocument.from_dict(far))[2],
        value_range(ReplayDocument.from_dict(near))[2],
    )
    assert "lies far off" in draw_replay_page(far)
    assert "lies far off" not in draw_replay_page(near)


def test_labels_of_close_policies_cover_neither_each_other_nor_a_point():
    points = [
        Point(f"policy-{k}", 2.0 + k % 2, 0.80 + 0.001 * k, f"policy-{k}: 0.01 behind", "", None)
        for k in range(5)
    ]
    panel = Panel.around([*points, Point("far", 30.0, 0.9, "far", "", None)], width=500, height=300)
    labels = {one["text"]: one for one in _labels(points, panel, axes=("x", "y"))}
    boxes = [
        _box(
            panel.pixels(one)[0] + labels[one.label]["ax"],
            panel.pixels(one)[1] + labels[one.label]["ay"],
            7.2 * len(one.label),
            labels[one.label]["xanchor"],
        )
        for one in points
    ]
    dots = [_box(*panel.pixels(one), 0, "dot") for one in points]
    assert [] == [1 for k, one in enumerate(boxes) for other in [*boxes[:k], *dots] if _meet(one, other)]


@pytest.mark.browser
def test_a_browser_draws_the_plots_offline_without_an_error(page, tmp_path):
    path = write_page(tmp_path / "replay.html", page)
    errors, asked = [], []
    with browser_page() as tab:
        tab.on(
            "console", lambda said: errors.append(said.text) if said.type in ("error", "warning") else None
        )
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        seen = {width: look_at(tab, path, width) for width in (1200, 700)}
    assert [] == errors
    assert [path.as_uri()] * 2 == [url for url in asked if not url.startswith("data:")]
    for plots, lines, overflow, order in seen.values():
        assert 4 == plots
        assert {
            "metric-over-time": 4,
            "gain-over-time": 3,
            "quality-against-retrainings": 1,
        } == lines  # the band is one
        assert 0 == overflow
        assert ["never", "configured", "every", "same as last label"] == order


def look_at(tab, path, width):
    """Return how many plots a window of this width shows, their lines, what hangs over, and the table sorted."""
    tab.set_viewport_size({"width": width, "height": 900})
    tab.goto(path.as_uri())
    tab.wait_for_selector("#search .main-svg")
    plots = tab.locator(".js-plotly-plot").count()
    lines = {name: tab.locator(f"#{name} .scatterlayer .js-line").count() for name in PLOTS}
    overflow = tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    tab.locator("th button", has_text="retrainings").click()
    return plots, lines, overflow, tab.locator("table.sortable tbody tr td:first-child").all_inner_texts()
