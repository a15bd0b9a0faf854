"""The one thread that writes events: those that wait while it writes share the next commit, and its one sync."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from serving.stored_events import HistoryStore, StoredEvent

_Waiting = tuple[Sequence[StoredEvent], "Future[int]"]


class EventWriter:
    """Takes events from the event loop and answers once they are safe."""

    def __init__(self, store: HistoryStore, thread: ThreadPoolExecutor) -> None:
        """Begin with nothing waiting.

        Args:
            store: Where events go.
            thread: Of one worker.
        """
        self._store = store
        self._thread = thread
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []

    async def add(self, events: Sequence[StoredEvent]) -> int:
        """Keep events, all or none; returns how many were new.

        Raises:
            UnavailableError: The store could not take them.
        """
        mine: Future[int] = Future()
        with self._lock:
            self._waiting.append((events, mine))
        self._thread.submit(self._write)
        return await asyncio.wrap_future(mine)

    def _write(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        # Who has stopped waiting was told nothing, so nothing need be kept for them.
        batches = [one for one in waiting if one[1].set_running_or_notify_cancel()]
        if not batches:
            return  # all were taken along by the write before
        try:
            counts = self._store.add([events for events, _ in batches])
        except Exception as problem:
            for _, answer in batches:
                answer.set_exception(problem)
        else:
            for (_, answer), new in zip(batches, counts, strict=True):
                answer.set_result(new)
