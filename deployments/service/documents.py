"""The OpenAPI document of the raw endpoints, written by hand: every shape of body, every answer, every error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deployments.service.document_parts import (
    ERRORS,
    INVOCATION_ANSWER,
    KEY_HEADER,
    MODEL_PARAMETER,
    OUTCOMES_ANSWER,
    PREDICTION_ANSWER,
    SCHEMAS,
    outcome_body,
    row_bodies,
)
from deployments.service.reading import MODEL_HEADER
from tasks.core.serving.smoke import example_row

if TYPE_CHECKING:
    from deployments.service.service import Service

_OPEN = ("/health", "/ping", "/version", "/ready")


def describe(document: dict[str, Any], service: Service) -> dict[str, Any]:
    """Return the document with the raw endpoints, their errors, and the two ways of sending a key."""
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(SCHEMAS)
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    models = list(service.models)
    paths = document["paths"]
    row = _row(service)
    _add_errors(paths, models)
    paths["/models/{model}/predict"] = {"post": _prediction(models, row)}
    paths["/models/{model}/invocations"] = {"post": _invocation([_model(models)], row)}
    header = {
        "name": MODEL_HEADER,
        "in": "header",
        "required": len(models) > 1,
        "schema": {"type": "string", "enum": models},
    }
    paths["/invocations"] = {"post": _invocation([header], row)}
    paths["/models/{model}/outcomes"] = {"post": _outcomes(models, _came_true(service))}
    if service.guard.keys.guarded:
        _require_keys(paths)
    return document


def _require_keys(paths: dict[str, Any]) -> None:
    """Say that nobody is let in without a key where a service has some."""
    for operation in (each for methods in paths.values() for each in methods.values()):
        if "security" in operation:
            operation["security"] = [one for one in operation["security"] if one]


def _row(service: Service) -> dict[str, Any]:
    """Return a row that the first model which is live takes; one of nobody's while none is."""
    for served in service.models.values():
        if served.live is not None:
            return example_row(served.live.signature)
    return {"amount": 12.5, "country": "DE"}


def _came_true(service: Service) -> Any:
    """Return an outcome that the first model which is live takes."""
    for served in service.models.values():
        if served.live is not None and served.live.champion.classes:
            return served.live.champion.classes[-1]
    return 1


def _prediction(models: list[str], row: dict[str, Any]) -> dict[str, Any]:
    return {
        "tags": ["predictions"],
        "operationId": "predict",
        "summary": "Predict for one or many rows.",
        "description": "A prediction that is answered with 200 is in the log, durably (serving.log: durable). With an "
        "Idempotency-Key, or ids of the client's own, a request that is sent again is the same prediction.",
        "parameters": [_model(models), KEY_HEADER],
        "requestBody": row_bodies(row),
        "responses": {
            "200": PREDICTION_ANSWER,
            **_errors(400, 401, 404, 408, 409, 413, 415, 422, 429, 500, 503),
        },
        "security": _security(),
    }


def _invocation(parameters: list[dict[str, Any]], row: dict[str, Any]) -> dict[str, Any]:
    return {
        "tags": ["predictions"],
        "summary": "Predict, with the answer of MLflow's own server.",
        "parameters": [*parameters, KEY_HEADER],
        "requestBody": row_bodies(row),
        "responses": {
            "200": INVOCATION_ANSWER,
            **_errors(400, 401, 404, 408, 409, 413, 415, 422, 429, 500, 503),
        },
        "security": _security(),
    }


def _outcomes(models: list[str], example: Any) -> dict[str, Any]:
    return {
        "tags": ["outcomes"],
        "operationId": "outcomes",
        "summary": "Say what came true, by prediction id.",
        "description": "Before or after the prediction is known here, in any order, as often as you like: the first "
        "value stays. One that contradicts it is refused (409), and holds up no other.",
        "parameters": [_model(models)],
        "requestBody": outcome_body(example),
        "responses": {
            "200": OUTCOMES_ANSWER,
            **_errors(400, 401, 404, 408, 409, 413, 415, 422, 429, 500, 503),
        },
        "security": _security(),
    }


def _add_errors(paths: dict[str, Any], models: list[str]) -> None:
    """Say what the endpoints of FastAPI's own answer beside 200."""
    for path, methods in paths.items():
        for operation in methods.values():
            operation["responses"].pop("422", None)
            if path not in _OPEN:
                operation["security"] = _security()
                operation["responses"] |= _errors(401, 404) if "{model}" in path else _errors(401)
            for parameter in operation.get("parameters", ()):
                if parameter["name"] == "model":
                    parameter["schema"] = {"type": "string", "enum": models}
    ready = paths["/ready"]["get"]["responses"]
    ready["200"]["content"] = ready["200"].get("content") or {
        "application/json": {"schema": {"type": "object"}}
    }
    ready["503"] = {"description": "Not ready, and why.", "content": ready["200"]["content"]}


def _errors(*statuses: int) -> dict[str, Any]:
    return {str(status): ERRORS[status] for status in statuses}


def _model(models: list[str]) -> dict[str, Any]:
    return {**MODEL_PARAMETER, "schema": {"type": "string", "enum": models}}


def _security() -> list[dict[str, Any]]:
    return [{}, {"bearer": []}, {"header": []}]
