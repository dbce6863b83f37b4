"""Parts of the OpenAPI document: bodies, answers and errors, each with an example."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evergreen.deployments.service.request import MODEL_HEADER
from evergreen.tasks.core.serving.smoke import example_row

if TYPE_CHECKING:
    from evergreen.deployments.service.service import Service


_ID = "019abc4f7d1e5b0c9f2a4d6e8f10"
_PREDICTION = {"id": _ID, "version": 7, "variant": "champion", "score": 0.93, "decision": 1}
_VALUE: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}

SCHEMAS: dict[str, Any] = {
    "Error": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "message", "field"],
                "properties": {
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                    "field": {"type": ["string", "null"]},
                },
            }
        },
    },
    "Prediction": {
        "type": "object",
        "required": ["id", "version", "variant", "score", "decision"],
        "properties": {
            "id": {"type": "string"},
            "version": {"type": ["integer", "null"], "description": "null for an ensemble"},
            "variant": {"type": "string"},
            "score": {
                "description": "P(positive); one probability a class (multiclass); or the predicted number",
                "oneOf": [{"type": "number"}, {"type": "object", "additionalProperties": {"type": "number"}}],
            },
            "decision": _VALUE,
        },
    },
    "Row": {"type": "object", "additionalProperties": _VALUE},
    "Columns": {"type": "object", "additionalProperties": {"type": "array", "items": _VALUE}},
}

MODEL_PARAMETER: dict[str, Any] = {"name": "model", "in": "path", "required": True}
KEY_HEADER: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same request is the same prediction; with another one it is refused (409), "
    "and beside ids (422). Use a UUID.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
}


def body_examples(row: dict[str, Any]) -> dict[str, Any]:
    """Return an example of every shape of body, by name, with one row."""
    names, values = list(row), list(row.values())
    columns = {name: [value] for name, value in row.items()}
    beside = {"ids": ["order-17"], "entities": ["customer-4"], "at": [1769860800.0]}
    shapes = {
        "records": ("rows as objects", {"records": [row]}),
        "columns": ("values by column", {"columns": columns}),
        "beside": ("with ids, entities and times of the client's own", {"records": [row], **beside}),
        "dataframe_split": ("MLflow", {"dataframe_split": {"columns": names, "data": [values]}}),
        "dataframe_records": ("MLflow", {"dataframe_records": [row]}),
        "inputs": ("MLflow", {"inputs": columns}),
        "instances": ("MLflow, as TensorFlow", {"instances": [row]}),
    }
    return {name: {"summary": summary, "value": value} for name, (summary, value) in shapes.items()}


_REQUEST_METADATA = {
    "ids": {"type": ["array", "null"], "items": {"type": "string", "minLength": 1, "maxLength": 200}},
    "entities": {
        "type": ["array", "null"],
        "items": {"type": ["string", "integer", "null"], "minLength": 1, "maxLength": 200},
    },
    "at": {
        "type": ["string", "number", "array", "null"],
        "minLength": 1,
        "items": {"type": ["string", "number", "null"], "minLength": 1},
    },
}
"""What may stand beside the rows."""


def row_bodies(row: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a prediction: exactly one of the keys that hold rows.

    Parameters
    ----------
    row : dict
        A row of the model that is served, for the examples.
    """
    rows = {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Row"}}
    columns = {"$ref": "#/components/schemas/Columns"}
    split = {
        "type": "object",
        "required": ["columns", "data"],
        "properties": {
            "columns": {"type": "array", "items": {"type": "string"}},
            "data": {"type": "array", "minItems": 1, "items": {"type": "array", "items": _VALUE}},
            "index": {"description": "not read"},
        },
        "additionalProperties": False,
    }
    lists = {"type": "array", "minItems": 1, "items": {"type": "array", "items": _VALUE}}
    shapes = {
        "records": rows,
        "columns": columns,
        "dataframe_split": split,
        "dataframe_records": rows,
        "inputs": {"anyOf": [columns, rows, lists]},
        "instances": {"anyOf": [columns, rows, lists]},
    }
    one_of = [
        {
            "type": "object",
            "required": [key],
            "properties": {key: shape, **_REQUEST_METADATA},
            "additionalProperties": False,
        }
        for key, shape in shapes.items()
    ]
    return {
        "required": True,
        "content": {"application/json": {"schema": {"oneOf": one_of}, "examples": body_examples(row)}},
    }


def _answer(description: str, schema: dict[str, Any], example: Any) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": schema, "example": example}},
    }


PREDICTION_ANSWER = _answer(
    "One prediction a row, in the order of the rows.",
    {
        "type": "object",
        "required": ["model", "predictions"],
        "properties": {
            "model": {"type": "string"},
            "predictions": {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}},
        },
    },
    {"model": "payments", "predictions": [_PREDICTION]},
)

INVOCATION_ANSWER = _answer(
    "What MLflow's server answers, and beside it ids, versions and variants.",
    {
        "type": "object",
        "required": ["predictions", "model", "ids", "versions", "variants"],
        "properties": {
            "predictions": {"type": "array", "items": {}},
            "model": {"type": "string"},
            "ids": {"type": "array", "items": {"type": "string"}},
            "versions": {"type": "array", "items": {"type": ["integer", "null"]}},
            "variants": {"type": "array", "items": {"type": "string"}},
        },
    },
    {"predictions": [1], "model": "payments", "ids": [_ID], "versions": [7], "variants": ["champion"]},
)

OUTCOMES_ANSWER = _answer(
    "How many are new, and how many were known with the same value.",
    {
        "type": "object",
        "required": ["written", "known"],
        "properties": {"written": {"type": "integer"}, "known": {"type": "integer"}},
    },
    {"written": 1, "known": 0},
)

_ERROR_TEXTS = {
    400: ("The body is no JSON of a known shape.", "invalid_json", "The body is no JSON.", None),
    401: ("No API key, or one that is not known.", "no_key", "This service needs an API key.", None),
    404: ("No such model.", "unknown_model", "Unknown model 'fraud'. Served here: payments.", "model"),
    408: ("The request did not arrive in time.", "request_timeout", "It did not arrive within 10 s.", None),
    409: (
        "An id or a key stands for something else.",
        "id_taken",
        "Prediction 'order-17' is in the log.",
        "ids",
    ),
    413: ("Too many rows, or too large a body.", "too_many_rows", "At most 1000 are allowed.", "records"),
    415: ("Not JSON.", "unsupported_media_type", "Allowed: application/json.", "Content-Type"),
    422: ("A column or value is wrong.", "wrong_type", "Column 'amount' holds 'abc'.", "records[0].amount"),
    429: ("Too many requests of this key; see Retry-After.", "too_many_requests", "Try again in 1 s.", None),
    500: ("The service failed; nothing was promised.", "internal", "The service failed.", None),
    503: ("Not ready, or too much waits; see Retry-After.", "overloaded", "Try again soon.", None),
}

ERRORS: dict[int, dict[str, Any]] = {
    status: _answer(
        description,
        {"$ref": "#/components/schemas/Error"},
        {"error": {"code": code, "message": message, "field": field}},
    )
    for status, (description, code, message, field) in _ERROR_TEXTS.items()
}


def outcome_body(example: Any) -> dict[str, Any]:
    """Return the body of outcomes, with an outcome that the model takes."""
    return {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["outcomes"],
                    "additionalProperties": False,
                    "properties": {
                        "outcomes": {
                            "type": "array",
                            "minItems": 1,
                            "items": {
                                "type": "object",
                                "required": ["id", "outcome"],
                                "additionalProperties": False,
                                "properties": {
                                    "id": {"type": "string", "minLength": 1, "maxLength": 255},
                                    "outcome": {"type": ["string", "number", "boolean"]},
                                    "known_at": {"type": ["string", "number", "null"]},
                                },
                            },
                        }
                    },
                },
                "example": {
                    "outcomes": [{"id": _ID, "outcome": example, "known_at": "2026-02-28T09:00:00Z"}]
                },
            }
        },
    }


# The OpenAPI document of the raw endpoints, written by hand: every shape of body, every answer, every error.


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
    paths["/models/{model}/outcomes"] = {"post": _outcomes(models, _example_outcome(service))}
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


def _example_outcome(service: Service) -> Any:
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
