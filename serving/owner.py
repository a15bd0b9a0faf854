"""The one thread that loads the service and runs it, so that the event loop is always free.

One owner means that requests never meet inside the model or the index, and that a search has the machine to itself.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from index.errors import VectorIndexError
from recsys.errors import InputError
from serving.service import Service

T = TypeVar("T")

logger = logging.getLogger(__name__)


class NotReadyError(RuntimeError):
    """There is no service to ask. The message says why."""

    def __init__(self, why: str, *, loading: bool) -> None:
        super().__init__(why)
        self.loading = loading
        """Whether asking again soon may help."""


class ServiceOwner:
    """Loads a service in a thread of its own, and runs there whatever is asked of it, in order of asking."""

    def __init__(self, load: Callable[[], Service]) -> None:
        self._load = load
        # Two threads answer one request no faster than one (width 128: 3.8 and 3.9 ms), and now and then much later.
        self._thread = ThreadPoolExecutor(1, "service", initializer=torch.set_num_threads, initargs=(1,))
        self._service: Service | None = None
        self._failure = ""

    def start(self) -> None:
        """Begin to load; come back at once."""
        self._thread.submit(self._open)

    def stop(self) -> None:
        """Finish what is being answered, and drop the rest."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def service(self) -> Service:
        """The service, which only its own thread may use; elsewhere, having it says no more than that it is ready.

        Raises:
            NotReadyError: It is being loaded, or could not be.
        """
        if self._failure:
            raise NotReadyError(self._failure, loading=False)
        if self._service is None:
            raise NotReadyError("The bundle is being loaded.", loading=True)
        return self._service

    async def run(self, work: Callable[[Service], T]) -> T:
        """What ``work`` makes of the service, in the service's thread.

        Raises:
            NotReadyError: It is being loaded, or could not be.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, self.service())

    def _open(self) -> None:
        try:
            self._service = self._load()
        except (InputError, VectorIndexError) as refusal:
            self._failure = str(refusal)
            logger.error("The bundle was refused: %s", refusal)
        except Exception as problem:
            self._failure = f"The bundle could not be loaded: {type(problem).__name__}. The log says more."
            logger.exception("The bundle could not be loaded.")
