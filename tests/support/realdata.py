"""The public data sets beside the project; tests that use them skip only where the whole folder is absent."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data"
REASON = "the public data sets are absent (folder ../shared/data beside the project)"


def real_file(name):
    """Return the path of a public data set; a folder that lacks one of its files is a failure, not a skip."""
    if not FOLDER.is_dir():
        pytest.skip(REASON)
    path = FOLDER / name
    assert path.is_file(), f"{FOLDER} is there but lacks {name}"
    return path
