"""What single kinds of source must get right: types across chunks, row order, secrets, servers that do not answer."""

import warnings

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.errors import ConfigError, DataError, InputError, Unreachable
from evergreen.tasks.data import load_parts
from evergreen.tasks.io.sources.open import open_source
from tests.support.source_kinds import in_chunks
from tests.support.stores import create_database
from tests.support.training_data import model_config, setup_of

START = pd.Timestamp("2026-01-01", tz="UTC").timestamp()


def opened(folder, **data):
    return open_source(model_config(data=data), base=folder)


def csv(folder, text, **data):
    (folder / "rows.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return opened(folder, **{"source": "rows.csv", **data})


def test_a_column_with_text_anywhere_is_text_in_every_window(tmp_path):
    codes = [str(n % 3) for n in range(40)] + ["A"]
    text = "t,code,y\n" + "".join(f"{n},{code},{n % 2}\n" for n, code in enumerate(codes))
    source = in_chunks(csv(tmp_path, text, time="t", clock="rows"), 10)
    assert source.read(Window(0, 4))["code"].tolist() == ["0", "1", "2", "0"]
    assert set(map(type, source.read()["code"])) == {str}


def test_a_column_without_values_in_some_chunk_keeps_its_type(tmp_path):
    frame = pd.DataFrame({"t": np.arange(40), "text": ["u"] * 10 + [None] * 20 + ["v"] * 10, "y": 0})
    frame["flag"] = [None] * 10 + [True, False] * 15
    frame["number"] = [1] * 10 + [None] * 20 + [2] * 10
    source = in_chunks(csv(tmp_path, frame.to_csv(index=False), time="t", clock="rows"), 10)
    read = source.read()
    assert read["text"].fillna("").tolist() == ["u"] * 10 + [""] * 20 + ["v"] * 10
    assert read["flag"].dropna().unique().tolist() == [True, False]
    assert read["number"].sum() == 30


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_and_a_byte_order_mark_are_read_from_the_file(tmp_path, delimiter):
    text = "\ufeff" + delimiter.join(["a", "y"]) + "\n" + delimiter.join(["1", "0"]) + "\n"
    assert csv(tmp_path, text).read().to_dict("list") == {"a": [1], "y": [0]}


def test_a_quoted_header_may_hold_delimiters(tmp_path):
    assert csv(tmp_path, '"a;b;c",y\n"1,5",0\n').read().to_dict("list") == {"a;b;c": ["1,5"], "y": [0]}


def test_quoted_values_may_hold_delimiters_and_line_ends_after_a_space(tmp_path):
    text = 'a,b,y\n"u, v", "x, z",0\n"two\nlines",w,1\n\ntrailing,w,1,\n'
    read = csv(tmp_path, text).read()
    assert read["a"].tolist() == ["u, v", "two\nlines", "trailing"]
    assert read["b"].tolist() == ["x, z", "w", "w"]


def test_common_marks_of_a_missing_value_are_null(tmp_path):
    read = csv(tmp_path, "a,b,y\n?, x,0\n1, ?,1\n,NA,1\n").read()
    assert read["a"].fillna(-1).tolist() == [-1, 1, -1]
    assert read["b"].fillna("null").tolist() == ["x", "null", "null"]


def test_numbers_are_read_to_the_last_digit(tmp_path):
    values = np.random.default_rng(0).normal(size=200)
    text = "a,y\n" + "".join(f"{value!r},0\n" for value in values.tolist())
    assert csv(tmp_path, text).read()["a"].tolist() == values.tolist()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_rows_may_be_counted_as_they_stand(tmp_path, ending):
    frame = pd.DataFrame({"x": np.arange(95), "y": 0})
    if ending == "csv":
        frame[:50].to_csv(tmp_path / "a.csv", index=False)
        frame[50:].to_csv(tmp_path / "b.csv", index=False)
    else:
        frame[:50].to_parquet(tmp_path / "a.parquet", row_group_size=20)
        frame[50:].to_parquet(tmp_path / "b.parquet", row_group_size=20)
    source = opened(tmp_path, source=f"*.{ending}", clock="rows")
    source = in_chunks(source, 10) if ending == "csv" else source
    read = source.read_rows(Window(45, 60))
    assert read.frame["x"].tolist() == read.positions.tolist() == list(range(45, 60))
    assert source.clock.positions(read.frame).tolist() == list(range(45, 60))


def test_rows_counted_as_they_stand_are_split_by_their_order(tmp_path):
    pd.DataFrame({"x": np.arange(100), "y": np.arange(100) % 2}).to_csv(tmp_path / "rows.csv", index=False)
    config = model_config(data={"clock": "rows"}, evaluation={"validation_window": "20 rows"})
    parts = load_parts(setup_of(config, tmp_path), until="90")
    assert parts.evaluation.frame["x"].tolist() == list(range(70, 90))


def test_a_python_source_may_count_its_rows(tmp_path, monkeypatch):
    frames = [pd.DataFrame({"x": [1, 2], "y": 0}), pd.DataFrame({"x": [3], "y": 0})]
    monkeypatch.setattr("tests.support.source_kinds.give", lambda: iter(frames), raising=False)
    source = opened(tmp_path, source="tests.support.source_kinds:give", clock="rows")
    assert source.read_rows(Window(1, 3)).frame["x"].tolist() == [2, 3]


def test_rows_of_a_table_have_no_order(tmp_path):
    (tmp_path / "rows.db").touch()
    with pytest.raises(ConfigError, match=r"data\.clock: rows needs data\.time"):
        opened(tmp_path, source="sqlite:///rows.db", table="t", clock="rows")


def test_a_window_of_rows_without_a_clock_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"has no clock, so no window"):
        csv(tmp_path, "a,y\n1,0\n").read(Window(0, 1))


@pytest.mark.parametrize("dtype", ["int64", "float64", "int32"])
@pytest.mark.parametrize("kind", ["parquet", "sqlite"])
def test_numbers_are_clocks_too(tmp_path, kind, dtype):
    frame = pd.DataFrame({"t": np.arange(100)[::-1].astype(dtype), "y": 0})
    if kind == "parquet":
        frame.to_parquet(tmp_path / "rows.parquet", row_group_size=10)
        data = {"source": "rows.parquet"}
    else:
        engine = sa.create_engine(f"sqlite:///{tmp_path / 'rows.db'}")
        frame.to_sql("hours", engine, index=False)
        engine.dispose()
        data = {"source": "sqlite:///rows.db", "table": "hours"}
    source = opened(tmp_path, **data, time="t", clock="seconds")
    assert source.read(Window(9.5, 20))["t"].tolist() == list(range(10, 20))


def test_dates_are_clocks_too(tmp_path):
    days = pd.date_range("2026-01-01", periods=60).date
    pd.DataFrame({"at": days, "n": np.arange(60), "y": 0}).to_parquet(
        tmp_path / "rows.parquet", row_group_size=7
    )
    source = opened(tmp_path, source="rows.parquet", time="at")
    window = Window(START + 86400 * 9.5, START + 86400 * 20)
    assert source.read(window)["n"].tolist() == list(range(10, 20))


def test_dates_of_postgres_and_its_decimals_are_read(postgres_server):
    engine = sa.create_engine(create_database(postgres_server))
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE days (at date, n int, price numeric(9, 2), y int)"))
        connection.execute(
            sa.text(
                "INSERT INTO days SELECT DATE '2026-01-01' + g, g, g + 0.25, 0 FROM generate_series(0, 59) g"
            )
        )
    engine.dispose()
    source = opened(None, source=engine.url.render_as_string(hide_password=False), table="days", time="at")
    read = source.read(Window(START + 86400 * 9.5, START + 86400 * 20))
    assert read["n"].tolist() == list(range(10, 20))
    assert read["price"].tolist() == [n + 0.25 for n in range(10, 20)]


def test_text_times_of_a_database_lose_no_row_to_their_zones(tmp_path):
    # 2026-01-10T23:30-05:00 is 04:30 UTC on the 11th; its text sorts before the window's first day.
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'rows.db'}")
    times = [
        "2026-01-10T23:30:00-05:00",
        "2026-01-11T12:00:00Z",
        "2026-01-12T01:00:00+05:00",
        "2026-01-12T00:00:00Z",
    ]
    pd.DataFrame({"at": times, "n": range(4), "y": 0}).to_sql("hours", engine, index=False)
    engine.dispose()
    source = opened(tmp_path, source="sqlite:///rows.db", table="hours", time="at")
    window = Window(START + 86400 * 10, START + 86400 * 11)
    assert source.read(window)["n"].tolist() == [0, 1, 2]


def test_text_that_is_no_time_is_found_by_a_window_elsewhere(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'rows.db'}")
    pd.DataFrame({"at": ["2026-01-01", "soon"], "y": 0}).to_sql("hours", engine, index=False)
    engine.dispose()
    source = opened(tmp_path, source="sqlite:///rows.db", table="hours", time="at")
    with pytest.raises(DataError, match="'soon'"):
        source.read(Window(START - 9e6, START - 8e6))


def test_a_folder_of_parquet_is_one_source(tmp_path):
    (tmp_path / "parts").mkdir()
    for part in range(3):
        pd.DataFrame({"n": [part], "y": 0}).to_parquet(tmp_path / "parts" / f"{part}.parquet")
    assert opened(tmp_path, source="parts").read()["n"].tolist() == [0, 1, 2]


def test_the_index_that_pandas_stores_is_no_column(tmp_path):
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [0, 1, 0]})
    frame[frame["x"] > 1].to_parquet(tmp_path / "d.parquet")
    source = opened(tmp_path, source="d.parquet")
    assert source.columns() == ["x", "y"]
    assert source.read().columns.tolist() == ["x", "y"]


def test_a_column_may_widen_from_file_to_file(tmp_path):
    pd.DataFrame({"n": [1], "y": 0}).to_parquet(tmp_path / "a.parquet")
    pd.DataFrame({"n": [1.5], "y": 0}).to_parquet(tmp_path / "b.parquet")
    assert opened(tmp_path, source="*.parquet").read()["n"].tolist() == [1.0, 1.5]


def test_sources_are_looked_up_in_the_environment_and_in_secrets(tmp_path, monkeypatch):
    (tmp_path / "rows.csv").write_text("a,y\n1,0\n")
    monkeypatch.setenv("ROWS_AT", "rows.csv")
    assert opened(tmp_path, source="env:ROWS_AT").columns() == ["a", "y"]
    config = model_config(data={"source": "secret:rows-at"})
    looked_up = open_source(config, base=tmp_path, secret={"rows-at": "rows.csv"}.__getitem__)
    assert looked_up.columns() == ["a", "y"]
    with pytest.raises(ConfigError, match="environment variable 'NOWHERE', which is not set"):
        opened(tmp_path, source="env:NOWHERE")


def test_a_server_that_does_not_answer_is_worth_a_retry_and_keeps_its_secret(tmp_path):
    source = opened(
        tmp_path,
        source="postgresql+psycopg://me:hush@127.0.0.1:1/rows?connect_timeout=2",
        table="t",
        time="at",
    )
    with pytest.raises(Unreachable, match="does not answer") as caught:
        source.read()
    assert "hush" not in str(caught.value)
    assert not isinstance(caught.value, InputError)


def test_an_address_from_the_environment_is_never_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("ROWS_AT", "sqlite:///rows.db?token=hush")
    (tmp_path / "rows.db").touch()
    with pytest.raises(DataError, match="'env:ROWS_AT'") as caught:
        opened(tmp_path, source="env:ROWS_AT", table="t").columns()
    assert "hush" not in str(caught.value)


def test_two_files_read_in_turns_leave_the_filters_of_warnings_as_they_are(tmp_path):
    text = "t,y\n" + "".join(f"{n},0\n" for n in range(30))
    before = list(warnings.filters)
    sources = [in_chunks(csv(tmp_path, text, time="t", clock="rows"), 10) for _ in range(2)]
    one, other = (source.loader.stream(["y"]) for source in sources)
    assert (10, 10) == (len(next(one)), len(next(other)))
    assert before == warnings.filters
    assert (20, 20) == (sum(map(len, one)), sum(map(len, other)))
    assert before == warnings.filters
