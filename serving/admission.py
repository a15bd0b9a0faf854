"""How many requests are let in at once: one more is told at once to come back, instead of making all wait.

The limit stands inside the app because a server's own closes connections, and callers then spend their time opening
new ones.
"""

from http import HTTPStatus

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.meters import Meters
from serving.problems import problem
from serving.settings import LimitSettings

ALWAYS_IN = frozenset({"/healthz", "/readyz", "/metrics"})
"""What must answer when nothing else does."""


class Admission:
    """Counts who is inside, and refuses who would be too many."""

    def __init__(self, app: ASGIApp, *, limits: LimitSettings, meters: Meters) -> None:
        self._app = app
        self._limits = limits
        self._meters = meters
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse one request."""
        if scope["type"] != "http" or scope["path"] in ALWAYS_IN:
            await self._app(scope, receive, send)
        elif self._inside >= self._limits.max_in_flight:
            self._meters.refused.labels("full").inc()
            await self._refuse(scope, receive, send)
        else:
            self._inside += 1
            self._meters.in_flight.inc()
            try:
                await self._app(scope, receive, send)
            finally:
                self._inside -= 1
                self._meters.in_flight.dec()

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        limits = self._limits
        refusal = problem(
            scope["path"],
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"{limits.max_in_flight} requests are being answered; come back in {limits.retry_after_s} s.",
            kind=("overloaded", "The service has all it can do"),
            headers={"Retry-After": str(limits.retry_after_s)},
        )
        await refusal(scope, receive, send)
