"""Parts of a batch that are done, kept until all are: what a killed run has left is not done again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.batch.job import BatchJob
from tasks.core.errors import DataError
from tasks.io.locks import hold_file_lock

_ROWS = b"evergreen.rows"


class BatchStage:
    """A folder of one job with a Parquet file for each part that is done.

    Parameters
    ----------
    folder : Path
        Folder of the job; nobody else writes there while `hold_stage` holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def is_done(self, number: int, rows: str) -> bool:
        """Return whether a part is there and was made of exactly these rows."""
        path = self._path(number)
        try:
            return path.exists() and (pq.read_schema(path).metadata or {}).get(_ROWS) == rows.encode()
        except pa.ArrowException:
            return False

    def put(self, number: int, rows: str, frame: pd.DataFrame) -> None:
        """Write a part; it appears whole or not at all."""
        table = pa.Table.from_pandas(frame, preserve_index=False)
        write_whole(self._path(number), [table.replace_schema_metadata({_ROWS: rows.encode()})])

    def tables(self, count: int) -> Iterator[pa.Table]:
        """Yield the first parts in order, of one schema: a column may widen from part to part."""
        paths = [self._path(number) for number in range(count)]
        schemas = [pq.read_schema(path).remove_metadata() for path in paths]
        try:
            schema = pa.unify_schemas(schemas, promote_options="permissive")
        except pa.ArrowException as error:
            raise DataError(
                f"Columns kept differ in type from part to part: {error}. Leave them out of --keep, or write one type."
            ) from error
        for path in paths:
            yield pq.read_table(path).replace_schema_metadata(None).cast(schema)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"part-{number:06d}.parquet"


@contextmanager
def hold_stage(home: Path, job: BatchJob) -> Iterator[BatchStage]:
    """Hold the folder of a job; ``Held("lock_held")`` at once when another run of the same job holds it."""
    root = home / "scoring"
    with hold_file_lock(root / "locks", job.id):
        folder = root / job.id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "job.json").write_text(json.dumps(job.to_dict(), indent=2), encoding="utf-8")
        yield BatchStage(folder)


def write_whole(path: Path, tables: Iterator[pa.Table] | list[pa.Table]) -> int:
    """Write tables as one Parquet file that appears whole or not at all; return its rows.

    Written beside it under another name, synced to disk, then renamed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    rows = 0
    try:
        with partial.open("wb") as file, ExitStack() as stack:
            writer = None
            for table in tables:
                writer = writer or stack.enter_context(pq.ParquetWriter(file, table.schema))
                writer.write_table(table)
                rows += table.num_rows
            stack.close()
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return rows


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
