"""How the log's writer hands results over: to threads that wait, or to an event loop, one wake-up a batch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent import futures
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger(__name__)

Settled = Sequence[tuple[Any, Any]]
"""Futures, each with its result, or with the exception to raise."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """Where results go.

    Attributes
    ----------
    make : callable
        Return a new future; called by whoever puts.
    hand_over : callable
        Settle the futures of a batch; called by the writer's thread.
    """

    make: Callable[[], Any]
    hand_over: Callable[[Settled], None]


def to_threads() -> Delivery:
    """Return a delivery by `concurrent.futures.Future`: whoever put may wait in any thread."""
    return Delivery(make=futures.Future, hand_over=settle)


def to_loop(loop: asyncio.AbstractEventLoop) -> Delivery:
    """Return a delivery by futures of an event loop, to be awaited there; a batch wakes the loop once."""

    def hand_over(settled: Settled) -> None:
        try:
            loop.call_soon_threadsafe(settle, settled)
        except RuntimeError:  # the loop was closed: nobody waits any more
            logger.warning("%d results of the log's writer found their event loop closed.", len(settled))

    return Delivery(make=loop.create_future, hand_over=hand_over)


def settle(settled: Settled) -> None:
    """Give each future its result; those that were given up are left alone."""
    for future, result in settled:
        try:
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
        except (asyncio.InvalidStateError, futures.InvalidStateError):
            continue  # cancelled: whoever asked has gone, what was written stays written
