"""Retry what can be transient (a server that does not answer), never a decision or a wrong input."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from evergreen.tasks.core.errors import Blocked, StageRefusal, Unreachable
from evergreen.tasks.core.verdict import State

_NETWORK = (Unreachable, ConnectionError, TimeoutError)
_NETWORK_NAMES = {"OperationalError", "ConnectionError", "ConnectTimeout", "ReadTimeout", "ConnectError"}


def is_transient(task: Any, task_run: Any, state: Any) -> bool:
    """Return True when a task failed because something did not answer (Prefect's ``retry_condition_fn``)."""
    try:
        state.result()
    except _NETWORK:
        return True
    except Exception as error:  # the state carries whatever the task raised; only its kind matters
        return type(error).__name__ in _NETWORK_NAMES
    return False


SIDE_EFFECT: dict[str, Any] = {}
"""Options of a task that must run each time and is not retried."""

TRANSIENT: dict[str, Any] = {"retries": 2, "retry_delay_seconds": 2, "retry_condition_fn": is_transient}
"""Options of a task that reads or writes a store and may be repeated without harm."""


# Tasks of a stage: a refusal inside one is a named, completed state of the task run, not a crash.


P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class TaskRefusal:
    """What a task returns instead of raising, so that Prefect does not call it a failure."""

    error: StageRefusal


class StageTask(Protocol[P, R]):
    """A task of a stage."""

    fn: Callable[P, R]
    """The plain function."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the task and wait for it."""

    def begin(self, *args: P.args, **kwargs: P.kwargs) -> Callable[[], R]:
        """Start the task beside the flow; the function returned waits for its answer."""


def stage_task(**options: Any) -> Callable[[Callable[P, R]], StageTask[P, R]]:
    """Make a Prefect task whose ``NotLearnable`` and ``Blocked`` end its run Completed, under their own names.

    The caller sees the same exception as from the plain function. ``options`` are those of ``prefect.task``; nothing
    is cached. Answers of other tasks are the run's inputs as they stand: Prefect does not search what arguments
    are made of. Prefect is imported by the first call, so that commands may use the plain functions without it.
    """

    def decorate(function: Callable[P, R]) -> StageTask[P, R]:
        @functools.cache
        def task() -> Any:
            return _prefect_task(function, options)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            return cast("R", _answer_or_raise(_opaque(task(), args, kwargs)))

        def begin(*args: P.args, **kwargs: P.kwargs) -> Callable[[], R]:
            future = _opaque(task().submit, args, kwargs)
            return lambda: cast("R", _answer_or_raise(future.result()))

        made: Any = call
        made.fn, made.begin = function, begin
        return cast("StageTask[P, R]", made)

    return decorate


def _prefect_task(function: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """Return Prefect's task, which ends Completed by its own name where the function refuses."""
    from prefect import task
    from prefect.cache_policies import NO_CACHE
    from prefect.states import Completed

    @functools.wraps(function)
    def run_or_refuse(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except StageRefusal as error:
            state = State.BLOCKED if isinstance(error, Blocked) else State.INSUFFICIENT_DATA
            return Completed(name=state.value, message=str(error), data=TaskRefusal(error))

    return task(cache_policy=NO_CACHE, **options)(run_or_refuse)


def _opaque(call: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call with arguments Prefect does not search: a long history would cost more than most tasks."""
    from prefect.utilities.annotations import opaque

    return call(*map(opaque, args), **{name: opaque(value) for name, value in kwargs.items()})


def _answer_or_raise(answer: Any) -> Any:
    """Return a task's answer; a refusal is raised again."""
    from prefect.client.schemas.objects import State as PrefectState

    if isinstance(answer, PrefectState):  # a task that returns a state hands the state on
        answer = answer.result()
    if isinstance(answer, TaskRefusal):
        raise answer.error
    return answer
