"""Meters that show a state are read now and then, and before a scrape; the others are counted as things happen."""

from serving.meters import Meters
from serving.service import Service
from serving.vector_cache import VectorCache


class Readings:
    """Brings the meters up to date with what a variant's service looks like."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters
        self._shown: dict[str, tuple[str, str, str]] = {}

    def take(self, variant: str, service: Service) -> None:
        """Read one service."""
        self._meters.index_items.labels(variant).set(len(service.index))
        cache = service.encode if isinstance(service.encode, VectorCache) else None
        self._show_model(variant, service.bundle.fingerprint[:12], cache.runtime if cache else "torch")
        if cache is None:
            return
        for outcome, count in cache.take_counts().items():
            self._meters.vector_cache.labels(outcome, variant).inc(count)
        if cache.drift is not None and (drift := cache.drift.read()) is not None:
            self._meters.drift.labels("stability_index", variant).set(drift.stability_index)
            self._meters.drift.labels("cosine", variant).set(drift.cosine)

    def _show_model(self, variant: str, fingerprint: str, runtime: str) -> None:
        now, before = (variant, fingerprint, runtime), self._shown.get(variant)
        if before is not None and before != now:
            self._meters.model.labels(*before).set(0)
        self._meters.model.labels(*now).set(1)
        self._shown[variant] = now
