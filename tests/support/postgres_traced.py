"""A PostgreSQL server traced from outside: when it synced its WAL."""

import contextlib
import subprocess
import time
from pathlib import Path

from tests.support.stores import execute


@contextlib.contextmanager
def tracing_syncs(url, trace):
    """Trace the server's syncs until the block ends."""
    assert [tuple(row) for row in execute(url, "SHOW fsync")] == [("on",)]
    ((data,),) = execute(url, "SHOW data_directory")
    postmaster = (Path(data) / "postmaster.pid").read_text().split()[0]
    command = ["strace", "-f", "-qq", "-ttt", "-T", "-y", "-e", "trace=fdatasync,fsync", "-o", str(trace)]
    tracer = subprocess.Popen([*command, "-p", postmaster])
    deadline = time.monotonic() + 30
    while f"TracerPid:\t{tracer.pid}" not in Path(f"/proc/{postmaster}/status").read_text():
        assert time.monotonic() < deadline, "the server could not be traced"
        time.sleep(0.01)
    try:
        yield
    finally:
        tracer.terminate()
        tracer.wait()


def unsynced(trace, spans):
    """Return the spans (start, end) in which no sync of the WAL began and ended."""
    lines = [line for line in trace.read_text().splitlines() if "pg_wal" in line and line.endswith(">")]
    syncs = [_span(line) for line in lines]
    return [(a, b) for a, b in spans if not any(a <= begun and ended <= b for begun, ended in syncs)]


def _span(line):
    """Return when a call began and ended: its time stamp, and how long it took."""
    begun = float(line.split()[1])
    return begun, begun + float(line.rpartition("<")[2].rstrip(">"))
