"""What went wrong behind a request, as its answer: a status, a code, and no word of a row or a traceback."""

from __future__ import annotations

import logging
import traceback

from deployments.service.problems import Problem, internal
from tasks.core.errors import EvergreenError, InputError, Unreachable
from tasks.core.redact import without_places
from tasks.core.serving.once import IdTaken
from tasks.core.serving.refused import Refused
from tasks.io.served import QueueFull

logger = logging.getLogger(__name__)


def problem_of(error: BaseException, model: str) -> Problem:
    """Return the answer for an error; one that nobody expected is the model's, whose code may raise anything."""
    return _expected(error, model) or _model_fails(error, model)


def log_problem_of(error: BaseException, model: str) -> Problem:
    """Return the answer for an error that came from the log's writer: whatever it is, the model scored the rows."""
    return _expected(error, model) or _writer_fails(error, model)


def _expected(error: BaseException, model: str) -> Problem | None:
    if isinstance(error, Problem):
        return error
    if isinstance(error, Refused):
        return Problem(error.status, error.code, error.message, field=error.field)
    if isinstance(error, QueueFull | Unreachable):
        return _log_fails(error, model)
    if isinstance(error, InputError):
        taken = isinstance(error, IdTaken)
        told = without_places(str(error))
        return Problem(409 if taken else 422, error.code, told, field="ids" if taken else None)
    return None


def _log_fails(error: QueueFull | Unreachable, model: str) -> Problem:
    if isinstance(error, QueueFull):
        return Problem(503, "log_full", str(error), retry_after=error.retry_after)
    logger.error("%s: the log does not answer: %s", model, error)
    return Problem(
        503,
        "log_unreachable",
        "The log does not answer, so nothing can be promised. Try again; with the same Idempotency-Key it is one "
        "prediction, however often it is sent.",
        retry_after=2,
    )


def _model_fails(error: BaseException, model: str) -> Problem:
    """Return the answer for what a model raised; the server's log gets its kind and place, never its words."""
    if isinstance(error, EvergreenError):
        logger.error("%s: %s", model, type(error).__name__)
    logger.error("%s: %s at %s", model, type(error).__name__, place_of(error))
    return Problem(
        422,
        "model_refuses",
        f"The model cannot score these rows ({type(error).__name__}). Correct the values, or ask whoever trained it.",
    )


def _writer_fails(error: BaseException, model: str) -> Problem:
    """Return the answer for a bug between the model and the log."""
    logger.error("%s: the log's writer: %s at %s", model, type(error).__name__, place_of(error))
    return internal()


def place_of(error: BaseException) -> str:
    """Return where an error was raised: files and lines alone, for messages may hold what a client sent."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames))
