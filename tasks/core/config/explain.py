"""Turn a validation error into sentences: key, value, what is allowed, the likeliest intended key."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from evergreen.tasks.core.errors import ConfigError, did_you_mean

SectionT = TypeVar("SectionT", bound=BaseModel)

# pydantic names the branch of a union inside the location: 'literal[...]', 'constrained-float', a class, ...
_BRANCH = re.compile(
    r"^(literal\[|constrained-|function-|[A-Z][A-Za-z]+$|list\[|dict\[|float$|int$|str$|\[key\]$)"
)


def explain_errors(error: ValidationError, model: type[BaseModel], *, origin: str) -> str:
    """Return one sentence per distinct wrong key.

    Parameters
    ----------
    error : pydantic.ValidationError
        What validation found.
    model : type[BaseModel]
        The model that was validated, for the keys it allows.
    origin : str
        File the values came from.
    """
    by_key: dict[str, list[Any]] = {}
    for detail in error.errors():
        by_key.setdefault(_dotted(detail["loc"]), []).append(detail)
    deepest = [key for key in by_key if not any(other.startswith(f"{key}.") for other in by_key)]
    return " ".join(_explain(by_key[key], key, model, origin) for key in deepest)


def read_options(section: type[SectionT], options: Mapping[str, Any], *, where: str) -> SectionT:
    """Return the options of something that a team plugs in, checked by their type.

    Raises
    ------
    ConfigError
        Naming each wrong key, its value, what is allowed and the likeliest intended key.
    """
    try:
        return section.model_validate(dict(options))
    except ValidationError as error:
        raise ConfigError(explain_errors(error, section, origin=where)) from None


def option_arguments(
    section: type[BaseModel] | None, options: Mapping[str, Any], *, where: str
) -> tuple[Any, ...]:
    """Return what a plug-in's function gets for its options: one argument of their type, none without a type.

    Raises
    ------
    ConfigError
        When they are wrong, or there is no type for any.
    """
    if section is None and options:
        raise ConfigError(f"{where} takes no options. Write its name alone.")
    return () if section is None else (read_options(section, options, where=where),)


def allowed_keys(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    """Return the keys allowed in the section at ``path``; empty where it is a free mapping."""
    section: type[BaseModel] | None = model
    for part in path:
        if section is not None and part in section.model_fields:
            section = section_of(section.model_fields[str(part)].annotation)
    return sorted(section.model_fields) if section else []


def _dotted(loc: tuple[str | int, ...]) -> str:
    """Return the dotted key, without the branch names that a union adds to the location."""
    parts: list[str] = []
    for part in loc:
        if isinstance(part, int):
            parts[-1] += f"[{part}]"
        elif not _BRANCH.match(part):
            parts.append(part)
    return ".".join(parts)


def _explain(details: list[Any], key: str, model: type[BaseModel], origin: str) -> str:
    detail = details[0]
    kind, last = detail["type"], str(detail["loc"][-1]) if detail["loc"] else ""
    if kind == "extra_forbidden":
        allowed = allowed_keys(model, tuple(detail["loc"][:-1]))
        listed = f"{', '.join(allowed)}.{did_you_mean(last, allowed)}"
        return f"Unknown key '{key}' in {origin}. Allowed here: {listed} Rename or remove it."
    if kind == "missing":
        return f"Missing key '{key}' in {origin}: it is required. Add it."
    messages = dict.fromkeys(item["msg"].removeprefix("Value error, ").rstrip(".") for item in details)
    message = ", or ".join(text[:1].lower() + text[1:] for text in messages)
    if isinstance(detail.get("input"), dict):
        return f"Wrong value in '{key or 'the file'}' of {origin}: {message}."
    text = repr(detail.get("input"))
    shown = text if len(text) <= 80 else text[:77] + "..."
    return f"Wrong value {shown} for '{key}' in {origin}: {message}. Correct it."


def section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the first section an annotation holds: itself, in a union, a list or a mapping's values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, list, dict, tuple):
        sections = (section_of(part) for part in get_args(annotation))
        return next((section for section in sections if section), None)
    return None
