"""One side of the drift benchmark in a process of its own: ``python -m benchmarks.drift_child SIDE FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def scan(folder: Path) -> Any:
    """Read every column of the current file, batch by batch, as ``ParquetFile.iter_batches`` does by default."""
    import pyarrow.parquet as pq

    return sum(batch.num_rows for batch in pq.ParquetFile(folder / "current.parquet").iter_batches())


def scan_lean(folder: Path) -> Any:
    """Read it the leanest way we know, which is our own: a column at a time, text as codes, no read-ahead."""
    from evergreen.tasks.io.profiles import ParquetColumns, open_columns

    reader = open_columns(folder / "current.parquet")
    assert isinstance(reader, ParquetColumns)
    names = reader.columns()
    return sum(len(batch) for name in names for batch in reader.batches([name])) // len(names)


def reference(folder: Path) -> Any:
    """Lay the grid over a sample of the reference and profile it whole: done once, at training."""
    from evergreen.tasks.core.data.columns import Kind, column_kind
    from evergreen.tasks.core.profiles.grid import MOST_CATEGORIES, Grid, make_grid
    from evergreen.tasks.io.compare_files import sample_columns
    from evergreen.tasks.io.profiles import profile_files

    path, grids = folder / "reference.parquet", {}
    for sample in sample_columns(path):
        kind = column_kind(sample, max_categories=MOST_CATEGORIES).kind
        if kind in (Kind.NUMERIC, Kind.CATEGORICAL):
            by_category = [sample.name] if kind is Kind.CATEGORICAL else []
            grids |= make_grid(sample.to_frame(), categorical=frozenset(by_category)).columns
    profile = profile_files(path, Grid(columns=grids))
    (folder / "reference.json").write_text(json.dumps(profile.to_dict()), encoding="utf-8")
    return len(profile.columns)


def ours(folder: Path) -> Any:
    """Profile the current file over the reference's grid and measure every column."""
    from evergreen.tasks.core.drift.columns import measure_columns
    from evergreen.tasks.core.profiles.profile import Profile
    from evergreen.tasks.io.profiles import profile_files

    before = Profile.from_dict(json.loads((folder / "reference.json").read_text(encoding="utf-8")))
    after = profile_files(folder / "current.parquet", before.grid)
    found = [measure.to_dict() for measure in measure_columns(before, after)]
    (folder / "ours.json").write_text(json.dumps(found), encoding="utf-8")
    return sum(bool(measure["drifted"]) for measure in found)


def evidently(folder: Path) -> Any:
    """Run Evidently's drift preset on both files, read by pandas."""
    import pandas as pd
    from evidently import Report
    from evidently.presets import DataDriftPreset

    current, before = (pd.read_parquet(folder / f"{name}.parquet") for name in ("current", "reference"))
    found = Report([DataDriftPreset()]).run(current, before).dict()
    return int(found["metrics"][0]["value"]["count"])


def check(folder: Path) -> Any:
    """Compare KS and PSI of some numeric columns with values computed from all rows of both files."""
    from benchmarks.drift_exact import compare

    return compare(folder)


SIDES = {
    "scan": scan,
    "scan_lean": scan_lean,
    "reference": reference,
    "ours": ours,
    "evidently": evidently,
    "check": check,
}


def peak_megabytes() -> float:
    """Return the largest resident size of this process since it began."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would tell the parent's size where that was larger
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


if __name__ == "__main__":
    answer = SIDES[sys.argv[1]](Path(sys.argv[2]))
    print(json.dumps({"answer": answer, "peak_mb": peak_megabytes()}))
