"""The FastAPI application: signs of life, facts and documents by FastAPI, predictions past it."""

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

from evergreen.deployments.service.errors import (
    Receive,
    RequestProblem,
    Scope,
    Send,
    internal,
    place_of,
    problem_answer,
    unknown_model,
)
from evergreen.deployments.service.info import model_facts, readiness
from evergreen.deployments.service.openapi import describe
from evergreen.deployments.service.request import MODEL_HEADER, read_head, read_secret
from evergreen.deployments.service.service import Service

# The page at ``/docs``: Swagger UI from an installed package, so that it opens where nothing else can be reached.


_PATH = "docs"


def add_docs_page(app: FastAPI) -> None:
    """Serve the page and what it loads; every address is relative, whatever stands in front of the service."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=app.title,
        swagger_js_url=f"{_PATH}/swagger-ui-bundle.js",
        swagger_css_url=f"{_PATH}/swagger-ui.css",
        swagger_favicon_url=f"{_PATH}/favicon-32x32.png",
    )

    @app.get(f"/{_PATH}", include_in_schema=False)
    async def docs() -> HTMLResponse:
        """Return the page."""
        return page

    app.mount(f"/{_PATH}", StaticFiles(packages=[("fastapi_swagger", "resources")]))


logger = logging.getLogger(__name__)

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
        return describe(super().openapi(), self.service)


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
    add_docs_page(app)
    _add_signs_of_life(app, service)
    _add_facts(app, service)
    _add_strangers(app, service)
    _add_problems(app)
    return app


def _add_signs_of_life(app: FastAPI, service: Service) -> None:
    @app.get(
        "/health",
        summary="Whether the process lives",
        tags=["signs of life"],
        response_class=PlainTextResponse,
    )
    @app.get("/ping", summary="The same", tags=["signs of life"], response_class=PlainTextResponse)
    async def health() -> str:
        """Say that the process lives."""
        return "OK\n"

    @app.get("/version", summary="MLflow's version", tags=["signs of life"], response_class=PlainTextResponse)
    async def version() -> str:
        """Say which MLflow the service loads models by, as MLflow's own server does."""
        return installed_version("mlflow")

    @app.get("/ready", summary="Whether every model is ready", tags=["signs of life"])
    async def ready() -> JSONResponse:
        """Say whether every model has a version to answer with, and the log can be written; 503 when not."""
        is_ready, said = readiness(service)
        return JSONResponse(said, status_code=200 if is_ready else 503)


def _add_facts(app: FastAPI, service: Service) -> None:
    def admit(request: Request) -> str:
        return service.guard.admit(read_secret(request.scope["headers"]), request.scope)

    @app.get("/metrics", summary="Figures for Prometheus", tags=["facts"], response_class=PlainTextResponse)
    async def metrics(_: str = Depends(admit)) -> Response:
        """Return figures for Prometheus."""
        return Response(service.metrics.text(), media_type=_METRICS_TYPE)

    @app.get("/models", summary="The models that are served", tags=["facts"])
    async def models(_: str = Depends(admit)) -> dict[str, list[str]]:
        """Name the models that are served."""
        return {"models": list(service.models)}

    @app.get("/models/{model}", summary="Versions, roles and signature", tags=["facts"])
    async def model_of(model: str, _: str = Depends(admit)) -> dict[str, Any]:
        """Return versions, roles and signature of a model."""
        if model not in service.models:
            raise unknown_model(model, list(service.models))
        return model_facts(service.models[model])

    @app.post("/invocations", include_in_schema=False)
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
        service.guard.admit(head.secret, request.scope)
        endpoint = service.route(name)
        if endpoint is None:
            raise unknown_model(name, list(service.models))
        return Raw(endpoint)


def _add_strangers(app: FastAPI, service: Service) -> None:
    """Answer for models that are not served: the paths of those that are were found before the router."""

    @app.post("/models/{model}/predict", include_in_schema=False)
    @app.post("/models/{model}/invocations", include_in_schema=False)
    @app.post("/models/{model}/outcomes", include_in_schema=False)
    async def stranger(model: str, request: Request) -> Response:
        service.guard.admit(read_head(request.scope["headers"]).secret, request.scope)
        raise unknown_model(model, list(service.models))


class Raw(Response):
    """The answer of a raw endpoint, where FastAPI found the request."""

    def __init__(self, endpoint: Any) -> None:
        super().__init__()
        self._endpoint = endpoint

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Let the endpoint read the request and answer it."""
        await self._endpoint(scope, receive, send)


def _add_problems(app: FastAPI) -> None:
    def said(problem: RequestProblem) -> Response:
        status, body, headers = problem_answer(problem)
        named = {name.decode(): value.decode() for name, value in headers}
        return Response(body, status_code=status, headers=named, media_type="application/json")

    @app.exception_handler(RequestProblem)
    async def of_ours(_: Request, problem: RequestProblem) -> Response:
        return said(problem)

    @app.exception_handler(HTTPException)
    async def of_starlette(request: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
        what = f"{request.method} {request.url.path[:100]}"
        answer = said(
            RequestProblem(error.status_code, code, f"There is no {what} here; /docs shows what there is.")
        )
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(RequestValidationError)
    async def of_fastapi(_: Request, error: RequestValidationError) -> Response:
        return said(
            RequestProblem(422, "wrong_parameter", f"{len(error.errors())} parameters are wrong; see /docs.")
        )

    @app.exception_handler(Exception)
    async def of_bugs(request: Request, error: Exception) -> Response:
        logger.error(
            "%s %s: %s at %s", request.method, request.url.path, type(error).__name__, place_of(error)
        )
        return said(internal())
