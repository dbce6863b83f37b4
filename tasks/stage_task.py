"""Tasks of a stage: a refusal inside one is a named, completed state of the task run, not a crash."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, cast

from prefect import task
from prefect.client.schemas.objects import State as PrefectState
from prefect.states import Completed

from tasks.core.errors import Held, NotLearnable
from tasks.core.verdict import State

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Refusal:
    """What a task hands back instead of raising, so that Prefect does not call it a failure."""

    error: NotLearnable | Held


def stage_task(**options: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a Prefect task whose ``NotLearnable`` and ``Held`` end its run Completed, under their own names.

    The caller sees the same exception as from the plain function. ``options`` are those of ``prefect.task``; the
    plain function stands under ``fn``.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
            try:
                return function(*args, **kwargs)
            except (NotLearnable, Held) as error:
                state = State.HELD if isinstance(error, Held) else State.INSUFFICIENT
                return Completed(name=state.value, message=str(error), data=Refusal(error))

        run = task(**options)(guarded)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            answer: Any = run(*args, **kwargs)
            if isinstance(answer, PrefectState):  # a task that returns a state hands the state on
                raise cast("Refusal", answer.result()).error
            return cast("R", answer)

        call.fn = function  # type: ignore[attr-defined]
        return call

    return decorate
