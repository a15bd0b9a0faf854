"""Every error as a problem document (RFC 9457)."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from recsys.interests import UnknownUserError
from serving.problem_document import MEDIA_TYPE, Fault, Problem
from serving.refusals import RefusedError, UnavailableError
from serving.service import UnknownItemError
from serving.variant import NotReadyError, SwapRefusedError

LONGEST_GIVEN = 60
"""Characters of an offending value that are repeated in the answer."""

_KIND = "urn:problem-type:recsys:"

Responses = dict[int | str, dict[str, Any]]


def may_fail(*statuses: HTTPStatus) -> Responses:
    """For the ``responses`` of a route: the problems it can answer with."""
    return {int(status): {"model": Problem, "description": status.phrase} for status in statuses}


def answer_with_problems(app: FastAPI) -> None:
    """Make every error of the app a problem document."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(UnknownItemError, _unknown_item)
    app.add_exception_handler(UnknownUserError, _unknown_user)
    app.add_exception_handler(UnavailableError, _unavailable)
    app.add_exception_handler(NotReadyError, _not_ready)
    app.add_exception_handler(SwapRefusedError, _swap_refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def problem(
    path: str,
    status: HTTPStatus,
    detail: str,
    *,
    kind: tuple[str, str] | None = None,
    faults: Sequence[Fault] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem document.

    Args:
        path: That was asked.
        status: Of the answer.
        detail: What was found, where, and what to do.
        kind: Its short name and title; None where the status says it all.
        faults: Each one of an invalid request.
        headers: To send with it.
    """
    name, title = kind or ("", status.phrase)
    document = Problem(
        type=_KIND + name if name else "about:blank",
        title=title,
        status=status,
        detail=detail,
        instance=quote(path, errors="replace"),
        errors=None if faults is None else list(faults),
    )
    return Response(document.model_dump_json(exclude_none=True), status, headers, MEDIA_TYPE)


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if found[0]["type"] == "json_invalid":
        detail = f"The body is not JSON: {found[0]['ctx']['error']} at character {found[0]['loc'][-1]}."
        return problem(
            request.url.path, HTTPStatus.BAD_REQUEST, detail, kind=("malformed-body", "The body is not JSON")
        )
    faults = [_fault(one) for one in found]
    detail = "; ".join(f"{fault.pointer or fault.parameter}: {fault.detail}" for fault in faults[:5])
    kind = ("invalid-request", "The request is not valid")
    return problem(request.url.path, HTTPStatus.UNPROCESSABLE_ENTITY, detail, kind=kind, faults=faults)


def _refused(request: Request, error: Exception) -> Response:
    """Told like any other fault of the body."""
    assert isinstance(error, RefusedError)
    fault = {"type": "refused", "loc": ("body", *error.place), "msg": error.message, "input": error.given}
    return _invalid(request, RequestValidationError([fault]))


def _unavailable(request: Request, error: Exception) -> Response:
    kind = ("unavailable", "Something that is needed does not answer")
    headers = {"Retry-After": "1"}
    return problem(request.url.path, HTTPStatus.SERVICE_UNAVAILABLE, str(error), kind=kind, headers=headers)


def _unknown_item(request: Request, error: Exception) -> Response:
    return problem(request.url.path, HTTPStatus.NOT_FOUND, str(error), kind=("unknown-item", "There is no such item"))


def _unknown_user(request: Request, error: Exception) -> Response:
    return problem(request.url.path, HTTPStatus.NOT_FOUND, str(error), kind=("unknown-user", "There is no such user"))


def _not_ready(request: Request, error: Exception) -> Response:
    assert isinstance(error, NotReadyError)
    headers = {"Retry-After": "1"} if error.loading else None
    kind = ("not-ready", "The service is not ready")
    return problem(request.url.path, HTTPStatus.SERVICE_UNAVAILABLE, str(error), kind=kind, headers=headers)


def _swap_refused(request: Request, error: Exception) -> Response:
    detail = f"What ran goes on. {error}"
    return problem(request.url.path, HTTPStatus.CONFLICT, detail, kind=("swap-refused", "The bundle was not swapped"))


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    details = {
        HTTPStatus.NOT_FOUND: "There is nothing at this address; /docs lists what there is.",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{request.method} does not work at this address; /docs says what does.",
        HTTPStatus.BAD_REQUEST: "The body cannot be read as JSON in UTF-8.",
    }
    return problem(request.url.path, status, details.get(status, str(error.detail)), headers=error.headers)


def _unexpected(request: Request, error: Exception) -> Response:
    detail = "The service failed on this request. Its log says why."
    return problem(request.url.path, HTTPStatus.INTERNAL_SERVER_ERROR, detail)


def _fault(error: Mapping[str, Any]) -> Fault:
    source, *place = error["loc"]
    detail = f"{_words(error)}{_given(error)}"
    if source == "body":
        return Fault(detail=detail, pointer="#" + "".join("/" + _escaped(part) for part in place))
    return Fault(detail=detail, parameter=_escaped(place[0]) if place else str(source))


def _words(error: Mapping[str, Any]) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "There is no such field; /docs lists those there are"
        case "model_attributes_type" if isinstance(error["input"], bytes):
            return "Send the body as JSON, with the header content-type: application/json"
        case _:
            return str(error["msg"])


def _given(error: Mapping[str, Any]) -> str:
    given = error["input"]
    if not isinstance(given, str | int | float):
        return ""
    told = repr(given)
    return f" (given: {told if len(told) <= LONGEST_GIVEN else told[:LONGEST_GIVEN] + '…'})"


def _escaped(part: str | int) -> str:
    """A step of a JSON pointer within a URI; what is no text in UTF-8 is replaced."""
    return quote(str(part).replace("~", "~0").replace("/", "~1"), safe="~", errors="replace")
