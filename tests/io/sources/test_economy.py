"""A source reads no more than it needs: what lies outside the window or the columns may even be broken."""

import tracemalloc

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.errors import DataError
from evergreen.tasks.data import load_parts
from evergreen.tasks.io.sources.open import open_source
from tests.support.source_kinds import in_chunks
from tests.support.training_data import model_config, setup_of

START = pd.Timestamp("2026-01-01", tz="UTC").timestamp()
DAY = 86400.0
N = 24 * 40


def hourly(n=N):
    frame = pd.DataFrame({"at": pd.date_range("2026-01-01", periods=n, freq="h"), "n": np.arange(n)})
    return frame.assign(x=frame["n"] / 7, y=frame["n"] % 2)


def opened(folder, **data):
    return open_source(model_config(data={"time": "at", **data}), base=folder)


def break_chunks(path, *, groups=None, columns=None):
    """Overwrite the pages of some row groups or columns; the footer stays as it was."""
    metadata = pq.ParquetFile(path).metadata
    raw = bytearray(path.read_bytes())
    for group in groups if groups is not None else range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(number)
            if columns is None or chunk.path_in_schema in columns:
                start = chunk.dictionary_page_offset or chunk.data_page_offset
                raw[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(raw)


@pytest.fixture
def parquet(tmp_path):
    path = tmp_path / "rows.parquet"
    hourly().to_parquet(path, row_group_size=96)  # ten groups of four days
    return path


def test_row_groups_outside_the_window_are_not_read(parquet, tmp_path):
    break_chunks(parquet, groups=[0, 1, 2, 3, 5, 6, 7, 8, 9])
    source = opened(tmp_path, source="rows.parquet")
    window = Window(START + 16 * DAY + 3600, START + 20 * DAY - 3600)
    assert source.read(window)["n"].tolist() == list(range(16 * 24 + 1, 20 * 24 - 1))
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        source.read()


def test_row_groups_are_skipped_by_numbers_too(tmp_path):
    path = tmp_path / "rows.parquet"
    hourly().to_parquet(path, row_group_size=96)
    break_chunks(path, groups=[0, 9])
    source = opened(tmp_path, source="rows.parquet", time="n", clock="rows")
    assert len(source.read(Window(200, 300))) == 100


def test_columns_nobody_asked_for_are_not_read(parquet, tmp_path):
    break_chunks(parquet, columns=["x"])
    source = opened(tmp_path, source="rows.parquet")
    assert source.read(columns=["n"])["n"].tolist() == list(range(N))
    with pytest.raises(DataError):
        source.read(columns=["x"])


def test_a_split_by_time_reads_features_of_its_window_only(parquet, tmp_path):
    # Training is 10 days, holdout 2, evaluation 2: the features of the first 26 of 40 days are never touched.
    break_chunks(parquet, groups=[0, 1, 2, 3, 4, 5], columns=["x", "n"])
    config = model_config(
        data={"time": "at", "source": "rows.parquet"},
        evaluation={"validation_window": "2d"},
        retraining={"window": "10d"},
        split={"holdout": "2d"},
    )
    parts = load_parts(setup_of(config, tmp_path))
    assert len(parts.training) == 240


def test_excluded_columns_are_not_read(parquet, tmp_path):
    break_chunks(parquet, columns=["x"])
    config = model_config(data={"time": "at", "source": "rows.parquet", "exclude": ["x"]})
    assert list(load_parts(setup_of(config, tmp_path)).training.frame.columns) == ["at", "n", "y"]


@pytest.fixture
def poisoned(tmp_path):
    """A view in which reading `x` before the 20th day, or `poison` anywhere, is an error of the database."""
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'rows.db'}")
    hourly().to_sql("hours", engine, index=False)
    view = """CREATE VIEW poisoned AS SELECT "at", n, y, json('{') AS poison,
              CASE WHEN "at" < '2026-01-20' THEN json('{') ELSE x END AS x FROM hours"""
    with engine.begin() as connection:
        connection.execute(sa.text(view))
    engine.dispose()
    return {"source": "sqlite:///rows.db", "table": "poisoned"}


def test_a_database_is_asked_for_the_window_and_the_columns_only(poisoned, tmp_path):
    source = opened(tmp_path, **poisoned)
    read = source.read(Window(START + 25 * DAY, START + 26 * DAY), columns=["n", "x"])
    assert read["n"].tolist() == list(range(25 * 24, 26 * 24))
    with pytest.raises(DataError, match="malformed JSON"):
        source.read(columns=["x"])
    with pytest.raises(DataError, match="malformed JSON"):
        source.read(Window(START + 25 * DAY), columns=["poison"])


def test_a_query_is_narrowed_like_a_table(poisoned, tmp_path):
    source = opened(tmp_path, source=poisoned["source"], query="SELECT * FROM poisoned")
    assert len(source.read(Window(START + 25 * DAY, START + 26 * DAY), columns=["n", "x"])) == 24


def peak_of(read):
    tracemalloc.start()
    read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_of_a_large_csv_no_more_than_a_window_and_a_chunk_is_held(tmp_path):
    hourly(50_000).to_csv(tmp_path / "rows.csv", index=False)
    source = in_chunks(opened(tmp_path, source="rows.csv", time="n", clock="rows"), 1_000)
    window = Window(10_000, 11_000)
    source.read(window, columns=["n"])
    small, whole = peak_of(lambda: source.read(window)), peak_of(source.read)
    assert small < whole / 4


def test_a_function_is_given_the_window_and_the_columns(tmp_path, monkeypatch):
    asked = []

    def give(start, end, columns):
        asked.append((start, end, columns))
        frame = hourly(48)
        return frame if columns is None else frame[columns]

    monkeypatch.setattr("tests.support.source_kinds.give", give, raising=False)
    source = opened(tmp_path, source="tests.support.source_kinds:give")
    assert len(source.read(Window(START, START + 3600 * 5), columns=["x"])) == 5
    assert asked[-1] == (START, START + 3600 * 5, ["x", "at"])
    source.read(Window(end=START))
    assert asked[-1] == (None, START, ["at", "n", "x", "y"])


def test_a_function_without_a_window_is_asked_once(tmp_path, monkeypatch):
    calls = []

    def give():
        calls.append(1)
        return hourly(48)

    monkeypatch.setattr("tests.support.source_kinds.give", give, raising=False)
    source = opened(tmp_path, source="tests.support.source_kinds:give")
    assert (len(source.read()), len(source.read(Window(START, START + 3600)))) == (48, 1)
    assert len(calls) == 1
