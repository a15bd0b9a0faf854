"""Load from a process of its own: callers that ask again when answered, or arrivals that come whatever happens.

The first kind finds how much can be done at most. The second is how users come: it does not wait for a slow service, so
every wait is counted from when a request was due, not from when a free caller got round to it.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from time import perf_counter

import numpy as np

from benchmarks.serving.wire import Connection, Reply

HUNG_UP = 0
"""Stands for the status of a request that was not answered at all."""
MOST_CONNECTIONS = 1_000

Check = Callable[[Reply], bool]


@dataclass(frozen=True)
class Outcome:
    """What a load met with."""

    seconds: float
    asked: int
    good_per_second: float
    """Answers of status 200."""
    statuses: dict[int, int]
    p50_ms: float
    """Of the good ones."""
    p99_ms: float
    worst_ms: float
    worst_of_all_ms: float
    """Refusals included."""


async def closed(url: str, requests: Sequence[bytes], *, callers: int, seconds: float) -> Outcome:
    """So many callers, each asking again as soon as it is answered."""
    record = _Record()
    stop_at = perf_counter() + seconds

    async def call(mine: Iterator[bytes]) -> None:
        connection = await Connection.to(url)
        while (due := perf_counter()) < stop_at:
            if not connection.open:
                connection = await Connection.to(url)
            await record.ask(connection, next(mine), due)
        connection.close()

    started = perf_counter()
    await asyncio.gather(*(call(cycle(requests[first::callers])) for first in range(callers)))
    return record.outcome(perf_counter() - started)


async def arriving(url: str, requests: Sequence[bytes], *, per_second: float, seconds: float, seed: int = 0) -> Outcome:
    """Requests that arrive at random instants, so many a second on average, whether or not others are waiting."""
    gaps = np.random.default_rng(seed).exponential(1 / per_second, size=int(per_second * seconds))
    record = _Record()
    free: list[Connection] = []
    room = asyncio.Semaphore(MOST_CONNECTIONS)
    under_way: set[asyncio.Task[None]] = set()

    async def arrive(request: bytes, due: float) -> None:
        async with room:
            connection = None
            while free and connection is None:
                kept = free.pop()
                connection = kept if kept.open else None  # the service closes those that are idle for long
            connection = connection or await Connection.to(url)
            await record.ask(connection, request, due)
            if connection.open:
                free.append(connection)

    started = perf_counter()
    for request, due in zip(cycle(requests), started + gaps.cumsum(), strict=False):
        if (wait := due - perf_counter()) > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(arrive(request, due))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)
    for connection in free:
        connection.close()
    return record.outcome(perf_counter() - started)


class _Record:
    def __init__(self) -> None:
        self._statuses: Counter[int] = Counter()
        self._good_s: list[float] = []
        self._all_s: list[float] = []

    async def ask(self, connection: Connection, request: bytes, due: float) -> None:
        try:
            status = (await connection.ask(request)).status
        except ConnectionError:
            status = HUNG_UP
        waited_s = perf_counter() - due
        self._statuses[status] += 1
        self._all_s.append(waited_s)
        if status == 200:
            self._good_s.append(waited_s)

    def outcome(self, seconds: float) -> Outcome:
        good_ms = np.array(self._good_s or [np.nan]) * 1_000
        p50, p99, worst = (round(float(value), 3) for value in np.percentile(good_ms, [50, 99, 100]))
        return Outcome(
            seconds=round(seconds, 2),
            asked=self._statuses.total(),
            good_per_second=round(self._statuses[200] / seconds, 1),
            statuses=dict(sorted(self._statuses.items())),
            p50_ms=p50,
            p99_ms=p99,
            worst_ms=worst,
            worst_of_all_ms=round(max(self._all_s, default=float("nan")) * 1_000, 3),
        )


def main() -> None:
    """As a process: a plan as JSON comes in on standard input, the outcome goes out as JSON."""
    import uvloop

    plan = json.load(sys.stdin)
    requests = [request.encode() for request in plan.pop("requests")]
    kind = closed if "callers" in plan else arriving
    print(json.dumps(asdict(uvloop.run(kind(plan.pop("url"), requests, **plan)))))


if __name__ == "__main__":
    main()
