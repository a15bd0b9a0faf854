"""The same answers without HTTP: what the service cannot be quicker than, in a process that does nothing else."""

import argparse
import json
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from serving.opening import open_service
from serving.runtimes import with_quickest_tower
from serving.schemas import RecommendRequest
from serving.service import Service
from serving.settings import TowerSettings

TOGETHER = (1, 8, 32)


def measure(service: Service, requests: Sequence[RecommendRequest], seconds: float) -> dict[str, object]:
    """One by one: the median and 99th percentile. Together: requests a second by size of batch."""
    times: list[float] = []
    asked = cycle(requests)
    while sum(times) < seconds:
        request, started = next(asked), perf_counter()
        service.recommend(request)
        times.append(perf_counter() - started)
    rates = {str(size): _rate(service, requests, size, seconds) for size in TOGETHER}
    p50, p99 = np.percentile(np.array(times) * 1_000, [50, 99])
    return {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3), "per_second_together": rates}


def _rate(service: Service, requests: Sequence[RecommendRequest], size: int, seconds: float) -> float:
    asked, answered, started = cycle(requests), 0, perf_counter()
    while perf_counter() - started < seconds:
        answered += len(service.recommend_all(list(islice(asked, size))))
    return round(answered / (perf_counter() - started), 1)


def main() -> None:
    """As a process of its own: requests as JSON lines in a file, readings as JSON on standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--requests", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--cached-vectors", type=int, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    settings = TowerSettings(cached_vectors=given.cached_vectors)
    service = with_quickest_tower(open_service(given.bundle), given.bundle, settings)
    lines = given.requests.read_text(encoding="utf-8").splitlines()
    requests = [RecommendRequest.model_validate_json(line) for line in lines]
    for batch in islice(zip(*[iter(requests)] * 8, strict=False), 8):
        service.recommend_all(batch)  # the first passes of each size are slower
    readings = measure(service, requests, given.seconds)
    print(json.dumps(readings | {"runtime": getattr(service.encode, "runtime", "torch")}))


if __name__ == "__main__":
    main()
