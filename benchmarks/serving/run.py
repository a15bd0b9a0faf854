"""The service measured: its floor, its peak, its waits, and what it does under too much load and while it swaps.

    python -m benchmarks.serving.run --bundle runs/demo --rows 1000000 --out benchmarks/results/serving.json

Service, load and floor are processes of their own. On two cores the load takes part of one from the service, so the
figures are the less favourable ones. The first bundle is --bundle; the second is made of --rows random items.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe_machine
from benchmarks.serving import bundles, swaps
from benchmarks.serving.running import Running, running
from benchmarks.serving.wire import post
from recsys.bundle import load_bundle

K = 10
DISTINCT = 2_000
"""Requests that are asked over and over, each of another user."""
CALLERS = 32
"""That keep the service at its peak."""
SWAP_REQUESTS = 64
OVERLOAD = 3.0
NEVER_TWICE: dict[str, object] = {"TOWER__CACHED_VECTORS": 0}
"""Users' vectors are computed each time, as when no user comes twice."""

Json = dict[str, Any]


def main() -> None:
    """Measure both bundles and write the readings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="a trained bundle")
    parser.add_argument("--rows", type=int, default=1_000_000, help="items of the synthetic bundle; 0 leaves it out")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each reading takes")
    parser.add_argument("--overload-seconds", type=float, default=600.0, help="how long it is asked too much")
    parser.add_argument("--swaps", type=int, default=200, help="bundles swapped under load")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    result: Json = {"command": "python -m benchmarks.serving.run " + " ".join(sys.argv[1:])}
    result |= {"machine": describe_machine(), "k": K, "seconds": given.seconds, "bundles": {}}
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as scratch:
        folders = {given.bundle.name: given.bundle}
        if given.rows:
            _say(f"making a bundle of {given.rows:,} items")
            folders[f"synthetic-{given.rows}"] = bundles.synthetic(Path(scratch) / "synthetic", rows=given.rows)
        for name, folder in folders.items():
            result["bundles"][name] = _measure(folder, name, given, Path(scratch))
            _write(given.out, result)
        requests = _requests(given.bundle)[:SWAP_REQUESTS]
        result["swaps"] = swaps.measure(given.bundle, requests, Path(scratch), given.swaps, NEVER_TWICE)
    _write(given.out, result)


def _measure(folder: Path, name: str, given: argparse.Namespace, scratch: Path) -> Json:
    requests = _requests(folder)
    listed = scratch / "requests.jsonl"
    listed.write_text("\n".join(map(json.dumps, requests)), encoding="utf-8")
    wire = [post("/v1/recommend", request).decode() for request in requests]
    readings: Json = {"items": len(load_bundle(folder).catalogue)}
    readings["floor"] = floor = _floor(folder, listed, given.seconds, NEVER_TWICE)
    _say(f"{name}: floor {floor['p50_ms']} ms, together {floor['per_second_together']}")
    for label, settings in _shapes().items():
        readings[label] = _under_load(folder, wire, settings, given.seconds)
        _say(f"{name}, {label}: {readings[label]}")
    peak = readings["one worker"]["peak"]["good_per_second"]
    readings["overload"] = _overload(folder, wire, peak, given.overload_seconds)
    _say(f"{name}, overload: {readings['overload']}")
    readings["judged"] = _judged(readings)
    _say(f"{name}: {readings['judged']}")
    return readings


def _shapes() -> dict[str, dict[str, object]]:
    return {
        "one worker": NEVER_TWICE,
        "one worker, one by one": NEVER_TWICE | {"BATCH__MAX_REQUESTS": 1},
        "one worker, gathering 2 ms": NEVER_TWICE | {"BATCH__GATHER_MS": 2},
        "one worker, vectors kept": {},
        "two workers": NEVER_TWICE | {"SERVER__WORKERS": 2},
    }


def _under_load(folder: Path, wire: Sequence[str], settings: Mapping[str, object], seconds: float) -> Json:
    with running(folder, settings) as service:
        _load(service, wire, callers=8, seconds=min(seconds, 3.0))  # the first answers are slower
        alone = _load(service, wire, callers=1, seconds=seconds)
        peak = _load(service, wire, callers=CALLERS, seconds=seconds)
        busy = _load(service, wire, per_second=0.7 * peak["good_per_second"], seconds=seconds)
        return {"alone": alone, "peak": peak, "at 70 %": busy, "megabytes": service.megabytes()}


def _overload(folder: Path, wire: Sequence[str], peak: float, seconds: float) -> Json:
    """Three times what it can do at its best: how much good still comes out, and whether its memory grows."""
    with running(folder, NEVER_TWICE) as service:
        _load(service, wire, callers=CALLERS, seconds=3.0)
        stop, memory = threading.Event(), [service.megabytes()]

        def weigh() -> None:
            while not stop.wait(max(seconds / 20, 0.5)):
                memory.append(service.megabytes())

        weighing = threading.Thread(target=weigh)
        weighing.start()
        outcome = _load(service, wire, per_second=OVERLOAD * peak, seconds=seconds)
        stop.set()
        weighing.join()
        return outcome | {"megabytes": memory}


def _judged(readings: Json) -> Json:
    """The readings beside what was promised of them."""
    floor, one, over = readings["floor"], readings["one worker"], readings["overload"]
    together = max(floor["per_second_together"].values())
    return {
        "p50 alone, ms (at most 1.5 floors and 1 ms)": [one["alone"]["p50_ms"], 1.5 * floor["p50_ms"] + 1],
        "peak share of in-process (at least .7)": round(one["peak"]["good_per_second"] / together, 3),
        "p99 by p50 at 70 % (under 5)": round(one["at 70 %"]["p99_ms"] / one["at 70 %"]["p50_ms"], 2),
        "goodput at 3× by peak (at least .8)": round(over["good_per_second"] / one["peak"]["good_per_second"], 3),
    }


def _requests(folder: Path) -> list[Json]:
    """Of users from all over the table, in no order."""
    users = load_bundle(folder).interactions.user_ids
    chosen = np.random.default_rng(0).permutation(len(users))[:DISTINCT]
    return [{"user_id": users[user], "k": K} for user in chosen]


def _floor(folder: Path, requests: Path, seconds: float, settings: Mapping[str, object]) -> Json:
    command = [sys.executable, "-m", "benchmarks.serving.floor", "--bundle", str(folder), "--requests", str(requests)]
    command += ["--seconds", str(seconds), "--cached-vectors", str(settings["TOWER__CACHED_VECTORS"])]
    read: Json = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return read


def _load(service: Running, wire: Sequence[str], **plan: float) -> Json:
    told = json.dumps({"url": service.url, "requests": wire, **plan})
    command = [sys.executable, "-m", "benchmarks.serving.load"]
    read: Json = json.loads(subprocess.run(command, check=True, input=told, stdout=subprocess.PIPE, text=True).stdout)
    return read


def _write(out: Path, result: Json) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
