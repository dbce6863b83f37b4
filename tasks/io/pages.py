"""Pages on disk."""

from __future__ import annotations

from pathlib import Path

from tasks.core.errors import InputError


def write_page(path: Path, page: str) -> Path:
    """Write a page to a file, its folder made where it is missing, and return the path.

    Raises
    ------
    InputError
        When it cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"The page cannot be written to '{path}': {error.strerror or error}. Name a file that can be written."
        ) from None
    return path
