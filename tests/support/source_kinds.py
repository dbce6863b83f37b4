"""One table of rows, laid down as every kind of source."""

from dataclasses import replace

import fsspec
import numpy as np
import pandas as pd
import sqlalchemy as sa

from tests.support.stores import create_database

N = 400
CONTENT = ["n", "x", "c", "y"]
GIVEN = {}
"""Frames that the Python sources below hand out, by key."""


def rows():
    """Return hourly rows in no order, with nulls in numbers and text."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "at": pd.date_range("2026-01-01", periods=N, freq="h"),
            "n": np.arange(N),
            "x": np.where(rng.random(N) < 0.1, np.nan, rng.normal(size=N)),
            "c": pd.Series(rng.choice(["red", "blue, green", 'a "b"', "é:x"], N)).where(
                rng.random(N) > 0.1, None
            ),
            "y": rng.integers(0, 2, N),
        }
    )
    return frame.sample(frac=1, random_state=0).reset_index(drop=True)


def in_chunks(source, rows):
    """Return a source of CSV files, or its columns, that reads so many rows at once."""
    return replace(source, loader=replace(source.loader, chunk_rows=rows))


def frame_of(key):
    return GIVEN[key]


def batches_of(key):
    yield from (GIVEN[key].iloc[start : start + 90] for start in range(0, len(GIVEN[key]), 90))


def window_of(key, start, end, columns):
    frame = GIVEN[key]
    seconds = frame["at"].astype("int64") / 1e9
    chosen = frame[(seconds >= (start or -np.inf)) & (seconds < (end or np.inf)) | frame["at"].isna()]
    return chosen if columns is None else chosen[columns]


def to_sql(frame, url):
    engine = sa.create_engine(url)
    frame.to_sql("seen_rows", engine, index=False)
    engine.dispose()
    return url


def _csv(frame, folder, _request):
    frame.to_csv(folder / "rows.csv", index=False)
    return {"source": "rows.csv"}


def _csv_packed(frame, folder, _request):
    frame.to_csv(folder / "rows.csv.gz", index=False, sep=";")
    return {"source": "rows.csv.gz"}


def _csv_glob(frame, folder, _request):
    for number, part in enumerate(np.array_split(np.arange(len(frame)), 3)):
        frame.iloc[part].to_csv(folder / f"part-{number}.csv", index=False)
    return {"source": "part-*.csv"}


def _parquet(frame, folder, _request):
    frame.to_parquet(folder / "rows.parquet", row_group_size=50)
    return {"source": str(folder / "rows.parquet")}


def _parquet_glob(frame, folder, _request):
    for number, part in enumerate(np.array_split(np.arange(len(frame)), 3)):
        frame.iloc[part].astype({"c": "category"}).to_parquet(folder / f"part-{number}.parquet")
    return {"source": "part-*.parquet"}


def _parquet_text_clock(frame, folder, _request):
    text = frame.assign(at=frame["at"].dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    text.to_parquet(folder / "rows.parquet", row_group_size=50)
    return {"source": "rows.parquet"}


def _memory_csv(frame, folder, _request):
    address = f"memory://{folder.name}/rows.csv"
    with fsspec.open(address, "w") as file:
        frame.to_csv(file, index=False)
    return {"source": address}


def _memory_parquet(frame, folder, _request):
    address = f"memory://{folder.name}/rows.parquet"
    with fsspec.open(address, "wb") as file:
        frame.to_parquet(file)
    return {"source": address}


def _sqlite_table(frame, folder, _request):
    to_sql(frame, f"sqlite:///{folder / 'rows.db'}")
    return {"source": "sqlite:///rows.db", "table": "seen_rows"}


def _sqlite_query(frame, folder, _request):
    to_sql(frame, f"sqlite:///{folder / 'rows.db'}")
    query = "SELECT \"at\", n, x, c, y, ':not a parameter' AS remark FROM seen_rows WHERE n >= 0;"
    return {"source": "sqlite:///rows.db", "query": query}


def _postgres_table(frame, _folder, request):
    return {
        "source": to_sql(frame, create_database(request.getfixturevalue("postgres_server"))),
        "table": "public.seen_rows",
    }


def _postgres_query(frame, _folder, request):
    url = to_sql(frame, create_database(request.getfixturevalue("postgres_server")))
    query = 'SELECT "at"::timestamptz AS "at", n, x::float8 AS x, c, y, 2.5::numeric AS worth FROM seen_rows -- 100%'
    return {"source": url, "query": query + "\n"}


def _python(function):
    def lay_down(frame, folder, _request):
        GIVEN[folder.name] = frame
        return {"source": f"tests.support.source_kinds:{function}", "options": {"key": folder.name}}

    return lay_down


KINDS = {
    "csv": _csv,
    "csv packed, semicolons": _csv_packed,
    "csv glob": _csv_glob,
    "parquet": _parquet,
    "parquet glob": _parquet_glob,
    "parquet, clock as text": _parquet_text_clock,
    "memory csv": _memory_csv,
    "memory parquet": _memory_parquet,
    "sqlite table": _sqlite_table,
    "sqlite query": _sqlite_query,
    "postgres table": _postgres_table,
    "postgres query": _postgres_query,
    "python frame": _python("frame_of"),
    "python generator": _python("batches_of"),
    "python window": _python("window_of"),
}


def nothing():
    yield from ()


def lists():
    yield [1, 2, 3]
