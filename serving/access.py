"""Who may ask what, and how often: API keys with scopes, and a rate limit for each.

With no key file everyone who reaches the port may do everything, which is right on one's own machine only.
"""

import logging
import time
from http import HTTPStatus
from pathlib import Path

from limits import RateLimitItem, parse_many
from limits.aio.storage import Storage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.storage import storage_from_string
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from recsys.errors import InputError
from serving.docs_page import PATHS as DOCS
from serving.keys import KeyRing, Scope, StoredKey, read_keys
from serving.meters import Meters
from serving.problems import problem
from serving.request_log import KEY_ID
from serving.settings import AccessSettings

OPEN = frozenset({"/healthz", "/readyz"}) | DOCS
"""What nobody needs a key for."""
QUESTIONS = ("/v1/recommend", "/v1/interests/classify")
"""What is only asked, though it is posted."""
LOOK_AGAIN_S = 2.0
"""How long a revoked key may still work."""

logger = logging.getLogger(__name__)


def needed_scope(method: str, path: str) -> Scope:
    """What a key must be allowed to do for a request."""
    if path.startswith("/v1/admin/"):
        return Scope.ADMIN
    asks = method in {"GET", "HEAD", "OPTIONS"} or (method == "POST" and path.startswith(QUESTIONS))
    return Scope.READ if asks else Scope.WRITE


class KeyFile:
    """A key file that is read again when it has changed."""

    def __init__(self, file: Path) -> None:
        """Read it.

        Raises:
            InputError: It is missing or damaged.
        """
        self._file = file
        self._ring = read_keys(file)
        self._stamp = self._read_stamp()
        self._looked_at = time.monotonic()

    def ring(self) -> KeyRing:
        """The keys as they stood a moment ago. A file that has become unreadable leaves those it held."""
        if time.monotonic() - self._looked_at > LOOK_AGAIN_S:
            self._looked_at = time.monotonic()
            if (stamp := self._read_stamp()) != self._stamp:
                self._read_again(stamp)
        return self._ring

    def _read_again(self, stamp: tuple[int, int, int] | None) -> None:
        try:
            self._ring = read_keys(self._file)
        except InputError as problem:
            logger.error("The keys stay as they were: %s", problem)
        self._stamp = stamp

    def _read_stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


class Access:
    """Refuses who has no key, not the right one, or asks too often."""

    def __init__(self, app: ASGIApp, *, settings: AccessSettings, meters: Meters) -> None:
        """Read the key file and make ready to count.

        Raises:
            InputError: The key file is missing or damaged, or the rate limit is none.
        """
        self._app = app
        self._meters = meters
        self._open = OPEN if settings.metrics_need_key else OPEN | {"/metrics"}
        self._keys = KeyFile(settings.key_file) if settings.key_file else None
        self._rates = _rates(settings.rate_limit)
        self._limiter = _limiter(settings) if self._rates else None

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Answer or refuse one request."""
        if scope["type"] != "http" or scope["path"] in self._open:
            await self._app(scope, receive, send)
        else:
            refusal = await self._refusal(scope)
            await (refusal or self._app)(scope, receive, send)

    async def _refusal(self, scope: Connection) -> Response | None:
        caller = scope["client"][0] if scope.get("client") else "unknown"
        if self._keys is not None:
            key = self._keys.ring().find(_given_key(Headers(scope=scope)))
            needed = needed_scope(scope["method"], scope["path"])
            if key is None:
                return self._unknown_key(scope["path"])
            if needed not in key.scopes:
                return self._wrong_scope(scope["path"], key, needed)
            scope[KEY_ID] = caller = key.key_id
        return await self._too_often(scope["path"], caller)

    def _unknown_key(self, path: str) -> Response:
        self._meters.refused.labels("key").inc()
        detail = "Send a key of this service: the header Authorization: Bearer KEY, or X-API-Key: KEY."
        headers = {"WWW-Authenticate": "Bearer"}
        return problem(path, HTTPStatus.UNAUTHORIZED, detail, kind=("no-key", "A key is needed"), headers=headers)

    def _wrong_scope(self, path: str, key: StoredKey, needed: Scope) -> Response:
        self._meters.refused.labels("scope").inc()
        detail = f"Key {key.key_id} has the scopes {', '.join(key.scopes)}; this needs {needed}."
        return problem(path, HTTPStatus.FORBIDDEN, detail, kind=("wrong-scope", "The key may not do this"))

    async def _too_often(self, path: str, caller: str) -> Response | None:
        if self._limiter is None:
            return None
        for rate in self._rates:
            if not await self._limiter.hit(rate, caller):
                self._meters.refused.labels("rate").inc()
                window = await self._limiter.get_window_stats(rate, caller)
                wait_s = max(1, round(window.reset_time - time.time()))
                detail = f"More than {rate}; come back in {wait_s} s."
                kind = ("rate-limit", "Too many requests")
                headers = {"Retry-After": str(wait_s)}
                return problem(path, HTTPStatus.TOO_MANY_REQUESTS, detail, kind=kind, headers=headers)
        return None


def _given_key(headers: Headers) -> str:
    kind, _, credentials = headers.get("authorization", "").partition(" ")
    return credentials.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")


def _rates(written: str | None) -> list[RateLimitItem]:
    if written is None:
        return []
    try:
        return parse_many(written)
    except ValueError:
        raise InputError(f"setting access.rate_limit: {written!r} is none. Write 100/second or 5000/minute.") from None


def _limiter(settings: AccessSettings) -> MovingWindowRateLimiter:
    storage = storage_from_string(settings.rate_storage.get_secret_value())
    if not isinstance(storage, Storage):
        raise InputError("setting access.rate_storage: must begin with async+, such as async+redis://host:6379.")
    return MovingWindowRateLimiter(storage)
