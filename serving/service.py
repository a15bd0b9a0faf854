"""The service without its doors: a bundle and its index, answering one request at a time."""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from index.kinds import to_json
from index.vector_index import VectorIndex
from recsys.bundle import Bundle, load_bundle, read_manifest
from recsys.errors import InputError
from recsys.recommend import Ranking, Recommender
from serving.popular import Popularity
from serving.question import Question, read_question
from serving.reasons import explain
from serving.schemas import (
    Carrier,
    HistoryEvent,
    ModelDescription,
    RecommendAnswer,
    RecommendedItem,
    RecommendRequest,
    SimilarAnswer,
    SimilarItem,
)
from serving.stopwatch import Stopwatch

INDEX = "index"
"""Where in a bundle its index lies."""
METRICS = "metrics.json"
HEADLINE = ("recall@10", "ndcg@10", "recall@200")


class UnknownItemError(LookupError):
    """An item that the catalogue does not hold. The message names it."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Service:
    """What answers requests. Not safe to be shared by threads: one owns it."""

    bundle: Bundle
    index: VectorIndex
    """Over the bundle's item vectors; ids are item_idx."""
    recommender: Recommender
    popularity: Popularity
    usual_event: int
    """The kind of event that happens most often."""
    versions: dict[str, str]
    metrics: dict[str, Any] | None

    def recommend(self, request: RecommendRequest) -> RecommendAnswer:
        """The k items this user will want next, as far as can be told from what the request gives."""
        watch = Stopwatch()
        with watch.stage("history"):
            question = read_question(request, self.bundle, usual_event=self.usual_event, now=int(time.time()))
        with watch.stage("rank"):
            ranking = self._rank(question, request, watch)
        with watch.stage("items"):
            items = self._items(ranking)
        if request.explain and question.path != "popular":
            with watch.stage("reasons"):
                newest = question.history.item_idx[-self.bundle.config.user_tower.history_length :]
                reasons = explain(self.bundle, newest, ranking, carrier=self._carrier)
                items = [item.model_copy(update={"reasons": why}) for item, why in zip(items, reasons, strict=True)]
        return RecommendAnswer(
            items=items,
            path=question.path,
            model=self.bundle.fingerprint,
            requested_at=question.requested_at,
            warnings=question.warnings + self._about_length(request, items),
            timings_ms=watch.read(),
        )

    def similar(self, item_id: str, *, k: int) -> SimilarAnswer:
        """The k items nearest to one by vector, itself left out.

        Raises:
            UnknownItemError: The catalogue does not hold it.
        """
        item_idx = self.bundle.catalogue.index_of(item_id)
        if not item_idx:
            raise UnknownItemError(
                f"item {item_id!r} is not in the catalogue of bundle {self.bundle.fingerprint[:12]}."
            )
        ids, cosines = self.index.search(self.index.vectors_of([item_idx]), k + 1)
        others = np.flatnonzero((ids[0] != item_idx) & (ids[0] > 0))[:k]
        return SimilarAnswer(
            item_id=item_id,
            title=self.bundle.catalogue.titles[item_idx],
            items=[SimilarItem(**self._names(int(ids[0, place])), cosine=float(cosines[0, place])) for place in others],
            model=self.bundle.fingerprint,
        )

    def describe(self) -> ModelDescription:
        """What is being served, and how good it was found to be."""
        bundle = self.bundle
        return ModelDescription(
            fingerprint=bundle.fingerprint,
            items=len(bundle.catalogue),
            users=len(bundle.interactions.user_ids),
            interactions=len(bundle.interactions),
            event_names=[name for name in bundle.interactions.event_names if name],
            has_clock=bundle.interactions.occurred_at is not None,
            index={**to_json(self.index.kind), "items": len(self.index)},
            config=bundle.config.model_dump(mode="json"),
            protocol=bundle.training["protocol"],
            versions=self.versions,
            metrics=self.metrics,
        )

    def _rank(self, question: Question, request: RecommendRequest, watch: Stopwatch) -> Ranking:
        if question.path == "popular":
            item_idx, counts = self.popularity.ranking(before=question.requested_at)
            unknown = np.full(request.k, np.nan, np.float32)[: len(item_idx)]
            return Ranking(item_idx[: request.k], counts[: request.k].astype(np.float32), unknown)
        recommender = replace(self.recommender, search=watch.timed("search", self.recommender.search))
        histories = question.histories(self.bundle)
        return recommender.recommend(histories, k=request.k, seen=[question.seen] if request.exclude_seen else None)[0]

    def _items(self, ranking: Ranking) -> list[RecommendedItem]:
        pairs = zip(ranking.item_idx.tolist(), ranking.score.tolist(), strict=True)
        return [RecommendedItem(**self._names(item_idx), score=score) for item_idx, score in pairs]

    def _about_length(self, request: RecommendRequest, items: list[RecommendedItem]) -> list[str]:
        if len(items) == request.k:
            return []
        return [
            f"k: {len(items)} items instead of {request.k}, all that the catalogue holds and the user has not seen."
        ]

    def _carrier(self, item_idx: int, weight: float) -> Carrier:
        return Carrier(**self._names(item_idx), weight=weight)

    def _names(self, item_idx: int) -> dict[str, str]:
        catalogue = self.bundle.catalogue
        return {"item_id": catalogue.item_ids[item_idx], "title": catalogue.titles[item_idx]}


def open_service(folder: Path) -> Service:
    """Load a bundle and the index in it; without an index, every item is scored.

    Raises:
        InputError: No bundle, or one that is damaged or of another format.
        VectorIndexError: The index is damaged, or was built for another bundle.
    """
    bundle = load_bundle(folder)
    index = _load_index(folder / INDEX, bundle)
    service = Service(
        bundle=bundle,
        index=index,
        recommender=Recommender(
            model=bundle.model,
            item_vectors=torch.from_numpy(bundle.item_vectors),
            prior=bundle.prior,
            num_candidates=bundle.config.prior.num_candidates,
            search=index.search,
        ),
        popularity=Popularity.of(bundle.interactions, num_items=len(bundle.catalogue)),
        usual_event=int(np.bincount(bundle.interactions.event).argmax()),
        versions=_versions(folder),
        metrics=_headline(folder / METRICS),
    )
    _warm_up(service)
    return service


def _load_index(folder: Path, bundle: Bundle) -> VectorIndex:
    if folder.exists():
        return VectorIndex.load(folder, fingerprint=bundle.fingerprint)
    ids: npt.NDArray[np.int64] = np.arange(1, len(bundle.item_vectors))
    return VectorIndex.build(bundle.item_vectors[1:], ids, fingerprint=bundle.fingerprint)


def _versions(folder: Path) -> dict[str, str]:
    manifest = read_manifest(folder)
    return {"python": manifest["python"], **manifest["versions"]}


def _headline(path: Path) -> dict[str, Any] | None:
    """Of the report of an evaluation, the figures one asks for first."""
    if not path.exists():
        return None
    try:
        recommenders = json.loads(path.read_text(encoding="utf-8"))["recommenders"]
        return {
            name: {metric: figures[metric] for metric in HEADLINE if metric in figures}
            for name, figures in recommenders.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"{path}: damaged, not a report. Write it again with `recsys evaluate`, or remove it."
        ) from None


def _warm_up(service: Service) -> None:
    """Answer once before anyone waits: the first pass through a model is many times slower than the second."""
    some_item = service.bundle.catalogue.item_ids[1]
    service.recommend(RecommendRequest(history=[HistoryEvent(item_id=some_item)], explain=True))
    service.recommend(RecommendRequest())
