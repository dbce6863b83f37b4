"""The page at ``/docs``: Swagger UI from an installed package, so that it opens where nothing else can be reached."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

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
