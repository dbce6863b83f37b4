"""``POST /models/{model}/outcomes``: what came true, by prediction id, in batches, as often as one likes."""

from __future__ import annotations

from typing import Any

import orjson

from evergreen.deployments.service.endpoint import Endpoint, ModelEndpoint
from evergreen.deployments.service.errors import Receive, RequestProblem, Scope, log_problem_of
from evergreen.deployments.service.request import read_head
from evergreen.tasks.core.errors import EvergreenError
from evergreen.tasks.core.serving.answers import RequestRefused
from evergreen.tasks.core.serving.decode import check_outcome, read_body, read_times
from evergreen.tasks.io.prediction_log.records import KnownOutcome
from evergreen.tasks.io.prediction_log.writer import LogWriter

_KEYS = {"id", "outcome", "known_at"}
_LONGEST_ID = 255


class Outcomes(Endpoint):
    """The endpoint of one model.

    Parameters
    ----------
    counter : Counter
        The model, and all that its requests pass.
    writer : LogWriter or None
        The log; without one there is nothing an outcome could belong to.
    """

    def __init__(self, counter: ModelEndpoint, *, writer: LogWriter | None) -> None:
        super().__init__(counter, name="outcomes")
        self._writer = writer

    async def respond(self, scope: Scope, receive: Receive) -> bytes:
        """Return the body of the answer."""
        counter = self._counter
        head = read_head(scope["headers"])
        counter.admit(head, scope)
        if self._writer is None:
            raise RequestProblem(
                409, "no_log", "This model keeps no log (serving.log: off), so outcomes belong nowhere."
            )
        body = await counter.read(receive, head)
        try:
            known = self._read(body)
            receipt = await self._writer.put_outcomes(counter.served.name, known)
        except EvergreenError as error:
            raise log_problem_of(error, counter.served.name) from None
        if receipt.refused:
            named = ", ".join(receipt.refused[:5])
            raise RequestProblem(
                409,
                "outcome_taken",
                f"{len(receipt.refused)} of {len(known)} outcomes are known with another value ({named}); those stay, "
                f"all others are written. Outcomes are said once.",
                field="outcomes",
            )
        return orjson.dumps({"written": receipt.written, "known": receipt.known})

    def _read(self, body: bytes) -> list[KnownOutcome]:
        document = read_body(body, limits=self._counter.limits)
        given = document.get("outcomes")
        if set(document) != {"outcomes"} or not isinstance(given, list) or not given:
            raise RequestRefused(
                400,
                "wrong_shape",
                'The body must be {"outcomes": [{"id": …, "outcome": …, "known_at": …}, …]} with at least one outcome; '
                "known_at may be left out.",
                field="outcomes",
            )
        if len(given) > self._counter.limits.rows:
            raise RequestRefused(
                413,
                "too_many_rows",
                f"The request holds {len(given)} outcomes; at most {self._counter.limits.rows} are allowed at once.",
                field="outcomes",
            )
        return [self._outcome(one, f"outcomes[{place}]") for place, one in enumerate(given)]

    def _outcome(self, one: Any, field: str) -> KnownOutcome:
        if not isinstance(one, dict) or not {"id", "outcome"} <= one.keys() <= _KEYS:
            raise RequestRefused(
                422,
                "wrong_shape",
                f"'{field}' must be an object with id, outcome and perhaps known_at.",
                field=field,
            )
        name, outcome = one["id"], one["outcome"]
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_ID:
            raise RequestRefused(
                422, "invalid_id", f"An id is a text of 1 to {_LONGEST_ID} characters.", field=f"{field}.id"
            )
        served = self._counter.served
        check_outcome(
            outcome,
            problem=served.config.problem.value,
            classes=served.live.champion.classes if served.live else (),
            field=f"{field}.outcome",
        )
        return KnownOutcome(prediction_id=name, outcome=outcome, known_at=self._known_at(one, field))

    def _known_at(self, one: dict[str, Any], field: str) -> float:
        """Return when an outcome became known, on the model's clock; now where the request does not say."""
        config = self._counter.served.config
        live = self._counter.served.live
        given = one.get("known_at")
        if given is None:
            return self._counter.positions.now(field=f"{field}.known_at")
        if live is None:
            raise RequestProblem(
                503, "not_ready", f"The model '{config.model}' is not ready. Try again soon.", retry_after=2
            )
        times = read_times([given], n=1, signature=live.signature, field=f"{field}.known_at")
        return float(times[0])  # type: ignore[index, arg-type]
