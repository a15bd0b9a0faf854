"""How large a request may be and how long it may take; checked before anything is read of it, or while it is."""

import asyncio
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.meters import Meters
from serving.problems import problem
from serving.settings import LimitSettings

UNTIMED = "/v1/admin/"
"""Loading a bundle takes as long as it takes."""


class RequestLimits:
    """Refuses what is too long, too large or too late."""

    def __init__(self, app: ASGIApp, *, limits: LimitSettings, meters: Meters) -> None:
        self._app = app
        self._limits = limits
        self._meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif refusal := self._excess(scope):
            self._meters.refused.labels("size").inc()
            status, detail = refusal
            await problem(scope["path"], status, detail, headers={"Connection": "close"})(scope, receive, send)
        else:
            body = _Body(receive, self._limits.max_body_bytes)
            answer = _Answer(send)
            limit_s = None if scope["path"].startswith(UNTIMED) else self._limits.timeout_s or None
            try:
                async with asyncio.timeout(limit_s) as timeout:
                    await self._app(scope, body.receive, answer.send)
            except TimeoutError:
                if answer.begun or not timeout.expired():
                    raise
                self._meters.refused.labels("timeout").inc()
                await self._late(scope["path"], body)(scope, receive, send)

    def _excess(self, scope: Scope) -> tuple[HTTPStatus, str] | None:
        limits = self._limits
        if (found := len(scope["raw_path"]) + len(scope["query_string"])) > limits.max_path_bytes:
            return HTTPStatus.REQUEST_URI_TOO_LONG, f"The address has {found} bytes, at most {limits.max_path_bytes}."
        if (found := sum(len(name) + len(value) for name, value in scope["headers"])) > limits.max_header_bytes:
            detail = f"The headers have {found} bytes together, at most {limits.max_header_bytes}."
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail
        if (found := _declared_length(scope)) > limits.max_body_bytes:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(found, limits.max_body_bytes)
        return None

    def _late(self, path: str, body: "_Body") -> ASGIApp:
        seconds = f"{self._limits.timeout_s:g} s"
        if body.complete:
            detail, status = f"No answer within {seconds}.", HTTPStatus.SERVICE_UNAVAILABLE
            headers = {"Retry-After": str(self._limits.retry_after_s)}
        else:
            detail, status = f"The request was not there whole within {seconds}.", HTTPStatus.REQUEST_TIMEOUT
            headers = {"Connection": "close"}
        return problem(path, status, detail, kind=("timeout", "It took too long"), headers=headers)


class _Body:
    """A request's body as it comes in, up to a limit."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._most = most
        self._received = 0
        self.complete = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
            if self._received > self._most:
                detail = _too_large(self._received, self._most)
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, {"Connection": "close"})
        return message


class _Answer:
    """Knows whether an answer has begun, after which no other can be sent."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False

    async def send(self, message: Message) -> None:
        self.begun = True
        await self._send(message)


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


def _too_large(found: int, most: int) -> str:
    return f"The body has {found} bytes or more, at most {most}: send less at a time."
