"""A seeded pair of Parquet files: four in five columns numbers of four shapes, the others text."""

from __future__ import annotations

from pathlib import Path

import numpy as np

CHUNK = 125_000
NULLS = 0.02
DRIFT = 0.5
"""Shift, in standard deviations of a normal, of every twelfth numeric column in the second file."""


def write_pair(folder: Path, *, rows: int, columns: int) -> tuple[Path, Path]:
    """Write reference.parquet and current.parquet by pyarrow's defaults but for row groups of 125,000 rows."""
    reference, current = folder / "reference.parquet", folder / "current.parquet"
    _write(reference, rows=rows, columns=columns, seed=1, drift=0.0)
    _write(current, rows=rows, columns=columns, seed=2, drift=DRIFT)
    return reference, current


def _write(path: Path, *, rows: int, columns: int, seed: int, drift: float) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(seed)
    texts = columns // 5
    names = [f"n{place:03d}" for place in range(columns - texts)] + [
        f"c{place:03d}" for place in range(texts)
    ]
    types = [pa.float64()] * (columns - texts) + [pa.string()] * texts
    with pq.ParquetWriter(path, pa.schema(zip(names, types, strict=True))) as writer:
        for start in range(0, rows, CHUNK):
            n = min(CHUNK, rows - start)
            numbers = [_numbers(rng, place, n, drift) for place in range(columns - texts)]
            words = [_text(rng, place, n) for place in range(texts)]
            writer.write_table(pa.table([*numbers, *words], schema=writer.schema))


def _numbers(rng: np.random.Generator, place: int, n: int, drift: float) -> object:
    """Return normal, lognormal, half-zero and whole numbers in turn; some drift, some have nulls."""
    import pyarrow as pa

    normal = rng.normal(size=n) + (drift if place % 12 == 0 else 0.0)
    shapes = (
        lambda: normal,
        lambda: np.exp(normal),
        lambda: np.where(rng.random(n) < 0.5, 0.0, np.abs(normal)),
        lambda: np.floor(100 * np.abs(normal)),
    )
    nulls = rng.random(n) < NULLS if place % 8 == 0 else None
    return pa.array(shapes[place % len(shapes)](), mask=nulls)


def _text(rng: np.random.Generator, place: int, n: int) -> object:
    """Return text of 4 to 80 categories, the first ones frequent."""
    import pyarrow as pa

    words = pa.array([f"category {word}" for word in range(4 * (place % 20 + 1))])
    codes = (len(words) * rng.random(n) ** 2).astype(np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(codes), words).cast(pa.string())
