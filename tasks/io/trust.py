"""Which types a stored model may be made of; anything else is refused before it is loaded."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tasks.core.errors import InputError
from tasks.core.learning.estimators import ALLOWED, is_allowed

_TRUSTED = {
    "numpy.asarray",
    "numpy.nan_to_num",
    "numpy.dtype",
    "sklearn.utils.validation.check_array",
    "functools.partial",
    "collections.OrderedDict",
    "collections.defaultdict",
}


# What a functools.partial calls is listed, and checked, on its own.


def trusted_types(names: Iterable[str], *, allow: Sequence[str] = (), what: str = "The model") -> list[str]:
    """Return the type names, all of them allowed.

    Classes of scikit-learn, LightGBM and XGBoost are allowed, functions are not (a few harmless ones of NumPy
    apart), since a function may be called with anything; beside these what ``training.allow`` lists.

    Raises
    ------
    InputError
        Naming those that are not allowed.
    """
    listed = sorted(names)
    refused = [name for name in listed if not _is_trusted(name, allow)]
    if refused:
        raise InputError(
            f"{what} holds types that are not allowed: {', '.join(refused)}. Allowed: classes of "
            f"{', '.join([*ALLOWED, *allow])}. If you trust them, add them to training.allow."
        )
    return listed


def load_skops(path: Path, *, allow: Sequence[str] = ()) -> Any:
    """Load a skops file after checking every type in it; the file's own list of trusted types is not believed.

    Raises
    ------
    InputError
        When it holds a type that is not allowed.
    """
    import skops.io

    names = skops.io.get_untrusted_types(file=path)
    return skops.io.load(
        path, trusted=trusted_types(names, allow=allow, what=f"The model file '{path.name}'")
    )


def types_to_trust(estimator: Any, *, allow: Sequence[str] = ()) -> list[str]:
    """Return the types of an estimator of ours that skops wants to have named, checked like any other."""
    import skops.io

    return trusted_types(skops.io.get_untrusted_types(data=skops.io.dumps(estimator)), allow=allow)


def _is_trusted(name: str, allow: Sequence[str]) -> bool:
    if name in _TRUSTED or any(name == root or name.startswith(f"{root}.") for root in allow):
        return True
    return is_allowed(name) and isinstance(_resolve(name), type)


def _resolve(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute, None)
