"""Which columns a model names, which it needs read, and a clear error for the one that is not there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tasks.core.config import ModelConfig
from tasks.core.errors import DataError, did_you_mean

_ROLES = ("target", "time", "group", "entity", "label_time", "value", "weight")


def role_columns(config: ModelConfig) -> dict[str, str]:
    """Return the column of each role that has one, by role."""
    return {role: getattr(config.data, role) for role in _ROLES if getattr(config.data, role) is not None}


def require_columns(columns: Sequence[str], config: ModelConfig, *, origin: str) -> None:
    """Check that every column the configuration names is there, and each name only once.

    Raises
    ------
    DataError
        Naming the repeated or missing column, where it is asked for, what there is, and the likeliest.
    """
    require_distinct(columns, origin=origin)
    for role, name in role_columns(config).items():
        _require(name, columns, f"data.{role}", origin)
    for key in ("numeric", "categorical"):
        for name in getattr(config.data, key) or ():
            _require(name, columns, f"data.{key}", origin)


def require_withheld(columns: Sequence[str], config: ModelConfig, *, origin: str) -> None:
    """Check that columns to be withheld are there: a misspelt leak or private column would slip through.

    An excluded column that is simply gone does no harm; one that is nearly another's name is taken for a slip.

    Raises
    ------
    DataError
        Naming the column, its key and the likeliest.
    """
    for name in config.data.private:
        _require(name, columns, "data.private", origin)
    unused = [name for name in columns if name not in config.data.exclude]
    for name in config.data.exclude:
        if name not in columns and (hint := did_you_mean(name, unused)):
            raise DataError(
                f"data.exclude names '{name}', which is not a column of {origin}.{hint} Correct it."
            )


def require_distinct(columns: Sequence[str], *, origin: str) -> None:
    """Check that no column name is there twice.

    Raises
    ------
    DataError
        Naming the repeated column.
    """
    seen: set[str] = set()
    for name in columns:
        if name in seen:
            raise DataError(
                f"Column '{name}' is there twice in {origin}; names must differ. Rename or remove one."
            )
        seen.add(name)


def needed_columns(columns: Sequence[str], config: ModelConfig, *, also: Iterable[str] = ()) -> list[str]:
    """Return the columns to read, in the source's order: roles, features, and what slices and contract name.

    Without lists of features everything that is not excluded may be one. ``also`` names what an older version of
    the model learned from.
    """
    data = config.data
    asked: set[str] = {*also, *role_columns(config).values(), *config.validation.slices.columns}
    asked.update(name for names in config.contract.unique for name in names)
    asked.update(config.contract.columns)
    if data.numeric is not None and data.categorical is not None:
        asked.update(data.numeric, data.categorical)
        return [name for name in columns if name in asked]
    return [name for name in columns if name in asked or name not in data.exclude]


def clock_columns(config: ModelConfig) -> list[str]:
    """Return the few columns a split by time is planned from."""
    data = config.data
    named = (data.target, data.time, data.label_time, data.group)
    return list(dict.fromkeys(name for name in named if name is not None))


def _require(name: str, columns: Iterable[str], key: str, origin: str) -> None:
    known = list(columns)
    if name in known:
        return
    listed = ", ".join(known[:30]) + (f" and {len(known) - 30} more" if len(known) > 30 else "")
    raise DataError(
        f"Column '{name}' ({key}) is not in {origin}. It has: {listed or 'no columns'}."
        f"{did_you_mean(name, known)} Correct {key} or the data."
    )
