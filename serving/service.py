"""The service without its doors: a bundle and its index, answering one request at a time."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isnan
from typing import Any

import numpy as np
import torch
from torch import Tensor

from index.filters import Filter
from index.kinds import to_json
from index.vector_index import VectorIndex
from recsys.bundle import Bundle
from recsys.embed import embed_histories
from recsys.histories import Histories, stacked
from recsys.interest_classifier import InterestForecast
from recsys.recommend import Ranking, Recommender, Reorder, Search
from recsys.rerank import Reranking
from recsys.text_interests import TextInterests
from serving.choice import Choice, choose
from serving.live_items import LiveItems
from serving.popular import Popularity, rank_by_popularity
from serving.question import NOTHING, UNREADABLE, Question, read_question
from serving.reasons import explain
from serving.refusals import UnavailableError
from serving.schemas import (
    Carrier,
    ModelDescription,
    RecommendAnswer,
    RecommendedItem,
    RecommendRequest,
    SimilarAnswer,
    SimilarItem,
)
from serving.state import State
from serving.stopwatch import Stopwatch
from serving.stored_events import UserEvents
from serving.text_reader import TextReader
from serving.vector_cache import VectorCache

_Asked = tuple[Question, RecommendRequest]

logger = logging.getLogger(__name__)


class UnknownItemError(LookupError):
    """An item that the catalogue does not hold. The message names it."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Service:
    """What answers requests. Not safe to be shared by threads: one owns it.

    Elsewhere only ``state``, ``items.index_of``, ``items.is_offered`` and ``items.cold`` may be used.
    """

    bundle: Bundle
    index: VectorIndex
    """Over all items that are offered; ids are item_idx."""
    items: LiveItems
    """The bundle's catalogue as it stands now."""
    state: State
    """What users did and which items came since the bundle was trained; it outlives the bundle."""
    recommender: Recommender
    encode: Callable[[Histories], Tensor]
    """User vectors (B, D) of B histories."""
    popularity: Popularity
    usual_event: int
    """The kind of event that happens most often."""
    versions: dict[str, str]
    metrics: dict[str, Any] | None
    opinions: Callable[[Histories], Tensor] | None = None
    """What towers say of B histories for the reranker, (B, V, D) of `Evidence.read`; None has them asked each time."""
    forecast: InterestForecast | None = None
    """What users are expected to turn to; None where the bundle has no interest classifier."""
    text_interests: TextInterests | None = None
    """What texts are about; None where the bundle has no text classifier."""
    interest_reader: TextReader | None = None
    """Reads texts for it: its own fine-tuned encoder, or the one that reads new items."""

    def recommend(self, request: RecommendRequest) -> RecommendAnswer:
        """The k items this user will want next, as far as can be told from what the request gives.

        Raises:
            RefusedError: The request asks about what the catalogue does not have.
            UnavailableError: It brings a text, and there is no encoder to read it.
        """
        return self.recommend_all([request])[0]

    def recommend_all(self, requests: Sequence[RecommendRequest]) -> list[RecommendAnswer]:
        """What `recommend` gives for each: one pass through the user tower and one search serve all of them.

        Raises:
            RefusedError: One of them asks about what the catalogue does not have.
            UnavailableError: One of them brings a text, and there is no encoder to read it.
        """
        watch = Stopwatch()
        try:
            with watch.stage("history"):
                self._catch_up()
                questions = self._read(requests)
            with watch.stage("rank"):
                chosen = self._choose(list(zip(questions, requests, strict=True)), watch)
            with watch.stage("items"):
                offered = [self._items(one.ranking) for one in chosen]
            if any(request.explain for request in requests):
                with watch.stage("reasons"):
                    asked = zip(requests, questions, chosen, offered, strict=True)
                    offered = [self._with_reasons(*one) for one in asked]
        finally:
            self.items.let_go()
        timings_ms = watch.read()
        return [
            RecommendAnswer(
                items=items,
                path=question.path,
                model=self.bundle.fingerprint,
                requested_at=question.requested_at,
                diversity=one.price,
                warnings=question.warnings + self._about_length(request, items),
                timings_ms=timings_ms,
            )
            for request, question, one, items in zip(requests, questions, chosen, offered, strict=True)
        ]

    def similar(self, item_id: str, *, k: int) -> SimilarAnswer:
        """The k items nearest to one by vector, itself left out.

        Raises:
            UnknownItemError: The catalogue does not hold it, or no longer.
        """
        self._catch_up()
        item_idx = self.items.index_of(item_id)
        if not self.items.is_offered(item_idx):
            raise unknown_item(item_id)
        ids, cosines = self.index.search(self.index.vectors_of([item_idx]), k + 1)
        others = np.flatnonzero((ids[0] != item_idx) & (ids[0] > 0))[:k]
        return SimilarAnswer(
            item_id=item_id,
            title=self.items.name(item_idx).title,
            items=[SimilarItem(**self._names(int(ids[0, place])), cosine=float(cosines[0, place])) for place in others],
            model=self.bundle.fingerprint,
        )

    def take_in(self) -> None:
        """See every item that was put or removed until now; requests do so by themselves.

        Raises:
            UnavailableError: Something of it cannot be read; what could is taken in.
        """
        changed = self.items.catch_up()
        if changed:
            for cache in (self.encode, self.opinions):
                if isinstance(cache, VectorCache):
                    cache.clear()  # it knows histories by their items' numbers, and one means another vector now

    def describe(self) -> ModelDescription:
        """What is being served, and how good it was found to be."""
        bundle = self.bundle
        return ModelDescription(
            fingerprint=bundle.fingerprint,
            items=len(bundle.catalogue),
            users=len(bundle.interactions.user_ids),
            interactions=len(bundle.interactions),
            event_names=[name for name in bundle.interactions.event_names if name],
            intents=list(bundle.intents),
            has_clock=bundle.interactions.occurred_at is not None,
            index={**to_json(self.index.kind), "items": len(self.index)},
            config=bundle.config.model_dump(mode="json"),
            protocol=bundle.training["protocol"],
            versions=self.versions,
            metrics=self.metrics,
        )

    def _catch_up(self) -> None:
        try:
            self.take_in()
        except UnavailableError as problem:
            logger.error("Live items stay as they were: %s", problem)

    def _read(self, requests: Sequence[RecommendRequest]) -> list[Question]:
        now = int(time.time())
        return [
            read_question(
                request, self.bundle, self.items, self._kept(request.user_id), usual_event=self.usual_event, now=now
            )
            for request in requests
        ]

    def _kept(self, user_id: str | None) -> UserEvents:
        """What is stored of a user. While that cannot be read, they may be a deleted one: nothing of them is used."""
        if user_id is None:
            return NOTHING
        try:
            return self.state.histories.read(user_id)
        except UnavailableError as problem:
            logger.error("Histories cannot be read, so users are answered as strangers: %s", problem)
            return UNREADABLE

    def _choose(self, asked: Sequence[_Asked], watch: Stopwatch) -> list[Choice]:
        """The answer to each question, from a ranking that is longer where there is something to choose."""
        towers = iter(self._rank_by_towers([one for one in asked if one[0].path != "popular"], watch))
        choices = []
        for question, request in asked:
            if question.path == "popular":
                ranking = rank_by_popularity(
                    self.popularity,
                    self.items,
                    self.index,
                    before=question.requested_at,
                    filters=question.filters,
                    k=self._depth(request),
                )
            else:
                ranking = next(towers)
            choices.append(choose(ranking, self.items, k=request.k, wish=request.diversity))
        return choices

    def _depth(self, request: RecommendRequest) -> int:
        """How long the ranking is that the answer is taken from."""
        return request.k if request.diversity is None else max(request.k, self.recommender.num_candidates)

    def _rank_by_towers(self, asked: Sequence[_Asked], watch: Stopwatch) -> list[Ranking]:
        if not asked:
            return []
        histories = [question.histories(self.bundle) for question, _ in asked]
        bring_items = [question.brings_items for question, _ in asked]
        with watch.stage("encode"):
            users = self._encode(histories, bring_items)
        recommender = replace(
            self.recommender,
            search=watch.timed("search", self._search([q.filters for q, _ in asked])),
            reorder=self.recommender.reorder if any(bring_items) else self._remembering(watch),
        )
        rankings = recommender.rank(
            users,
            stacked(histories),
            k=max(self._depth(request) for _, request in asked),
            seen=[question.seen(request.exclude_seen) for question, request in asked],
            intent=[request.intent for _, request in asked],
        )
        # A longer ranking begins with the shorter one, so the longest k serves all.
        return [ranking.first(self._depth(request)) for ranking, (_, request) in zip(rankings, asked, strict=True)]

    def _encode(self, histories: Sequence[Histories], bring_items: Sequence[bool]) -> Tensor:  # (B, D)
        """Of those that bring items nothing may be remembered: their numbers mean other items in the next batch."""
        if not any(bring_items):
            return self.encode(stacked(histories))
        users = torch.empty(len(histories), self.recommender.item_vectors.shape[1])
        for brings in (False, True):
            rows = [row for row, one in enumerate(bring_items) if one == brings]
            if rows:
                some = stacked([histories[row] for row in rows])
                users[rows] = self._encode_afresh(some) if brings else self.encode(some)
        return users

    def _encode_afresh(self, histories: Histories) -> Tensor:
        return embed_histories(self.bundle.model, self.items.vectors, histories)

    def _remembering(self, watch: Stopwatch) -> Reorder | None:
        """What reorders, by opinions that need not be formed anew where the history is as it was."""
        reorder = self.recommender.reorder
        if self.opinions is None or not isinstance(reorder, Reranking):
            return reorder
        return replace(reorder, read=watch.timed("encode", self.opinions))

    def _search(self, filters: Sequence[Filter | None]) -> Search:
        if not any(filters):
            return self.recommender.search
        return partial(self.index.search, filters=filters)

    def _with_reasons(
        self, request: RecommendRequest, question: Question, chosen: Choice, items: list[RecommendedItem]
    ) -> list[RecommendedItem]:
        if not request.explain or question.path == "popular":
            return items
        reasons = explain(
            self.bundle,
            question.histories(self.bundle),
            chosen.ranking,
            recommender=self.recommender,
            places=chosen.places,
            carrier=self._carrier,
            interests=self.items.categories,
            intent=request.intent,
        )
        return [item.model_copy(update={"reasons": why}) for item, why in zip(items, reasons, strict=True)]

    def _items(self, ranking: Ranking) -> list[RecommendedItem]:
        pairs = zip(ranking.item_idx.tolist(), ranking.score.tolist(), _likelihoods(ranking), strict=True)
        return [RecommendedItem(**self._names(item_idx), score=score, **likely) for item_idx, score, likely in pairs]

    def _about_length(self, request: RecommendRequest, items: list[RecommendedItem]) -> list[str]:
        if len(items) == request.k:
            return []
        conditions = ["the catalogue holds", *(["the filters let through"] if request.filters else [])]
        if request.diversity is not None and request.diversity.max_per_category:
            conditions.append("no category holds too many of")
        return [
            f"k: {len(items)} items instead of {request.k}, all that {', '.join(conditions)} and the user has not seen."
        ]

    def _carrier(self, item_idx: int, weight: float) -> Carrier | None:
        return Carrier(**self._names(item_idx), weight=weight) if self.items.is_offered(item_idx) else None

    def _names(self, item_idx: int) -> dict[str, str]:
        name = self.items.name(item_idx)
        return {"item_id": name.item_id, "title": name.title}


def _likelihoods(ranking: Ranking) -> list[dict[str, Any]]:  # (K,)
    """What is said of each item beside its score; nothing of those that no reranker has weighed."""
    if ranking.probability is None:
        return [{}] * len(ranking.item_idx)
    events = {event: likely.tolist() for event, likely in ranking.intents.items()}
    return [
        {}
        if isnan(probability)
        else {"probability": probability, "intents": {event: likely[at] for event, likely in events.items()} or None}
        for at, probability in enumerate(ranking.probability.tolist())
    ]


def unknown_item(item_id: str) -> UnknownItemError:
    """What is said of an item that is not there."""
    return UnknownItemError(f"item {item_id!r} is not in the catalogue.")
