"""Open a model's source of rows; what is secret about it is a Prefect block, which alone makes Prefect necessary."""

from __future__ import annotations

from typing import cast

from evergreen.tasks.core.errors import ConfigError
from evergreen.tasks.io.setup import Setup
from evergreen.tasks.io.sources.open import Source, open_source


def open_source_of(setup: Setup) -> Source:
    """Return the source of a model; secret blocks are looked up in Prefect."""
    return open_source(setup.config, base=setup.base, secret=read_secret)


def read_secret(block: str) -> str:
    """Return the value of a Prefect secret block.

    Raises
    ------
    ConfigError
        When there is no such block.
    """
    from prefect.blocks.system import Secret

    try:
        found = cast("Secret[str]", Secret.load(block))
    except ValueError as error:
        raise ConfigError(
            f"There is no Prefect secret block '{block}' ({str(error).splitlines()[0]}). Create it under Blocks."
        ) from None
    return str(found.get())
