"""What a look says, in the ledger and in full, and how both looks at a window become one."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.drift.types import DriftKind, Level, Phase
from evergreen.tasks.core.monitoring.window_result import MOST_MOVED, WindowResult, merge_results
from evergreen.tasks.core.serial import to_plain
from evergreen.tasks.core.verdict import Reason
from tests.support.monitoring import insufficient, measure, moved, performance, verdict


def looked(phase=Phase.INPUTS, *, start=0.0, kinds=None, **options):
    if kinds is None:
        kinds = [verdict(kind) for kind in phase.kinds]
    place = Window(start, start + 10.0)
    return WindowResult(window=place, phase=phase, version=2, rows=50, kinds=tuple(kinds), **options)


def plain(phase=Phase.INPUTS, **options):
    return looked(phase, **options).to_dict(clock="seconds")


def test_a_look_is_as_grave_as_its_gravest_kind():
    assert Level.QUIET is looked().level
    assert Level.QUIET is looked(kinds=[insufficient(DriftKind.DATA, 3), verdict(DriftKind.PREDICTION)]).level
    assert Level.DRIFT is looked(kinds=[verdict(DriftKind.DATA, moved("x"))]).level
    assert Level.INSUFFICIENT is looked(kinds=[]).level


def test_an_entry_names_few_columns_and_counts_them_and_the_full_form_has_all():
    kinds = [verdict(DriftKind.DATA, *(moved(f"x{n}") for n in range(MOST_MOVED + 5)))]
    one = looked(kinds=kinds, columns=(measure("x0", 0.3),))
    entry, full = one.to_entry(clock="seconds"), one.to_dict(clock="seconds")
    assert (MOST_MOVED, MOST_MOVED + 5) == (
        len(entry["kinds"]["data"]["moved"]),
        entry["kinds"]["data"]["moved_columns"],
    )
    assert MOST_MOVED + 5 == len(full["kinds"]["data"]["moved"])
    assert "columns" not in entry
    assert ["x0"] == [column["column"] for column in full["columns"]]


def test_exact_positions_and_their_text_are_both_there():
    place = Window(1740787200.0, 1740790800.0)
    one = WindowResult(window=place, phase=Phase.INPUTS, version=1, rows=0, kinds=())
    entry = one.to_entry(clock="timestamp")
    assert (place.start, place.end) == (entry["start"], entry["end"])
    assert ("2025-03-01T00:00:00+00:00", "2025-03-01T01:00:00+00:00") == (entry["from"], entry["to"])


numbers = st.floats(allow_nan=True, allow_infinity=True)
values = st.recursive(
    numbers | st.integers() | st.text(max_size=3) | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(values)
def test_whatever_is_said_is_valid_json(value):
    json.dumps(to_plain(value), allow_nan=False)


@given(values)
def test_what_json_can_say_stays_as_it_is(value):
    once = to_plain(value)
    assert once == to_plain(once)


def test_numbers_that_json_cannot_say_are_null():
    assert {"a": [None, None, 1.5], "b": None} == to_plain({"a": (math.inf, math.nan, 1.5), "b": -math.inf})


def test_both_looks_at_a_window_are_one_with_rows_and_labels():
    outcomes = WindowResult(
        window=Window(0.0, 10.0),
        phase=Phase.OUTCOMES,
        version=2,
        rows=30,
        kinds=tuple(verdict(kind) for kind in Phase.OUTCOMES.kinds),
    ).to_dict(clock="seconds")
    for order in ([plain(), outcomes], [outcomes, plain()]):
        (merged,) = merge_results(order)
        assert (50, 30) == (merged["n"], merged["labelled"])
        assert [kind.value for kind in DriftKind] == list(merged["verdicts"])


def test_a_kind_whose_time_has_not_come_is_absent():
    (merged,) = merge_results([plain()])
    assert ["data", "prediction"] == list(merged["verdicts"])
    assert (50, None) == (merged["n"], merged["labelled"])


def test_windows_are_told_in_clock_order():
    merged = merge_results(
        [plain(start=20.0), plain(Phase.OUTCOMES, start=0.0), plain(start=0.0), plain(start=10.0)]
    )
    assert [0.0, 10.0, 20.0] == [one["start"] for one in merged]


def test_measured_performance_goes_before_an_estimated_one():
    inputs = plain(performance=performance(0.8, estimated=True))
    (merged,) = merge_results([inputs, plain(Phase.OUTCOMES, performance=performance(0.7))])
    assert (0.7, False) == (merged["performance"]["value"], merged["performance"]["estimated"])
    (merged,) = merge_results([inputs, plain(Phase.OUTCOMES)])
    assert (0.8, True) == (merged["performance"]["value"], merged["performance"]["estimated"])


def test_notes_and_changes_of_both_looks_are_kept():
    note = Reason(code="late_labels", message="3 labels came late.")
    change = {
        "kind": "data",
        "column": "x",
        "signal": "location",
        "change": "opened",
        "effect": 0.2,
        "since": 0.0,
    }
    (merged,) = merge_results([plain(changes=(change,)), plain(Phase.OUTCOMES, notes=(note,))])
    assert ([change], ["late_labels"]) == (merged["changes"], [one["code"] for one in merged["notes"]])


def test_a_look_merged_from_the_ledger_has_no_distances():
    (merged,) = merge_results([looked(columns=(measure("x", 0.3),)).to_entry(clock="seconds")])
    assert [] == merged["columns"]
