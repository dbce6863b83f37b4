"""Evergreen's drift page: what it says, what it must never show, and that it opens anywhere."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evergreen.tasks.core.drift.types import DriftKind, Level
from evergreen.tasks.core.profiles.grid import make_grid
from evergreen.tasks.core.profiles.profile import measure_profile
from evergreen.tasks.core.reports.charts import MOST_CELLS, Axis, pool
from evergreen.tasks.core.reports.drift_charts import (
    MOST_COLUMNS,
    cells_of,
    column_figure,
    heat_map,
    map_columns,
    performance_chart,
    performance_picture,
    round_values,
    side_shares,
)
from evergreen.tasks.core.reports.drift_page import (
    advice,
    drift_page,
    headline,
    insufficient_rows,
    limit_rows,
    signal_words,
)
from tests.support.monitoring import (
    example_windows,
    insufficient,
    measure,
    monitored_model,
    moved,
    performance,
    profiles,
    verdict,
    window,
)

DATA, PERFORMANCE, CONCEPT = DriftKind.DATA, DriftKind.PERFORMANCE, DriftKind.CONCEPT
VOID = {"meta", "br", "img", "path", "rect", "circle"}


class Balance(HTMLParser):
    """Counts what is opened and not closed."""

    def __init__(self):
        super().__init__()
        self.open, self.wrong = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if tag not in VOID and (not self.open or self.open.pop() != tag):
            self.wrong.append(tag)


def well_formed(page):
    parser = Balance()
    parser.feed(page)
    return parser.wrong == [] and parser.open == []


def drawings(page):
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, flags=re.S)]


def titles(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter("title")]


def data_windows(*moves_of_windows):
    """Return windows of data drift alone, each with its moves."""
    return [window(place, verdicts=[verdict(DATA, *moves)]) for place, moves in enumerate(moves_of_windows)]


def test_a_page_is_one_file_that_asks_no_server_and_runs_no_script():
    page = drift_page(monitored_model(8, 40))
    addresses = re.findall(r"https?://[^\"' )]+", page)
    assert [] == addresses
    for word in ("<script", "<link", "@import", "src="):
        assert word not in page
    assert {"url(#void)"} == set(re.findall(r"url\([^)]*\)", page))


@pytest.mark.parametrize(("features", "windows"), [(3, 1), (3, 300), (60, 60), (1, 2)])
def test_pages_are_well_formed_from_one_window_to_hundreds(features, windows):
    page = drift_page(monitored_model(features, windows))
    assert well_formed(page)
    assert len(drawings(page)) >= 2


def test_thirty_columns_over_two_hundred_windows_stay_below_a_megabyte():
    assert len(drift_page(monitored_model(30, 200)).encode()) < 1_000_000


def test_even_noise_in_every_cell_stays_below_a_megabyte():
    psi = (0.01, 0.06, 0.2, 0.4)
    told = [
        window(
            place,
            verdicts=[verdict(DATA, *(moved(f"c{k}", alarm=False) for k in range(30) if (k + place) % 2))],
            columns=[measure(f"c{k}", psi[(k + place) % 4]) for k in range(30)],
        )
        for place in range(200)
    ]
    assert len(drift_page(monitored_model(told=told)).encode()) < 2_000_000
    quiet = [{**one, "moved": []} for one in told]
    assert len(drift_page(monitored_model(told=quiet)).encode()) < 1_000_000


def test_a_page_without_windows_says_so():
    page = drift_page(monitored_model(told=[]))
    assert "No window was checked." in page
    assert "InsufficientData" in page


def test_names_from_the_data_are_escaped_everywhere():
    name = "<b>&\"'x"
    told = [
        window(
            place,
            verdicts=[verdict(DATA, moved(name))],
            columns=[measure(name, 0.3)],
            performance=performance(0.7),
        )
        for place in range(3)
    ]
    page = drift_page(monitored_model(told=told))
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;" in page
    assert well_formed(page)


def test_the_headline_names_what_moved_since_when_and_the_loss_of_performance():
    said = headline(monitored_model(6, 60))
    assert "amount_0 moved since 2024-03-02 18:00 (inputs, drift); roc_auc 0." in said
    assert said.endswith("worse since 2024-03-02 21:00.")


def test_quiet_windows_ask_for_nothing():
    calm = monitored_model(told=data_windows([], []))
    assert ("Nothing moved beyond chance in the newest of 2 windows.", "Nothing to do.") == (
        headline(calm),
        advice(calm),
    )


def test_a_warning_asks_to_wait_and_a_drift_of_inputs_to_look_at_their_source():
    warned = monitored_model(told=data_windows([], [moved("age", alarm=False)]))
    assert Level.WARNING is warned.level
    assert "next windows decide" in advice(warned)
    adrift = monitored_model(told=data_windows([moved("age")], [moved("age")]))
    assert "source of what moved" in advice(adrift)
    assert "Performance has held" not in advice(adrift)


@pytest.mark.parametrize(
    ("kind", "word"), [(PERFORMANCE, "worse than it was"), (CONCEPT, "labels are still made")]
)
def test_lost_performance_asks_for_training_and_a_new_link_for_a_look_at_the_labels(kind, word):
    adrift = monitored_model(
        told=[window(0, verdicts=[verdict(kind, moved("x", kind))], performance=performance(0.7))]
    )
    assert word in advice(adrift)
    assert "evergreen retrain tested" in advice(adrift)


def test_late_labels_leave_the_newest_judged_level_standing():
    told = [
        window(0, verdicts=[verdict(DATA), verdict(PERFORMANCE, moved("roc_auc", PERFORMANCE))]),
        window(1, verdicts=[verdict(DATA)]),
    ]
    seen = monitored_model(told=told)
    assert {DATA: Level.QUIET, PERFORMANCE: Level.DRIFT} == seen.now
    assert Level.DRIFT is seen.level


def test_an_insufficient_window_neither_ends_nor_makes_a_move():
    told = data_windows([moved("age")], [], [moved("age")])
    told[1] = window(1, verdicts=[insufficient(DATA, 12)])
    (move,) = monitored_model(told=told).moves
    assert (0, 2, True) == (move.first, move.last, move.alarm)
    assert Level.DRIFT is monitored_model(told=told[:2]).level


def test_a_move_that_paused_is_two_moves_and_only_the_last_goes_on():
    seen = monitored_model(told=data_windows([moved("age")], [], [moved("age", alarm=False)]))
    assert [(2, 2, False), (0, 0, True)] == [(move.first, move.last, move.alarm) for move in seen.moves]
    assert [2] == [move.first for move in seen.current]


def test_windows_that_could_not_be_judged_are_counted_by_reason_newest_first():
    told = [
        window(0, verdicts=[insufficient(DATA, 12)]),
        window(1, verdicts=[insufficient(DATA, 12)]),
        window(2, verdicts=[verdict(DATA), insufficient(CONCEPT, 3)]),
    ]
    rows = insufficient_rows(told)
    assert [("concept", 1), ("data", 2)] == [(kind, number) for kind, _, _, number in rows]
    assert "2024-03-01 01:00" == rows[1][2]


def test_nothing_judged_is_said_with_what_would_do():
    said = headline(monitored_model(told=[window(0, verdicts=[insufficient(DATA, 12)])]))
    assert "No window could be judged. 12 rows are too few to judge data drift by; 100 would do." == said


def test_private_columns_show_no_value_and_no_category():
    private = ("amount_0", "plan_3")
    told = example_windows(6, 10)
    for one in told[-4:]:
        share = moved("plan_3", signal="share:basic", effect=0.4)
        one["verdicts"]["data"], one["moved"] = "drift", [*one["moved"], share.to_dict()]
    open_page, closed = (
        drift_page(monitored_model(6, told=told)),
        drift_page(monitored_model(6, told=told, private=private)),
    )
    assert "share of basic" in open_page
    assert ">basic<" in open_page
    for text in ("basic", "plus", "≥", " – "):
        assert text not in closed.split("<body>")[1].replace("surplus", "")
    assert "group 1" in closed


def test_a_numbered_group_of_numbers_is_named_by_its_interval():
    told = [window(0, verdicts=[verdict(DATA, moved("amount_0", signal="share:9", effect=0.2))])]
    seen = monitored_model(6, told=told)
    grid = seen.profiles[0][0].grid.columns["amount_0"]
    assert f"share of ≥ {grid.edges[grid.cuts[8] - 1]:.4g}" == signal_words(seen, seen.moves[0])
    assert "share of 9" == signal_words(replace(seen, profiles=()), seen.moves[0])
    hidden = monitored_model(6, told=told, private=("amount_0",))
    assert "share of one group" == signal_words(hidden, hidden.moves[0])


def test_numbers_that_are_not_known_are_drawn_nowhere():
    unknown = {**performance(0.7), "low": float("nan"), "high": float("nan"), "reference": float("nan")}
    told = [window(place, verdicts=[verdict(DATA)], performance=unknown) for place in range(3)]
    assert "nan" not in performance_chart(told)
    assert "roc_auc 0.7" in drift_page(monitored_model(told=told))


def test_a_cell_is_void_only_where_nothing_could_be_judged():
    told = [
        window(0, verdicts=[insufficient(DATA, 5)], columns=[measure("age", None)]),
        window(1, verdicts=[verdict(DATA)], columns=[measure("age", 0.3)]),
        window(2, verdicts=[verdict(DATA, moved("age"))], columns=[measure("age", 0.07)]),
        window(3, verdicts=[verdict(DATA)], columns=[]),
        window(4, verdicts=[verdict(DATA)], columns=[measure("age", float("nan"))]),
    ]
    cells = cells_of(monitored_model(told=told), "age")
    assert [("void", ""), ("s3", ""), ("s1", "alarm"), ("none", ""), ("void", "")] == [
        (cell.shade, cell.mark) for cell in cells
    ]


@given(st.floats(0, 2))
@settings(max_examples=60, deadline=None)
def test_shades_follow_the_configured_levels(psi):
    told = [window(0, verdicts=[verdict(DATA)], columns=[measure("age", psi)])]
    expected = sum(psi >= edge for edge in (0.05, 0.1, 0.25, 0.5))
    assert f"s{expected}" == cells_of(monitored_model(told=told), "age")[0].shade


def test_a_psi_that_chance_explains_has_no_shade():
    small = [{**measure("age", 0.3), "psi_chance": 0.35}, {**measure("sex", 0.3), "psi_chance": 0.2}]
    seen = monitored_model(told=[window(0, verdicts=[verdict(DATA)], columns=small)])
    assert ["s0", "s3"] == [cells_of(seen, name)[0].shade for name in ("age", "sex")]
    assert "age: 2024-03-01 to 2024-03-01 01:00 (1 window), PSI 0.3" in titles(heat_map(seen))


def test_what_moves_stands_first_on_the_map_and_sixty_columns_are_enough():
    seen = monitored_model(80, 12)
    names = map_columns(seen)
    assert {move.column for move in seen.current if move.kind is DATA} == set(names[:8])
    rows = ElementTree.fromstring(heat_map(seen)).findall("{*}text[@class='name']")
    now = ElementTree.fromstring(heat_map(seen)).findall("{*}text[@class='name now']")
    assert MOST_COLUMNS == len(rows) + len(now)
    assert "The 60 that moved most of 80 are shown." in drift_page(seen)


def test_alarms_are_framed_and_titled_with_their_span():
    told = data_windows([], [moved("age", alarm=False)], [moved("age")], [moved("age")])
    said = [title for title in titles(heat_map(monitored_model(told=told))) if "alarm" in title]
    assert ["age: 2024-03-01 02:00 to 2024-03-01 04:00 (2 windows), alarm"] == said


@given(st.integers(1, 2000))
@settings(max_examples=50, deadline=None)
def test_every_window_has_a_place_and_none_has_two(n):
    cells = min(n, MOST_CELLS)
    groups = pool(list(range(n)), cells)
    assert list(range(n)) == [value for group in groups for value in group]
    assert all(groups)


def test_beyond_three_hundred_windows_a_cell_shows_its_worst():
    told = data_windows(*([[]] * 900))
    told[450] = window(450, verdicts=[verdict(DATA, moved("age"))])
    framed = [
        title
        for title in titles(heat_map(monitored_model(told=told)))
        if title.startswith("age") and "alarm" in title
    ]
    assert 1 == len(framed)
    assert "(3 windows)" in framed[0]


def test_an_estimate_is_drawn_apart_from_what_was_measured():
    told = [
        window(place, verdicts=[verdict(DATA)], performance=performance(0.7, estimated=place > 1))
        for place in range(4)
    ]
    said = titles(performance_chart(told))
    assert 2 == sum("estimated without labels" in title for title in said)
    assert 2 == performance_chart(told).count('class="guess dot"')


def test_another_champion_is_marked_where_it_first_answers_with_its_own_reference():
    told = [
        window(
            place,
            verdicts=[verdict(DATA)],
            performance=performance(0.7, reference=0.7 + (place > 1)),
            version=1 + (place > 1),
        )
        for place in range(4)
    ]
    promotions = [{"version": 2, "at": "2024-03-02T09:00:00+00:00", "kind": "promotion"}]
    said = titles(performance_chart(told, promotions))
    assert ["version 2: promotion 2024-03-02 09:00"] == [title for title in said if "version" in title]
    assert ["reference 0.7", "reference 1.7"] == [title for title in said if "reference" in title]


def test_an_alarm_is_marked_where_it_opens():
    told = data_windows([], [moved("age")], [moved("age")], [], [moved("sex")])
    for place, one in enumerate(told):
        changes = {1: ("age", "opened"), 2: ("age", "worsened"), 3: ("age", "resolved"), 4: ("sex", "opened")}
        names = dict(zip(("column", "change"), changes.get(place, ()), strict=False))
        one |= {"performance": performance(0.7), "changes": [{"kind": "data", **names}] if names else []}
    drawn = performance_chart(told)
    assert 2 == drawn.count('class="begin"')
    assert "2024-03-01 04:00: alarm of sex (data) opened" in titles(drawn)


def test_windows_whose_performance_is_adrift_are_shaded_and_only_these():
    told = [
        window(
            place,
            verdicts=[
                verdict(DATA, moved("age")),
                verdict(PERFORMANCE, *([moved("auc", PERFORMANCE)] if place in (2, 3) else [])),
            ],
            performance=performance(0.7),
        )
        for place in range(6)
    ]
    drawn = performance_chart(told)
    assert 1 == drawn.count('class="drifted"')
    assert "performance drifted since 2024-03-01 02:00" in titles(drawn)


@pytest.mark.parametrize(("value", "said"), [(0.77, "has held"), (0.6, "23% worse than its reference")])
def test_a_performance_that_fell_within_its_limit_is_not_said_to_have_held(value, said):
    told = [
        window(
            0, verdicts=[verdict(DATA, moved("age")), verdict(PERFORMANCE)], performance=performance(value)
        )
    ]
    assert said in advice(monitored_model(told=told))


def test_an_outcome_that_is_not_known_yet_has_no_figure():
    grid = make_grid(pd.DataFrame({"@outcome": np.arange(100.0)}), categorical=frozenset())
    rows = (np.arange(100.0), [np.nan] * 5)
    sides = tuple(measure_profile(pd.DataFrame({"@outcome": one}), grid) for one in rows)
    assert "" == column_figure(replace(monitored_model(), profiles=(sides,)), "@outcome")


def test_what_is_said_of_the_limits_replaces_the_rule_of_that_name():
    rows = limit_rows(replace(monitored_model(), limits={"Budget": "two"}))
    assert ["two"] == [value for name, value in rows if name == "Budget"]


def test_without_a_performance_there_is_no_chart_and_the_page_says_why():
    told = data_windows([], [])
    assert "" == performance_chart(told)
    assert "No window has a performance yet" in drift_page(monitored_model(told=told))
    assert "no window has a performance" in performance_picture(told, title="elec2")


def test_a_picture_is_a_file_of_its_own():
    root = ElementTree.fromstring(performance_picture(example_windows(3, 40), title="elec2 & co"))
    assert "{http://www.w3.org/2000/svg}svg" == root.tag
    assert "prefers-color-scheme:dark" in root.find("{*}style").text


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
@settings(max_examples=100, deadline=None)
def test_round_values_lie_inside_and_are_few(low, width):
    values = round_values(low, low + width)
    assert 4 <= len(values) <= 11
    assert all(low - 1e-6 <= value <= low + width + 1e-6 for value in values)


def test_shares_of_a_column_sum_to_one_and_are_those_of_the_profiles():
    reference, current = profiles(8)
    for column in ("amount_0", "plan_3"):
        grid = reference.grid.columns[column]
        shares = side_shares(grid, reference.columns[column], current.columns[column], hidden=False)
        assert [1.0, 1.0] == pytest.approx([sum(shares.reference), sum(shares.current)])
    basic = grid.categories.index("basic")
    assert reference.columns["plan_3"].counts[basic] / 4000 == shares.reference[shares.labels.index("basic")]


def test_a_column_without_profiles_has_no_figure():
    assert "" == column_figure(monitored_model(8, 4), "@loss")


def figure_of(values):
    """Return the figure of a window of a column ``x`` whose reference is 0 … 99."""
    grid = make_grid(pd.DataFrame({"x": np.arange(100.0)}), categorical=frozenset())
    sides = [measure_profile(pd.DataFrame({"x": rows}), grid) for rows in (np.arange(100.0), values)]
    return column_figure(replace(monitored_model(), profiles=(tuple(sides),)), "x")


def test_a_figure_says_what_is_missing_on_either_side():
    assert "Missing: 0.0% in the reference, 50.0% now." in figure_of([1.0, None, 3.0, None])


def test_a_window_without_any_value_is_drawn_all_the_same():
    figure = figure_of([np.nan] * 5)
    assert "100.0% now" in figure
    assert well_formed(figure)


def test_the_axis_says_which_windows_a_mark_covers():
    told = data_windows(*([[]] * 10))
    assert "2024-03-01 02:00 to 2024-03-01 05:00 (3 windows)" == Axis.over(told).span(told, 2, 5)
