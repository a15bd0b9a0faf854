"""How long the stages of one answer take."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Stopwatch:
    """Milliseconds by stage, in the order the stages ended. A stage within another is taken off the outer one."""

    def __init__(self) -> None:
        self._started = perf_counter()
        self._stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        started, before = perf_counter(), sum(self._stages.values())
        yield
        within = sum(self._stages.values()) - before
        self._stages[name] = self._stages.get(name, 0.0) + (perf_counter() - started) * 1_000 - within

    def timed(self, name: str, function: Callable[P, R]) -> Callable[P, R]:
        """The same function, each call a stage."""

        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with self.stage(name):
                return function(*args, **kwargs)

        return call

    def read(self) -> dict[str, float]:
        """Stage → milliseconds, to the microsecond, and the total since the watch was made."""
        readings = self._stages | {"total": (perf_counter() - self._started) * 1_000}
        return {name: round(milliseconds, 3) for name, milliseconds in readings.items()}
