"""One of the bundles a process answers with: the one that runs, the one before it, and how another takes over.

A new bundle is loaded and warmed up beside the running one, in the thread of whoever asked. Taking over is one
assignment; who answers reads it once for each batch, so that no answer mixes two bundles.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from index.errors import VectorIndexError
from recsys.errors import InputError
from serving.service import Service

logger = logging.getLogger(__name__)


class NotReadyError(RuntimeError):
    """There is no service to ask. The message says why."""

    def __init__(self, why: str, *, loading: bool) -> None:
        super().__init__(why)
        self.loading = loading
        """Whether asking again soon may help."""


class SwapRefusedError(RuntimeError):
    """Another bundle could not take over; the one that ran goes on. The message says why."""


class Variant:
    """A service that can be replaced while it answers."""

    def __init__(self, name: str, load: Callable[[], Service]) -> None:
        """Nothing is loaded yet.

        Args:
            name: By which answers and meters tell it apart.
            load: Gives the service of whatever bundle is to be served now; called anew for every swap.
        """
        self.name = name
        self._load = load
        self._running: Service | None = None
        self._before: Service | None = None
        self._failure = ""
        self._swapping = threading.Lock()

    @property
    def running(self) -> Service | None:
        """What answers now, if anything does."""
        return self._running

    def is_loading(self) -> bool:
        """Whether nothing answers yet, and nothing has failed."""
        return self._running is None and not self._failure

    def service(self) -> Service:
        """What answers now.

        Raises:
            NotReadyError: It is being loaded, or could not be.
        """
        if self._running is not None:
            return self._running
        raise NotReadyError(self._failure or "The bundle is being loaded.", loading=self.is_loading())

    def swap(self) -> tuple[Service, Service | None]:
        """Load what is to be served now and let it take over; the one that ran is kept for `roll_back`.

        Returns:
            What runs now, and what ran before.

        Raises:
            SwapRefusedError: It could not be loaded, or another swap is under way.
        """
        with self._alone():
            try:
                fresh = self._load()
            except Exception as problem:
                self._failure = _told(problem)
                raise SwapRefusedError(self._failure) from problem
            self._before, self._running = self._running, fresh
            return fresh, self._before

    def roll_back(self) -> tuple[Service, Service]:
        """Let the service before take over again; rolled back twice, the first runs as ever.

        Returns:
            What runs now, and what ran before.

        Raises:
            SwapRefusedError: There was none before, or a swap is under way.
        """
        with self._alone():
            if self._running is None or self._before is None:
                raise SwapRefusedError("No other bundle ran before this one since the service started.")
            self._before, self._running = self._running, self._before
            return self._running, self._before

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._swapping.acquire(blocking=False):
            raise SwapRefusedError("Another swap is under way. Ask again when it is done.")
        try:
            yield
        finally:
            self._swapping.release()


def _told(problem: Exception) -> str:
    if isinstance(problem, InputError | VectorIndexError):
        logger.error("The bundle was refused: %s", problem)
        return str(problem)
    logger.error("The bundle could not be loaded.", exc_info=problem)
    return f"The bundle could not be loaded: {type(problem).__name__}. The log says more."
