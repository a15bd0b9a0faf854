"""The OpenAPI description: FastAPI's own, with what any request may be refused for, and an example of every answer."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from serving.answer_examples import EXAMPLES, METERS
from serving.problem_document import MEDIA_TYPE

AT_THE_DOOR = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.REQUEST_URI_TOO_LONG,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
"""What any request may be refused with before it reaches its route."""

_ABOUT_KEYS = (
    "Made by `recsys keys create`; the header X-API-Key takes it too. Needed where the service has a key file."
)
_JSON = "application/json"

Document = dict[str, Any]


def describe(app: FastAPI) -> None:
    """Let the app give this description of itself."""
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]  # FastAPI's own way to extend it


def _described(app: FastAPI) -> Document:
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        parts = document["components"]
        parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": _ABOUT_KEYS}}
        for path, operations in document["paths"].items():
            for operation in operations.values():
                _add_refusals(path, operation)
                _word_the_answer(operation["responses"]["200"], parts["schemas"])
        for example in EXAMPLES:
            parts["schemas"][type(example).__name__]["examples"] = [example.model_dump(mode="json", exclude_none=True)]
        document["paths"]["/metrics"]["get"]["responses"]["200"]["content"]["text/plain"]["example"] = METERS
        app.openapi_schema = document
    return app.openapi_schema


def _add_refusals(path: str, operation: Document) -> None:
    """Those of the door beside the route's own, every one under its media type."""
    if path.startswith("/v1/"):
        operation["security"] = [{}, {"key": []}]  # no key, where the service runs without
        at_the_door = {str(int(status)): {"description": status.phrase} for status in AT_THE_DOOR}
        operation["responses"] = at_the_door | operation["responses"]
    for status, response in operation["responses"].items():
        if int(status) >= HTTPStatus.BAD_REQUEST:
            response["content"] = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}


def _word_the_answer(answer: Document, schemas: Document) -> None:
    """In the words of its model, where FastAPI says no more than that it succeeded."""
    reference = answer["content"].get(_JSON, {}).get("schema", {}).get("$ref", "")
    if reference:
        answer["description"] = schemas[reference.rpartition("/")[2]]["description"]
