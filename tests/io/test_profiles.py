"""Profiles of files: what is counted batch by batch is what pandas would count at once."""

import dataclasses
import datetime as dt
import itertools
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evergreen.tasks.core.data.rows import normalise
from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.profiles.grid import make_grid
from evergreen.tasks.core.profiles.profile import measure_profile
from evergreen.tasks.io.compare_files import compare_files, sample_columns
from evergreen.tasks.io.profiles import open_columns, profile_batches, profile_files

ROOT = Path(__file__).resolve().parents[2]
CATEGORIES = frozenset({"text", "flag", "whole", "maybe", "price", "day", "instant", "y"})


def frame_of(n=3000, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    x[:5] = [np.nan, np.inf, -np.inf, 0.0, -0.0]
    return pd.DataFrame(
        {
            "x": x,
            "single": rng.normal(size=n).astype(np.float32),
            "count": rng.integers(-5, 2**40, n),
            "small": rng.integers(0, 100, n).astype(np.int8),
            "empty": np.full(n, np.nan),
            "constant": np.full(n, 3.0),
            "text": rng.choice(["a", "b", "1", "1.0", None], n),
            "flag": rng.choice([True, False], n),
            "whole": rng.integers(0, 9, n),
            "maybe": np.where(rng.random(n) < 0.1, np.nan, rng.integers(0, 9, n)),
            "price": [None if p == 3 else Decimal(f"{p}.50") for p in rng.integers(0, 9, n)],
            "day": [dt.date(2026, 1, 1 + int(d)) for d in rng.integers(0, 9, n)],
            "instant": pd.to_datetime("2026-01-01") + pd.to_timedelta(rng.integers(0, 9, n), unit="h"),
            "y": rng.integers(0, 2, n),
        }
    )


def grid_of(frame, *, outcome=None, private=frozenset()):
    return make_grid(normalise(frame), categorical=CATEGORIES, outcome=outcome, private=private)


def grid_of_file(path, **options):
    """Return the grid that a file is compared over."""
    return compare_files(str(path), str(path), **options).reference.grid


def assert_same(expected, actual):
    assert list(expected.columns) == list(actual.columns)
    for name, column in expected.columns.items():
        other = actual.columns[name]
        exact = ("n", "nulls", "plus_inf", "minus_inf", "counts", "joint", "minimum", "maximum")
        assert [getattr(column, field) for field in exact] == [getattr(other, field) for field in exact], name
        assert (column.mean, column.squares) == pytest.approx((other.mean, other.squares), rel=1e-9), name


@pytest.mark.parametrize("outcome", [None, "y", "x"])
@pytest.mark.parametrize("private", [frozenset(), frozenset({"text", "whole"})])
def test_parquet_is_counted_as_the_frame_it_was_written_from(tmp_path, outcome, private):
    frame = frame_of()
    frame.to_parquet(tmp_path / "rows.parquet", row_group_size=700)
    grid = grid_of(frame_of(seed=1), outcome=outcome, private=private)
    assert_same(measure_profile(normalise(frame), grid), profile_files(tmp_path / "rows.parquet", grid))


@pytest.mark.parametrize("outcome", [None, "y"])
def test_csv_is_counted_as_the_source_reads_it(tmp_path, outcome):
    frame = frame_of().drop(columns=["instant"])
    frame.to_csv(tmp_path / "rows.csv", index=False)
    grid = make_grid(normalise(frame), categorical=CATEGORIES - {"instant", "price"}, outcome=outcome)
    expected = measure_profile(pd.read_csv(tmp_path / "rows.csv", float_precision="round_trip"), grid)
    columns = dataclasses.replace(open_columns(tmp_path / "rows.csv"), chunk_rows=700)
    assert_same(expected, profile_files(columns, grid))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3000), max_size=5), st.sampled_from([None, "y"]))
def test_however_the_rows_are_cut_into_batches_the_profile_is_the_same(cuts, outcome):
    frame = frame_of()
    table = pa.Table.from_pandas(frame, preserve_index=False)
    bounds = [0, *sorted(cuts), len(frame)]
    parts = [table.slice(a, b - a) for a, b in itertools.pairwise(bounds)]
    batches = [batch for part in parts for batch in part.combine_chunks().to_batches()]
    grid = grid_of(frame_of(seed=1), outcome=outcome)
    assert_same(measure_profile(normalise(frame), grid), profile_batches(batches, grid))


def test_dictionaries_that_change_from_batch_to_batch_are_looked_up_anew():
    grid = make_grid(pd.DataFrame({"c": ["a", "b"]}), categorical=frozenset({"c"}))
    batches = [
        pa.record_batch({"c": pa.array(values).dictionary_encode()})
        for values in (["a", "a"], ["b", None, "a"], ["new", "b"])
    ]
    column = profile_batches(batches, grid).columns["c"]
    assert ((3, 2, 0, 1), 1, 7) == (column.counts, column.nulls, column.n)


def test_many_files_are_one_profile(tmp_path):
    frame = frame_of()
    for number in range(40):
        frame.iloc[number * 75 : (number + 1) * 75].to_parquet(tmp_path / f"part-{number:02d}.parquet")
    grid = grid_of(frame)
    assert_same(measure_profile(normalise(frame), grid), profile_files(tmp_path, grid))


def test_fewer_columns_can_be_asked_for(tmp_path):
    frame = frame_of()
    frame.to_parquet(tmp_path / "rows.parquet")
    grid = grid_of(frame, outcome="y")
    profile = profile_files(tmp_path / "rows.parquet", grid, columns=["x", "text"])
    assert_same(measure_profile(normalise(frame), grid, columns=["x", "text"]), profile)
    assert () == profile.columns["x"].joint


def test_a_file_without_rows_has_an_empty_profile(tmp_path):
    frame = frame_of()
    grid = grid_of(frame, outcome="y")
    frame.iloc[:0].to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "rows.csv").write_text(",".join(frame.columns) + "\n")
    for name in ("rows.parquet", "rows.csv"):
        profile = profile_files(tmp_path / name, grid)
        assert 0 == sum(column.n + sum(column.counts) for column in profile.columns.values())


@pytest.mark.parametrize(
    "write", [pd.DataFrame.to_parquet, lambda frame, path: frame.to_csv(path, index=False)]
)
def test_what_cannot_be_counted_is_named(tmp_path, write):
    write(pd.DataFrame({"x": ["a", "b"], "text": ["a", "b"]}), tmp_path / "rows.parquet")
    path = tmp_path / "rows.parquet"
    if not path.read_bytes().startswith(b"PAR1"):
        path = path.rename(tmp_path / "rows.csv")
    grid = make_grid(pd.DataFrame({"x": [1.0, 2.0], "txt": ["a", "b"]}), categorical=frozenset({"txt"}))
    with pytest.raises(DataError, match=r"'txt' is missing.*Did you mean 'text'"):
        profile_files(path, grid)
    with pytest.raises(DataError, match="'x' should hold numbers"):
        profile_files(path, grid, columns=["x"])


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 and then nothing of use")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        profile_files(tmp_path / "rows.parquet", grid_of(frame_of()))


def test_parquet_is_profiled_without_pandas(tmp_path):
    frame = frame_of().drop(columns="instant")
    frame.to_parquet(tmp_path / "rows.parquet")
    grid = make_grid(normalise(frame), categorical=CATEGORIES - {"instant"}, outcome="y")
    (tmp_path / "grid.json").write_text(json.dumps(grid.to_dict()))
    program = (
        "import json, sys\n"
        "from evergreen.tasks.core.profiles.grid import Grid\n"
        "from evergreen.tasks.io.profiles import profile_files\n"
        "grid = Grid.from_dict(json.load(open(sys.argv[2])))\n"
        "print(profile_files(sys.argv[1], grid).columns['x'].n, 'pandas' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "rows.parquet"), str(tmp_path / "grid.json")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["3000", "False"]), done.stderr[-500:]


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_the_grid_of_a_small_file_is_laid_over_all_of_it(tmp_path, ending):
    frame = frame_of()[["x", "count", "text", "flag", "constant"]]
    path = tmp_path / f"rows.{ending}"
    frame.to_parquet(path) if ending == "parquet" else frame.to_csv(path, index=False)
    expected = make_grid(normalise(frame), categorical=frozenset({"text", "flag"}))
    assert expected.id == grid_of_file(path).id


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_sample_is_seeded_spans_the_file_and_keeps_rows_together(tmp_path, ending):
    frame = pd.DataFrame({"a": np.arange(5000.0), "b": np.arange(5000.0) * 2})
    path = tmp_path / f"rows.{ending}"
    frame.to_parquet(path, row_group_size=999) if ending == "parquet" else frame.to_csv(path, index=False)
    a, b = sample_columns(path, rows=100, seed=1)
    again, _ = sample_columns(path, rows=100, seed=1)
    other, _ = sample_columns(path, rows=100, seed=2)
    assert a.tolist() == again.tolist() != other.tolist()
    assert (2 * a).tolist() == b.tolist()
    assert list(range(100)) == (a // 50).astype(int).tolist()


def test_columns_that_are_no_features_have_no_grid(tmp_path):
    frame = frame_of()[["x", "empty", "day", "instant", "text"]].assign(id=[f"row {i}" for i in range(3000)])
    frame.to_parquet(tmp_path / "rows.parquet")
    assert ["x", "text"] == list(grid_of_file(tmp_path / "rows.parquet").columns)


def test_a_grid_takes_the_kinds_it_is_given(tmp_path):
    frame = frame_of()
    frame.to_parquet(tmp_path / "rows.parquet")
    grid = grid_of_file(tmp_path / "rows.parquet", columns=["small", "x"], categorical=["small"])
    assert ["categorical", "numeric"] == [grid.columns[name].kind for name in ("small", "x")]


def test_the_grid_of_a_sample_has_bins_of_about_equal_mass_in_the_file(tmp_path):
    values = np.random.default_rng(0).normal(size=100_000)
    pq.write_table(pa.table({"x": values}), tmp_path / "rows.parquet", row_group_size=30_000)
    (sample,) = sample_columns(tmp_path / "rows.parquet", rows=20_000)
    grid = make_grid(sample.to_frame(), categorical=frozenset())
    counts = profile_files(tmp_path / "rows.parquet", grid).columns["x"].counts
    assert 256 == len(counts)
    assert max(counts) < 0.01 * 100_000


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([2**53 + 1, 2**60, None], pa.int64()), (3, 1, 2.0**53, 2.0**60)),
        (pa.array([2**63 + 5, 1], pa.uint64()), (2, 0, 1.0, 2.0**63)),
        (pa.array([1.5, None], pa.float16()), (2, 1, 1.5, 1.5)),
        (pa.array([Decimal("1.1"), None]), (2, 1, 1.1, 1.1)),
        (pa.array([True, None, False]), (3, 1, 0.0, 1.0)),
        (pa.array(["1.5", None]), (2, 1, 1.5, 1.5)),
        (pa.array([None, None]), (2, 2, None, None)),
        (pa.array([3, 4, None]).dictionary_encode(), (3, 1, 3.0, 4.0)),
        (pa.array([1.0, float("nan"), float("inf")]), (3, 1, 1.0, 1.0)),
    ],
)
def test_numbers_of_any_type_are_counted_as_floats(array, expected):
    grid = make_grid(pd.DataFrame({"x": [1.0, 2.0]}), categorical=frozenset())
    column = profile_batches([pa.record_batch({"x": array})], grid).columns["x"]
    assert expected == (column.n, column.nulls, column.minimum, column.maximum)
    values = array.to_pandas()
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(float)
    assert column == measure_profile(pd.DataFrame({"x": values}), grid).columns["x"]


def test_times_are_no_numbers_and_lists_no_categories():
    times = pd.DataFrame({"x": pd.to_datetime(["2026-01-01", None])})
    batch = pa.RecordBatch.from_pandas(times)
    grid = make_grid(pd.DataFrame({"x": [1.0]}), categorical=frozenset())
    with pytest.raises(DataError, match="'x' should hold numbers but is of type timestamp"):
        profile_batches([batch], grid)
    with pytest.raises(DataError, match="'x' holds times, not numbers"):
        measure_profile(times, grid)
    words = make_grid(pd.DataFrame({"x": ["a"]}), categorical=frozenset({"x"}))
    with pytest.raises(DataError, match="'x' holds values of type list"):
        profile_batches([pa.record_batch({"x": pa.array([[1], [2]])})], words)
