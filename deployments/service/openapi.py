"""The OpenAPI document of predictions and outcomes: models for documentation alone, examples, errors.

No request passes these models: the fast path decodes rows itself (`endpoint`).
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Security
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema

from evergreen.deployments.service.request import MODEL_HEADER
from evergreen.tasks.core.serving.smoke import example_row

if TYPE_CHECKING:
    from evergreen.deployments.service.service import Service

_ID = "019abc4f7d1e5b0c9f2a4d6e8f10"
_SCHEMA = "#/components/schemas/{model}"

Value = str | float | bool | None
Name = Annotated[str, Field(min_length=1, max_length=200)]
Moment = Annotated[str, Field(min_length=1)] | float
Rows = Annotated[list[dict[str, Value]], Field(min_length=1)]
Columns = dict[str, list[Value]]
Lists = Annotated[list[list[Value]], Field(min_length=1)]


class RowsBody(BaseModel, extra="forbid"):
    """Rows to predict for, and what may be said of each of them."""

    ids: list[Name] | None = Field(None, description="prediction ids of the client's own, one a row")
    entities: list[Name | int | None] | None = Field(None, description="what each row is about, one a row")
    at: Moment | Annotated[list[Moment | None], Field(min_length=1)] | None = Field(
        None, description="when the rows happened, on the model's clock"
    )


class RecordsBody(RowsBody):
    """Rows as objects."""

    records: Rows


class ColumnsBody(RowsBody):
    """Values by column."""

    columns: Columns


class SplitFrame(BaseModel, extra="forbid"):
    """Column names, and the values of each row in that order."""

    columns: list[str]
    data: Lists
    index: Any = Field(None, description="not read")


class DataframeSplitBody(RowsBody):
    """MLflow's ``dataframe_split``."""

    dataframe_split: SplitFrame


class DataframeRecordsBody(RowsBody):
    """MLflow's ``dataframe_records``."""

    dataframe_records: Rows


class InputsBody(RowsBody):
    """MLflow's ``inputs``."""

    inputs: Columns | Rows | Lists


class InstancesBody(RowsBody):
    """MLflow's ``instances``, as TensorFlow Serving's."""

    instances: Columns | Rows | Lists


class PredictionItem(BaseModel):
    """One prediction."""

    id: str
    version: int | None = Field(description="null for an ensemble")
    variant: str
    score: float | dict[str, float] = Field(
        description="P(positive); one probability a class (multiclass); or the predicted number"
    )
    decision: Value


class PredictionAnswer(BaseModel):
    """One prediction a row, in the order of the rows."""

    model: str = Field(examples=["payments"])
    predictions: list[PredictionItem] = Field(
        examples=[[{"id": _ID, "version": 7, "variant": "champion", "score": 0.93, "decision": 1}]]
    )


class InvocationAnswer(BaseModel):
    """What MLflow's server answers, and with it ids, versions and variants."""

    predictions: list[Any] = Field(examples=[[1]])
    model: str = Field(examples=["payments"])
    ids: list[str] = Field(examples=[[_ID]])
    versions: list[int | None] = Field(examples=[[7]])
    variants: list[str] = Field(examples=[["champion"]])


class OutcomeItem(BaseModel, extra="forbid"):
    """What came true for one prediction."""

    id: Annotated[str, Field(min_length=1, max_length=255)]
    outcome: str | float | bool
    known_at: str | float | None = Field(None, description="when it became known; now, where it is left out")


class OutcomesBody(BaseModel, extra="forbid"):
    """Outcomes by prediction id."""

    outcomes: Annotated[list[OutcomeItem], Field(min_length=1)]


class OutcomesAnswer(BaseModel):
    """How many are new, and how many were known with the same value."""

    written: int = Field(examples=[1])
    known: int = Field(examples=[0])


class Error(BaseModel):
    """Why a request was refused."""

    code: str
    message: str
    field: str | None


class ErrorAnswer(BaseModel):
    """The body of every refusal."""

    error: Error


_BODIES = (RecordsBody, ColumnsBody, DataframeSplitBody, DataframeRecordsBody, InputsBody, InstancesBody)
_, _DEFINED = models_json_schema(
    [(model, "validation") for model in (*_BODIES, OutcomesBody, ErrorAnswer)], ref_template=_SCHEMA
)
ROWS: dict[str, Any] = {"oneOf": [{"$ref": _SCHEMA.format(model=body.__name__)} for body in _BODIES]}
"""Exactly one of the keys that hold rows."""
OUTCOMES: dict[str, Any] = {"$ref": _SCHEMA.format(model="OutcomesBody")}

_ERRORS = {
    400: ("The body is no JSON of a known shape.", "invalid_json", "The body is no JSON.", None),
    401: ("No API key, or an unknown one.", "no_key", "This service needs an API key.", None),
    404: ("No such model.", "unknown_model", "Unknown model 'fraud'. Served here: payments.", "model"),
    408: ("The request did not arrive in time.", "request_timeout", "It did not arrive within 10 s.", None),
    409: ("An id or a key was used before.", "id_taken", "Prediction 'order-17' is in the log.", "ids"),
    413: ("Too many rows, or too large a body.", "too_many_rows", "At most 1000 are allowed.", "records"),
    415: ("Not JSON.", "unsupported_media_type", "Allowed: application/json.", "Content-Type"),
    422: ("A column or value is wrong.", "wrong_type", "Column 'amount' holds 'abc'.", "records[0].amount"),
    429: ("Too many requests of this key; see Retry-After.", "too_many_requests", "Try again in 1 s.", None),
    500: ("The service failed; nothing was promised.", "internal", "The service failed.", None),
    503: ("Not ready, or overloaded; see Retry-After.", "overloaded", "Try again soon.", None),
}
"""Status: when it is answered, and the code, message and field of an example."""

KEYS = [
    Security(HTTPBearer(auto_error=False, scheme_name="bearer")),
    Security(APIKeyHeader(name="X-API-Key", auto_error=False, scheme_name="header")),
]
"""The two ways of sending an API key, for the document; `Authenticator` is what checks it."""


_ERROR = {"$ref": _SCHEMA.format(model="ErrorAnswer")}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what the document says of these statuses; of all that a raw endpoint answers, where none is named."""
    content = {"application/json": {"schema": _ERROR}}
    return {status: {"description": _ERRORS[status][0], "content": content} for status in statuses or _ERRORS}


_KEY_HEADER: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A request that is sent again with its key is the same prediction. A key of another request is "
    "refused (409), and so is a key together with ids (422). Use a UUID.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
}
_MODEL_HEADER: dict[str, Any] = {"name": MODEL_HEADER, "in": "header", "required": False, "schema": {}}


def _operation(
    tag: str, answer: type[BaseModel], schema: dict[str, Any], *headers: dict[str, Any], **options: Any
) -> dict[str, Any]:
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {
        "tags": [tag],
        "response_model": answer,
        "response_description": answer.__doc__,
        "openapi_extra": {"requestBody": body, "parameters": list(headers)},
        **options,
    }


_MLFLOW = "Predict, with the answer of MLflow's own server."
RAW_OPERATIONS = {
    "/models/{model}/predict": _operation(
        "predictions",
        PredictionAnswer,
        ROWS,
        _KEY_HEADER,
        operation_id="predict",
        summary="Predict for one or many rows.",
        description="A prediction that is answered with 200 is in the log, durably (serving.log: durable). With an "
        "Idempotency-Key, or ids of the client's own, a request that is sent again is the same prediction.",
    ),
    "/models/{model}/invocations": _operation(
        "predictions", InvocationAnswer, ROWS, _KEY_HEADER, summary=_MLFLOW
    ),
    "/invocations": _operation(
        "predictions", InvocationAnswer, ROWS, _MODEL_HEADER, _KEY_HEADER, summary=_MLFLOW
    ),
    "/models/{model}/outcomes": _operation(
        "outcomes",
        OutcomesAnswer,
        OUTCOMES,
        operation_id="outcomes",
        summary="Report what came true, by prediction id.",
        description="Before or after the prediction is known here, in any order, as often as you like: the first "
        "value stays. One that contradicts it is refused (409), and holds up no other.",
    ),
}
"""What the document says of each raw endpoint, by path."""


def row_examples(row: dict[str, Any]) -> dict[str, Any]:
    """Return an example of every shape of body, by name, with one row."""
    columns = {name: [value] for name, value in row.items()}
    split = {"columns": list(row), "data": [list(row.values())]}
    own = {"ids": ["order-17"], "entities": ["customer-4"], "at": [1769860800.0]}
    shapes = {
        "records": ("rows as objects", {"records": [row]}),
        "columns": ("values by column", {"columns": columns}),
        "beside": ("with ids, entities and times of the client's own", {"records": [row], **own}),
        "dataframe_split": ("MLflow", {"dataframe_split": split}),
        "dataframe_records": ("MLflow", {"dataframe_records": [row]}),
        "inputs": ("MLflow", {"inputs": columns}),
        "instances": ("MLflow, as TensorFlow", {"instances": [row]}),
    }
    return {name: {"summary": summary, "value": value} for name, (summary, value) in shapes.items()}


def describe(document: dict[str, Any], service: Service) -> dict[str, Any]:
    """Complete the document FastAPI made by what the service serves now: names, examples, and whether it needs keys.

    The example of a row, and of an outcome, is that of the first model that is live (and has classes).
    """
    document = deepcopy(document)  # FastAPI's has parts of the routes themselves
    document["components"]["schemas"] |= _DEFINED["$defs"]
    models = list(service.models)
    live = [served.live for served in service.models.values() if served.live is not None]
    row = example_row(live[0].signature) if live else {"amount": 12.5, "country": "DE"}
    outcome = next((one.champion.classes[-1] for one in live if one.champion.classes), 1)
    outcomes = {"outcomes": [{"id": _ID, "outcome": outcome, "known_at": "2026-02-28T09:00:00Z"}]}
    rows, reported = {"examples": row_examples(row)}, {"example": outcomes}
    for operation in (each for methods in document["paths"].values() for each in methods.values()):
        if operation["tags"] == ["facts"]:
            # FastAPI's own word for wrong parameters; names are any text
            operation["responses"].pop("422", None)
        if "security" in operation and not service.authenticator.keys.guarded:
            operation["security"] = [{}, *operation["security"]]
        for parameter in operation.get("parameters", ()):
            if parameter["name"] in ("model", MODEL_HEADER):
                parameter["schema"] = {"type": "string", "enum": models}
                parameter["required"] = parameter["in"] == "path" or len(models) > 1
        for status, answer in operation["responses"].items():
            content = answer.get("content", {}).get("application/json", {})
            if content.get("schema") == _ERROR:  # here, as FastAPI leaves out null
                _, code, message, field = _ERRORS[int(status)]
                content["example"] = {"error": {"code": code, "message": message, "field": field}}
        if body := operation.get("requestBody"):
            content = body["content"]["application/json"]
            content |= reported if content["schema"] == OUTCOMES else rows
    return document
