"""The service without its doors: a bundle and its index, answering one request at a time."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from index.kinds import to_json
from index.vector_index import VectorIndex
from recsys.bundle import Bundle, load_bundle, read_manifest
from recsys.embed import embed_histories
from recsys.errors import InputError
from recsys.histories import Histories, stacked
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
    encode: Callable[[Histories], Tensor]
    """User vectors (B, D) of B histories."""
    popularity: Popularity
    usual_event: int
    """The kind of event that happens most often."""
    versions: dict[str, str]
    metrics: dict[str, Any] | None

    def recommend(self, request: RecommendRequest) -> RecommendAnswer:
        """The k items this user will want next, as far as can be told from what the request gives."""
        return self.recommend_all([request])[0]

    def recommend_all(self, requests: Sequence[RecommendRequest]) -> list[RecommendAnswer]:
        """What `recommend` gives for each: one pass through the user tower and one search serve all of them."""
        watch = Stopwatch()
        now = int(time.time())
        with watch.stage("history"):
            questions = [
                read_question(request, self.bundle, usual_event=self.usual_event, now=now) for request in requests
            ]
        with watch.stage("rank"):
            rankings = self._rank(questions, requests, watch)
        with watch.stage("items"):
            offered = [self._items(ranking) for ranking in rankings]
        if any(request.explain for request in requests):
            with watch.stage("reasons"):
                asked = zip(requests, questions, rankings, offered, strict=True)
                offered = [self._with_reasons(*one) for one in asked]
        timings_ms = watch.read()
        return [
            RecommendAnswer(
                items=items,
                path=question.path,
                model=self.bundle.fingerprint,
                requested_at=question.requested_at,
                warnings=question.warnings + self._about_length(request, items),
                timings_ms=timings_ms,
            )
            for request, question, items in zip(requests, questions, offered, strict=True)
        ]

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

    def _rank(
        self, questions: Sequence[Question], requests: Sequence[RecommendRequest], watch: Stopwatch
    ) -> list[Ranking]:
        asked = list(zip(questions, requests, strict=True))
        towers = iter(self._rank_by_towers([one for one in asked if one[0].path != "popular"], watch))
        return [
            self._rank_by_popularity(question, k=request.k) if question.path == "popular" else next(towers)
            for question, request in asked
        ]

    def _rank_by_popularity(self, question: Question, *, k: int) -> Ranking:
        item_idx, counts = self.popularity.ranking(before=question.requested_at)
        unknown = np.full(k, np.nan, np.float32)[: len(item_idx)]
        return Ranking(item_idx[:k], counts[:k].astype(np.float32), unknown)

    def _rank_by_towers(self, asked: Sequence[tuple[Question, RecommendRequest]], watch: Stopwatch) -> list[Ranking]:
        if not asked:
            return []
        histories = stacked([question.histories(self.bundle) for question, _ in asked])
        with watch.stage("encode"):
            users = self.encode(histories)
        recommender = replace(self.recommender, search=watch.timed("search", self.recommender.search))
        nothing = np.zeros(0, np.int64)
        rankings = recommender.rank(
            users,
            histories.item_idx,
            k=max(request.k for _, request in asked),
            seen=[question.seen if request.exclude_seen else nothing for question, request in asked],
        )
        # A longer ranking begins with the shorter one, so the longest k serves all.
        return [ranking.first(request.k) for ranking, (_, request) in zip(rankings, asked, strict=True)]

    def _with_reasons(
        self, request: RecommendRequest, question: Question, ranking: Ranking, items: list[RecommendedItem]
    ) -> list[RecommendedItem]:
        if not request.explain or question.path == "popular":
            return items
        newest = question.history.item_idx[-self.bundle.config.user_tower.history_length :]
        reasons = explain(self.bundle, newest, ranking, carrier=self._carrier)
        return [item.model_copy(update={"reasons": why}) for item, why in zip(items, reasons, strict=True)]

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
    item_vectors = torch.from_numpy(bundle.item_vectors)
    service = Service(
        bundle=bundle,
        index=index,
        recommender=Recommender(
            model=bundle.model,
            item_vectors=item_vectors,
            prior=bundle.prior,
            num_candidates=bundle.config.prior.num_candidates,
            search=index.search,
        ),
        encode=partial(embed_histories, bundle.model, item_vectors),
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
