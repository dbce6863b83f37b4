"""Load a model's rows: divided into parts as of a moment, or one window of the clock."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import cast

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.clock import Window, parse_position
from evergreen.tasks.core.data.columns import clock_columns, needed_columns
from evergreen.tasks.core.data.rows import Parts, Rows, SplitPlan
from evergreen.tasks.core.data.split import assign_parts, forced_random_warning, plan_split, rows_needed_from
from evergreen.tasks.core.data.times import note_naive_times
from evergreen.tasks.core.errors import ConfigError, InputError
from evergreen.tasks.io.setup import Setup
from evergreen.tasks.io.sources.open import Source, open_source
from evergreen.tasks.runtime.task import TRANSIENT, stage_task


def open_source_of(setup: Setup) -> Source:
    """Return the source of a model; secrets of its address are Prefect blocks."""
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
        return str(cast("Secret[str]", Secret.load(block)).get())
    except ValueError as error:
        raise ConfigError(
            f"There is no Prefect secret block '{block}' ({str(error).splitlines()[0]}). Create it under Blocks."
        ) from None


def load_parts(
    setup: Setup,
    *,
    until: str | None = None,
    trained_to: str | None = None,
    refit: bool = False,
    plan: SplitPlan | None = None,
    also: Collection[str] = (),
    change_at: float | None = None,
) -> Parts:
    """Return training, holdout and evaluation rows.

    Split by time, the few columns that decide are read first, then only the window the parts need.

    Parameters
    ----------
    setup : Setup
        The model; its configuration names the source.
    until : str, optional
        As of this point of the clock: nothing at or after it, no label known after it.
    trained_to : str, optional
        A model trained elsewhere was trained on all before this point.
    refit : bool
        Put all labelled rows of ``retraining.window`` into training.
    plan : SplitPlan, optional
        Divide by this plan (that of a version) instead of making one.
    also : collection of str, optional
        Further columns to read where the source has them, such as those of an older version.
    change_at : float, optional
        Position of the last detected change (in the clock's unit), where ``retraining.window: since_change`` begins;
        only read to make a plan, of rows split by time.

    Raises
    ------
    InputError
        When the source, a column or a value cannot be read as the configuration says.
    NotLearnable
        When a part would be empty.
    """
    source = open_source_of(setup)
    config = setup.config
    end, foreign = position_of(until, config), position_of(trained_to, config)
    if not config.timed:
        return _load_by_identity(source, end, plan, foreign, refit, also)
    whole = Window() if end is None else Window(end=end)
    slim = source.read_rows(whole, columns=clock_columns(config))
    used = plan or plan_split(slim, config, until=end, trained_to=foreign, refit=refit, change_at=change_at)
    needed = needed_columns(source.columns(), config, also=also)
    rows = source.read_rows(Window(rows_needed_from(slim, used), whole.end), columns=needed)
    parts = assign_parts(rows, used, drop_duplicates=config.data.drop_duplicates)
    if config.data.clock == "timestamp" and config.data.time is not None:
        naive = note_naive_times(slim.frame[config.data.time])
        parts = dataclasses.replace(parts, notes=(*parts.notes, *naive))
    return parts


def load_window(setup: Setup, window: Window) -> Rows:
    """Return the rows of one window, labelled or not, in clock order.

    Raises
    ------
    InputError
        When the source cannot be read, or has no clock.
    """
    source = open_source_of(setup)
    return source.read_rows(window, columns=needed_columns(source.columns(), setup.config))


load_parts_task = stage_task(name="load parts", **TRANSIENT)(load_parts)
load_window_task = stage_task(name="load window", **TRANSIENT)(load_window)


def _load_by_identity(
    source: Source,
    end: float | None,
    plan: SplitPlan | None,
    foreign: float | None,
    refit: bool,
    also: Collection[str],
) -> Parts:
    config = source.config
    window = None if end is None else Window(end=end)
    rows = source.read_rows(window, columns=needed_columns(source.columns(), config, also=also))
    warnings = forced_random_warning(rows, config)
    used = plan or plan_split(rows, config, until=end, trained_to=foreign, refit=refit)
    used = used if end is None else dataclasses.replace(used, until=end)
    return assign_parts(rows, used, drop_duplicates=config.data.drop_duplicates, warnings=warnings)


def position_of(text: str | None, config: ModelConfig) -> float | None:
    """Return a moment that was typed as a position on the model's clock; None stays None.

    Raises
    ------
    InputError
        When it is not on the model's clock, or there is none.
    """
    if text is None:
        return None
    if not config.data.ordered:
        raise InputError(
            f"'{text}' is a point of a clock, but the model has none. Leave it out or name data.time."
        )
    return parse_position(text, clock=config.data.clock)
