"""One bundle's service under load: alone, at its peak, at 70 % of that, and asked three times too much."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.running import Running, running
from benchmarks.serving.wire import post
from recsys.bundle import load_bundle

K = 10
DISTINCT = 2_000
"""Requests that are asked over and over, each of another user."""
CALLERS = 32
"""That keep the service at its peak."""
OVERLOAD = 3.0
NEVER_TWICE: dict[str, object] = {"TOWER__CACHED_VECTORS": 0}
"""Users' vectors are computed each time, as when no user comes twice."""
ONE, TWO = "one worker", "two workers"
SHAPES: dict[str, dict[str, object]] = {
    ONE: NEVER_TWICE,
    TWO: NEVER_TWICE | {"SERVER__WORKERS": 2},
    "one worker, one by one": NEVER_TWICE | {"BATCH__MAX_REQUESTS": 1},
    "one worker, gathering 2 ms": NEVER_TWICE | {"BATCH__GATHER_MS": 2},
    "one worker, vectors kept": {},
}

Json = dict[str, Any]


def readings(
    folder: Path, scratch: Path, *, shapes: Sequence[str], seconds: float, overload_s: float
) -> Iterator[tuple[str, Any]]:
    """Name and reading, each as soon as it is there.

    Args:
        folder: Of the bundle.
        scratch: Where the list of requests goes.
        shapes: Which of `SHAPES`, the one worker among them.
        seconds: How long each reading takes.
        overload_s: How long it is asked too much.
    """
    yield "items", len(load_bundle(folder).catalogue)
    requests = questions(folder)
    yield "floor", _floor(folder, requests, scratch, seconds)
    wire = [post("/v1/recommend", request).decode() for request in requests]
    peak = 0.0
    for shape in shapes:
        reading = _under_load(folder, wire, SHAPES[shape], seconds)
        yield shape, reading
        if shape == ONE:
            peak = reading["peak"]["good_per_second"]
    yield "overload", _overload(folder, wire, OVERLOAD * peak, overload_s)


def questions(folder: Path) -> list[Json]:
    """Of users from all over the table, in no order."""
    users = load_bundle(folder).interactions.user_ids
    chosen = np.random.default_rng(0).permutation(len(users))[:DISTINCT]
    return [{"user_id": users[user], "k": K} for user in chosen]


def _under_load(folder: Path, wire: Sequence[str], settings: Mapping[str, object], seconds: float) -> Json:
    with running(folder, settings) as service:
        _load(service, wire, callers=8, seconds=min(seconds, 3.0))  # the first answers are slower
        alone = _load(service, wire, callers=1, seconds=seconds)
        peak = _load(service, wire, callers=CALLERS, seconds=seconds)
        busy = _load(service, wire, per_second=0.7 * peak["good_per_second"], seconds=seconds)
        return {"alone": alone, "peak": peak, "at 70 %": busy, "megabytes": service.megabytes()}


def _overload(folder: Path, wire: Sequence[str], per_second: float, seconds: float) -> Json:
    """How much good still comes out, and whether its memory grows."""
    with running(folder, NEVER_TWICE) as service:
        _load(service, wire, callers=CALLERS, seconds=3.0)
        stop, memory = threading.Event(), [service.megabytes()]

        def weigh() -> None:
            while not stop.wait(max(seconds / 20, 0.5)):
                memory.append(service.megabytes())

        weighing = threading.Thread(target=weigh)
        weighing.start()
        outcome = _load(service, wire, per_second=per_second, seconds=seconds)
        stop.set()
        weighing.join()
        return outcome | {"megabytes": memory}


def _floor(folder: Path, requests: Sequence[Json], scratch: Path, seconds: float) -> Json:
    listed = scratch / "requests.jsonl"
    listed.write_text("\n".join(map(json.dumps, requests)), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.serving.floor", "--bundle", str(folder), "--requests", str(listed)]
    command += ["--seconds", str(seconds), "--cached-vectors", str(NEVER_TWICE["TOWER__CACHED_VECTORS"])]
    read: Json = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return read


def _load(service: Running, wire: Sequence[str], **plan: float) -> Json:
    told = json.dumps({"url": service.url, "requests": wire, **plan})
    command = [sys.executable, "-m", "benchmarks.serving.load"]
    read: Json = json.loads(subprocess.run(command, check=True, input=told, stdout=subprocess.PIPE, text=True).stdout)
    return read
