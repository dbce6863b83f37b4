"""The contract of a source, kept by every kind: a window, its columns, clock order, nothing else."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.data.rows import fingerprint
from evergreen.tasks.core.data.times import to_positions
from evergreen.tasks.core.errors import DataError
from evergreen.tasks.data import load_parts, load_window
from evergreen.tasks.io.sources.open import open_source
from tests.support.source_kinds import CONTENT, KINDS, N, rows
from tests.support.training_data import model_config

START = pd.Timestamp("2026-01-01", tz="UTC").timestamp()
HOUR = 3600.0


@pytest.fixture(params=list(KINDS))
def lay_down(request, tmp_path):
    """Return a function that lays rows down as one kind of source and opens it."""

    def laid(frame, **sections):
        data = {"time": "at", **KINDS[request.param](frame, tmp_path, request)}
        config = model_config(data={**data, **sections.pop("data", {})}, **sections)
        return open_source(config, base=tmp_path)

    return laid


@pytest.fixture(scope="module", params=list(KINDS))
def source(request, tmp_path_factory):
    """Return a source of each kind, laid down once; nobody writes to it."""
    folder = tmp_path_factory.mktemp("rows")
    data = {"time": "at", **KINDS[request.param](rows(), folder, request)}
    return open_source(model_config(data=data), base=folder)


def test_all_rows_come_in_clock_order(source):
    read = source.read_rows()
    assert read.frame["n"].tolist() == list(range(N))
    assert read.positions.tolist() == (START + HOUR * np.arange(N)).tolist()
    assert source.clock.positions(read.frame).tolist() == read.positions.tolist()


def test_the_content_is_the_same_in_every_kind_and_every_reading(source):
    expected = fingerprint(rows()[CONTENT])
    assert [fingerprint(source.read()[CONTENT]) for _ in range(2)] == [expected] * 2


@pytest.mark.parametrize(
    ("first", "past"),
    [(0, 1), (10, 30), (10.5, 30.5), (-50, 3), (N - 2, N + 50), (-np.inf, 7), (393, np.inf), (5, 5)],
)
def test_a_window_holds_its_start_and_not_its_end(source, first, past):
    window = Window(START + HOUR * first, START + HOUR * past)
    expected = [n for n in range(N) if first <= n < past]
    read = source.read_rows(window, columns=["n", "x"])
    assert read.frame["n"].tolist() == expected
    assert len(read.positions) == len(expected)


def test_a_window_without_rows_has_columns_still(source):
    empty = source.read(Window(START - 9 * HOUR, START - HOUR), columns=["c", "n"])
    assert (len(empty), list(empty.columns)) == (0, ["c", "n"])


def test_columns_come_as_asked_for_and_no_others(source):
    assert list(source.read(columns=["y", "n"]).columns) == ["y", "n"]
    assert list(source.read(Window(end=START + HOUR), columns=["x"]).columns) == ["x"]
    assert set(CONTENT) | {"at"} <= set(source.columns())


def test_a_column_that_is_not_there_is_named_with_the_likeliest(source):
    with pytest.raises(DataError, match=r"Column 'xx' is not in .* Did you mean 'x'\?"):
        source.read(columns=["n", "xx"])


def test_a_target_that_is_not_there_is_named_before_anything_is_read(lay_down):
    with pytest.raises(DataError, match=r"Column 'z' \(data.target\) is not in"):
        lay_down(rows(), data={"target": "z"}).read()


@pytest.mark.parametrize("window", [None, Window(START + 5 * HOUR, START + 9 * HOUR)])
def test_a_row_without_a_time_is_refused_whatever_is_read(lay_down, window):
    frame = rows()
    frame.loc[17, "at"] = None
    with pytest.raises(DataError, match="Time column 'at' holds null"):
        lay_down(frame).read(window)


def test_parts_are_the_same_in_every_kind(lay_down, tmp_path):
    sections = {"evaluation": {"validation_window": "48h"}, "split": {"holdout": "24h", "purge": "2h"}}
    source = lay_down(rows(), retraining={"window": "10d"}, **sections)
    parts = load_parts(SimpleNamespace(config=source.config, base=tmp_path))
    # Evaluation: 352..399. A purge of 2 hours ends the holdout at 350; it is 24 hours long, 327..350.
    # Another ends training at 325; it is 240 hours long, 86..325.
    by_n = rows().sort_values("n")
    expected = [by_n[86:326], by_n[327:351], by_n[352:400]]
    found = [parts.training, parts.holdout, parts.evaluation]
    assert [fingerprint(part.frame[CONTENT]) for part in found] == [
        fingerprint(part[CONTENT]) for part in expected
    ]


def test_a_window_for_monitoring_comes_with_positions(lay_down, tmp_path):
    config = lay_down(rows()).config
    read = load_window(SimpleNamespace(config=config, base=tmp_path), Window(START, START + 3 * HOUR))
    assert read.frame["n"].tolist() == [0, 1, 2]
    assert to_positions(read.frame["at"], clock="timestamp").tolist() == read.positions.tolist()
