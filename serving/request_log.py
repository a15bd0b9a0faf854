"""The outermost door: every request gets an id, is timed and counted, and leaves a line in the log.

What breaks inside is answered here, so that the answer carries the id under which the log says more.
"""

import logging
import re
import secrets
from collections.abc import Callable
from contextvars import ContextVar
from http import HTTPStatus
from time import perf_counter

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.meters import Meters
from serving.problems import problem

HEADER = "x-request-id"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})
"""Those that are counted by name; whoever invents others does not invent meters."""
KEY_ID = "recsys.key_id"
"""Where in a request's scope stands which key was shown,"""
USER_ID = "recsys.user_id"
"""and of whom its body speaks."""
_ACCEPTED = re.compile(rb"[A-Za-z0-9._-]{1,64}")

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request being answered."""

logger = logging.getLogger(__name__)


class RequestLog:
    """Knows of every request when it came, what it was answered, and how long that took."""

    def __init__(self, app: ASGIApp, *, meters: Meters, user_tag: Callable[[str], str]) -> None:
        self._app = app
        self._meters = meters
        self._user_tag = user_tag

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        token = request_id.set(_request_id(scope))
        answer = _NamedAnswer(send, request_id.get())
        try:
            await self._app(scope, receive, answer.send)
        except Exception:
            logger.exception("A request failed.")
            if answer.status:
                raise  # its first half is out
            await failed(scope["path"])(scope, receive, answer.send)
        finally:
            self._note(scope, answer.status, perf_counter() - started)
            request_id.reset(token)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path_format", "unmatched")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._meters.requests.labels(method, route, status).inc()
        self._meters.request_seconds.labels(route).observe(seconds)
        if logger.isEnabledFor(logging.INFO):
            logger.info("request", extra=self._facts(scope, route, status, seconds))

    def _facts(self, scope: Scope, route: str, status: int, seconds: float) -> dict[str, object]:
        """What a line tells. The route, not the path: a path may name a user."""
        facts = {"method": scope["method"], "route": route, "status": status, "ms": round(seconds * 1_000, 3)}
        if KEY_ID in scope:
            facts["key_id"] = scope[KEY_ID]
        user_id = scope.get(USER_ID) or scope.get("path_params", {}).get("user_id")
        if user_id is not None:
            facts["user"] = self._user_tag(user_id)
        return facts


class _NamedAnswer:
    """An answer on its way, with the id of its request."""

    def __init__(self, send: Send, name: str) -> None:
        self._send = send
        self._name = name
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)[HEADER] = self._name
        await self._send(message)


def failed(path: str) -> ASGIApp:
    """The answer when the service itself is at fault."""
    detail = f"The service failed on this request. Its log says why, under request id {request_id.get()}."
    return problem(path, HTTPStatus.INTERNAL_SERVER_ERROR, detail)


def _request_id(scope: Scope) -> str:
    """The caller's own, if it is one that can stand in a log; else a new one."""
    for name, value in scope["headers"]:
        if name == HEADER.encode() and _ACCEPTED.fullmatch(value):
            return str(value, "ascii")
    return secrets.token_hex(8)
