"""Where the time of a call went: running, queued for a core that others had, or blocked by a lock.

What is blocked is the fault of the code under test; what is queued is that of a busy machine.
"""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Spent(NamedTuple):
    """Milliseconds of one call."""

    wall_ms: float
    running_ms: float
    queued_ms: float
    """Ready to run while another task had the core; 0 where the kernel does not tell (Linux does)."""

    @property
    def blocked_ms(self) -> float:
        """Waiting for a lock, the interpreter's included, or for a disk."""
        return max(0.0, self.wall_ms - self.running_ms - self.queued_ms)


class Watch:
    """Times calls of the thread that makes it."""

    def __init__(self) -> None:
        """Begin to watch this thread."""
        told = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")  # ns on a core, ns queued, turns
        self._told = told.open("rb", buffering=0) if told.exists() else None

    def time(self, call: Callable[[], object]) -> Spent:
        """Make a call and say where its time went."""
        before = self._now()
        call()
        return Spent(*(after - since for after, since in zip(self._now(), before, strict=True)))

    def _now(self) -> tuple[float, float, float]:
        """All three clocks, read again until this thread was not queued between them: asking may cost it its turn."""
        while True:
            queued = self._queued_ms()
            running, wall = 1e3 * time.thread_time(), 1e3 * time.perf_counter()
            if queued == self._queued_ms():
                return wall, running, queued

    def _queued_ms(self) -> float:
        return 0.0 if self._told is None else int(os.pread(self._told.fileno(), 100, 0).split()[1]) / 1e6

    def close(self) -> None:
        """Let go of the kernel's file."""
        if self._told is not None:
            self._told.close()
