"""/docs: Swagger UI out of an installed package, so that it works without a network and asks nobody else's server."""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse

SCRIPT, STYLE = "/docs/swagger-ui.js", "/docs/swagger-ui.css"
PATHS = frozenset({"/docs", SCRIPT, STYLE, "/openapi.json"})
"""What a reader's browser fetches."""
_FOLDER = Path(str(files("fastapi_offline"))) / "static"
_NO_ICON = "data:,"

docs_page = APIRouter(include_in_schema=False)


@docs_page.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """The page; where a proxy serves it under a prefix, everything it fetches is under it too."""
    prefix = request.scope.get("root_path", "").rstrip("/")
    return get_swagger_ui_html(
        openapi_url=f"{prefix}/openapi.json",
        title=f"{request.app.title} API",
        swagger_js_url=prefix + SCRIPT,
        swagger_css_url=prefix + STYLE,
        swagger_favicon_url=_NO_ICON,
    )


@docs_page.get(SCRIPT)
async def script() -> FileResponse:
    """Swagger UI."""
    return FileResponse(_FOLDER / "swagger-ui-bundle.js")


@docs_page.get(STYLE)
async def style() -> FileResponse:
    """How it looks."""
    return FileResponse(_FOLDER / "swagger-ui.css")
