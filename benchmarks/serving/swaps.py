"""Bundles swapped under load: who failed, and whether an answer was ever anything but one bundle's own."""

import json
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.serving import bundles
from benchmarks.serving.running import Running, running
from recsys.bundle import load_bundle

CALLERS = 4

Json = dict[str, Any]


def measure(folder: Path, requests: Sequence[Json], scratch: Path, count: int, settings: Mapping[str, object]) -> Json:
    """Swap to and fro while callers ask and compare.

    Args:
        folder: Of the bundle; the other one is the same with nothing that reorders.
        requests: To ask; they get an instant, so that a bundle always answers them alike.
        scratch: Where the other bundle and the link go.
        count: Of swaps.
        settings: Of the service.
    """
    other = bundles.by_towers_alone(folder, scratch / "other")
    places, link = (folder.resolve(), other), scratch / "current"
    requests = [request | {"requested_at": _after_all(folder)} for request in requests]
    expected = dict(_answers(place, requests, settings) for place in places)
    _point(link, places[0])
    met = {"good": 0, "failed": 0, "mixed": 0}
    with running(link, settings) as service:
        stop = threading.Event()
        callers = [threading.Thread(target=_ask, args=(service, requests, expected, stop, met)) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        started = time.perf_counter()
        for number in range(1, count + 1):
            _point(link, places[number % 2])
            _post(service, "/v1/admin/reload", {})
        seconds = time.perf_counter() - started
        stop.set()
        for caller in callers:
            caller.join()
        return met | {"swaps": count, "seconds": round(seconds, 1), "megabytes": service.megabytes()}


def _ask(service: Running, requests: Sequence[Json], expected: Json, stop: threading.Event, met: Json) -> None:
    while not stop.is_set():
        for place, request in enumerate(requests):
            try:
                answer = _post(service, "/v1/recommend", request)
            except OSError:
                met["failed"] += 1
            else:
                whole = _items(answer) == expected[answer["model"]][place]
                met["good" if whole else "mixed"] += 1
            if stop.is_set():
                return


def _answers(folder: Path, requests: Sequence[Json], settings: Mapping[str, object]) -> tuple[str, list[list[str]]]:
    """A bundle's fingerprint, and the items it gives for each request when it is alone."""
    with running(folder, settings) as service:
        answers = [_post(service, "/v1/recommend", request) for request in requests]
    return answers[0]["model"], [_items(answer) for answer in answers]


def _items(answer: Json) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def _after_all(folder: Path) -> int:
    instants = load_bundle(folder).interactions.occurred_at
    return 0 if instants is None else int(instants.max()) + 3_600


def _post(service: Running, path: str, body: Json) -> Json:
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(service.url + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as response:
        read: Json = json.load(response)
    return read


def _point(link: Path, place: Path) -> None:
    fresh = link.with_name(f".{link.name}.new")
    fresh.symlink_to(place)
    fresh.replace(link)
