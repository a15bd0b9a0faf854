"""What the service counts and times, for Prometheus. One set for each app; several workers share theirs by files."""

import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

MEDIA_TYPE = CONTENT_TYPE_LATEST
SHARED_BY_FILES = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which prometheus_client is told that several processes count together, and where."""

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Meters:
    """All of them; `exposition` is what a scrape reads."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "recsys_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "recsys_request_seconds", "From first byte to answer.", ["route"], buckets=SECONDS, registry=registry
        )
        self.in_flight = Gauge(
            "recsys_in_flight", "Requests being answered.", multiprocess_mode="livesum", registry=registry
        )
        self.refused = Counter("recsys_refused", "Requests refused at the door.", ["reason"], registry=registry)
        self.queue = Gauge(
            "recsys_queue_length", "Requests waiting for the model.", multiprocess_mode="livesum", registry=registry
        )
        self.queue_seconds = Histogram(
            "recsys_queue_seconds", "Waiting for the model.", buckets=SECONDS, registry=registry
        )
        self.batch_size = Histogram(
            "recsys_batch_size", "Requests answered together.", ["variant"], buckets=SIZES, registry=registry
        )
        self.stage_seconds = Histogram(
            "recsys_stage_seconds",
            "A stage of answering one batch.",
            ["stage", "variant"],
            buckets=SECONDS,
            registry=registry,
        )
        self.recommendations = Counter(
            "recsys_recommendations", "Answers by what they came from.", ["path", "variant"], registry=registry
        )
        self.vector_cache = Counter(
            "recsys_vector_cache", "User vectors asked of the cache.", ["outcome", "variant"], registry=registry
        )
        self.shadow_overlap = Histogram(
            "recsys_shadow_overlap",
            "Share of the first bundle's answer that the shadow's holds too.",
            buckets=SHARES,
            registry=registry,
        )
        self.swaps = Counter("recsys_swaps", "Bundles that took over or were refused.", ["outcome"], registry=registry)
        self.index_items = Gauge(
            "recsys_index_items", "Items that can be found.", ["variant"], multiprocess_mode="max", registry=registry
        )
        self.model = Gauge(
            "recsys_model",
            "1 for the bundle that answers.",
            ["variant", "fingerprint", "runtime"],
            multiprocess_mode="max",
            registry=registry,
        )
        self.drift = Gauge(
            "recsys_query_drift",
            "How far the user vectors of late are from those of the training's validation, see serving/drift.py.",
            ["measure", "variant"],
            multiprocess_mode="max",
            registry=registry,
        )

    def exposition(self) -> bytes:
        """Everything, in the text format of Prometheus; of all workers where there are several."""
        if SHARED_BY_FILES not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
