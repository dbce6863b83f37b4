"""The FastAPI application: health, facts and documents by FastAPI; predictions pass by its middleware and router."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version as installed_version
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from evergreen.deployments.service import errors, openapi
from evergreen.deployments.service.errors import Receive, RequestProblem, Scope, Send
from evergreen.deployments.service.live import Live, ServedModel
from evergreen.deployments.service.request import MODEL_HEADER, read_head, read_secret
from evergreen.deployments.service.service import Service

logger = logging.getLogger(__name__)

_DOCS = "docs"
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ServiceApp(FastAPI):
    """A FastAPI application whose raw endpoints are found by their path alone, before its middleware and router."""

    def __init__(self, service: Service, **options: Any) -> None:
        super().__init__(**options)
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        """Answer a request."""
        if scope["type"] == "http" and scope["method"] == "POST":
            endpoint = self.service.routes.get(scope["path"])
            if endpoint is not None:
                await endpoint(scope, receive, send)
                return
        await super().__call__(scope, receive, send)  # type: ignore[arg-type]

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, the raw endpoints included."""
        self.openapi_schema = None  # its examples change with what is served
        return openapi.describe(super().openapi(), self.service)


def make_app(service: Service) -> ServiceApp:
    """Return the application of a service; it begins and ends with the server."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app = ServiceApp(
        service,
        title="Evergreen predictions",
        version=installed_version("evergreen-mlops"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    _add_docs_page(app)
    _add_health(app, service)
    _add_facts(app, service)
    _add_predictions(app, service)
    _add_problems(app)
    return app


def _add_docs_page(app: FastAPI) -> None:
    """Serve Swagger UI from an installed package, so that it opens offline; every address in it is relative."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=app.title,
        swagger_js_url=f"{_DOCS}/swagger-ui-bundle.js",
        swagger_css_url=f"{_DOCS}/swagger-ui.css",
        swagger_favicon_url=f"{_DOCS}/favicon-32x32.png",
    )

    @app.get(f"/{_DOCS}", include_in_schema=False)
    async def docs() -> HTMLResponse:
        """Return the page."""
        return page

    app.mount(f"/{_DOCS}", StaticFiles(packages=[("fastapi_swagger", "resources")]))


def _add_health(app: FastAPI, service: Service) -> None:
    plain: dict[str, Any] = {"tags": ["health"], "response_class": PlainTextResponse}
    content = {"content": {"application/json": {"schema": {"type": "object"}}}}
    answers: dict[int | str, Any] = {200: content, 503: {"description": "Not ready, and why.", **content}}

    @app.get("/health", summary="Whether the process lives", **plain)
    @app.get("/ping", summary="The same", **plain)
    async def health() -> str:
        """Say that the process lives."""
        return "OK\n"

    @app.get("/version", summary="MLflow's version", **plain)
    async def version() -> str:
        """Say which MLflow the service loads models by, as MLflow's own server does."""
        return installed_version("mlflow")

    @app.get("/ready", summary="Whether every model is ready", tags=["health"], responses=answers)
    async def ready() -> JSONResponse:
        """Say whether every model has a version to answer with, and the log can be written; 503 when not."""
        is_ready, state = readiness(service)
        return JSONResponse(state, status_code=200 if is_ready else 503)


def _add_facts(app: FastAPI, service: Service) -> None:
    def admit(request: Request) -> str:
        return service.authenticator.admit(read_secret(request.scope["headers"]), request.scope)

    options: dict[str, Any] = {"tags": ["facts"], "dependencies": [Depends(admit), *openapi.KEYS]}

    @app.get(
        "/metrics",
        summary="Figures for Prometheus",
        response_class=PlainTextResponse,
        responses=openapi.errors(401),
        **options,
    )
    async def metrics() -> Response:
        """Return figures for Prometheus."""
        return Response(service.metrics.text(), media_type=_METRICS_TYPE)

    @app.get("/models", summary="The models that are served", responses=openapi.errors(401), **options)
    async def models() -> dict[str, list[str]]:
        """Name the models that are served."""
        return {"models": list(service.models)}

    answers = openapi.errors(401, 404)

    @app.get("/models/{model}", summary="Versions, roles and signature", responses=answers, **options)
    async def model_of(model: str) -> dict[str, Any]:
        """Return versions, roles and signature of a model."""
        if model not in service.models:
            raise errors.unknown_model(model, list(service.models))
        return model_facts(service.models[model])


def _add_predictions(app: FastAPI, service: Service) -> None:
    """Document the raw endpoints, and answer what they do not: models that are not served, ``/invocations`` of many."""

    async def unknown(model: str, request: Request) -> Response:
        service.authenticator.admit(read_head(request.scope["headers"]).secret, request.scope)
        raise errors.unknown_model(model, list(service.models))

    async def invocations(request: Request) -> Response:
        head = read_head(request.scope["headers"])
        name = head.model or (next(iter(service.models)) if len(service.models) == 1 else None)
        if name is None:
            raise RequestProblem(
                400,
                "which_model",
                f"Several models are served here: {', '.join(service.models)}. Name one in {MODEL_HEADER}, or use "
                "/models/MODEL/invocations.",
                field=MODEL_HEADER,
            )
        service.authenticator.admit(head.secret, request.scope)
        endpoint = service.routes.get(f"/models/{name}/invocations")
        if endpoint is None:
            raise errors.unknown_model(name, list(service.models))
        return Raw(endpoint)

    for path, operation in openapi.RAW_OPERATIONS.items():
        endpoint = invocations if path == "/invocations" else unknown
        answers, keys = openapi.errors(), openapi.KEYS
        app.add_api_route(path, endpoint, methods=["POST"], responses=answers, dependencies=keys, **operation)


class Raw(Response):
    """The answer of a raw endpoint, where FastAPI found the request."""

    def __init__(self, endpoint: Any) -> None:
        super().__init__()
        self._endpoint = endpoint

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Let the endpoint read the request and answer it."""
        await self._endpoint(scope, receive, send)


def _answer(problem: RequestProblem) -> Response:
    status, body, headers = errors.problem_answer(problem)
    named = {name.decode(): value.decode() for name, value in headers}
    return Response(body, status_code=status, headers=named, media_type="application/json")


def _add_problems(app: FastAPI) -> None:
    @app.exception_handler(RequestProblem)
    async def of_ours(_: Request, problem: RequestProblem) -> Response:
        return _answer(problem)

    @app.exception_handler(HTTPException)
    async def of_starlette(request: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
        message = f"There is no {request.method} {request.url.path[:100]} here; /docs shows what there is."
        answer = _answer(RequestProblem(error.status_code, code, message))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(RequestValidationError)
    async def of_fastapi(_: Request, error: RequestValidationError) -> Response:
        message = f"{len(error.errors())} parameters are wrong; /docs shows which are allowed."
        return _answer(RequestProblem(422, "wrong_parameter", message))

    @app.exception_handler(Exception)
    async def of_bugs(request: Request, error: Exception) -> Response:
        kind, place = type(error).__name__, errors.place_of(error)
        logger.error("%s %s: %s at %s", request.method, request.url.path, kind, place)
        return _answer(errors.internal())


def readiness(service: Service) -> tuple[bool, dict[str, Any]]:
    """Return whether all models can answer and the log can be written, and the reasons."""
    models = {name: _standing(served) for name, served in service.models.items()}
    log = "off"
    if service.writer is not None:
        log = "unreachable" if service.writer.state().down else "writable"
    is_ready = all(one["live"] for one in models.values()) and log != "unreachable"
    return is_ready, {"ready": is_ready, "log": log, "models": models}


def model_facts(served: ServedModel) -> dict[str, Any]:
    """Return what is served of a model, what was wanted and refused, and what requests must hold."""
    live, serving = served.live, served.config.serving
    return {
        "model": served.name,
        "problem": served.config.problem.value,
        "description": served.config.description,
        **_standing(served),
        "aliases": served.aliases,
        "variants": _variants(live) if live else [],
        "signature": _signature(live) if live else None,
        "limits": {"max_rows": serving.max_rows, "max_body_mb": serving.max_body_mb},
        "log": serving.log,
    }


def _standing(served: ServedModel) -> dict[str, Any]:
    live = served.live
    refused = [
        {"version": one.version, "wanted_as": one.role, "why": one.why, "at": one.at.isoformat()}
        for one in served.refused
    ]
    return {
        "live": live is not None,
        "version": live.champion.number if live else None,
        "waits_for": served.waits_for,
        "refused": refused,
        "from_local_copy": served.from_cache,
        "registry": served.registry,
        "registry_away_since": served.away_since.isoformat() if served.away_since else None,
    }


def _variants(live: Live) -> list[dict[str, Any]]:
    return [
        {
            "name": variant.name,
            "role": variant.role.value,
            "share": variant.share,
            "answers": variant.name in live.arms,
            "members": [
                {
                    "version": one.number,
                    "weight": weight,
                    "form": one.model.form,
                    "since": one.since.isoformat(),
                }
                for one, weight in (live.arms[variant.name].members if variant.name in live.arms else ())
            ],
        }
        for variant in live.plan.variants
    ]


def _signature(live: Live) -> dict[str, Any]:
    signature = live.signature
    return {
        "columns": [
            {"name": one.name, "kind": one.kind, "nullable": one.nullable, "only": one.only or None}
            for one in signature.columns
        ],
        "may_also_bring": list(signature.context),
        "clock": signature.clock,
    }
