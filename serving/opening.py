"""From a bundle's folder to a service that answers: the index, what came since, and one answer to warm up."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from index.filters import Filter
from index.vector_index import VectorIndex
from recsys.bundle import Bundle, load_bundle, read_manifest
from recsys.embed import embed_histories
from recsys.errors import InputError
from recsys.interest_classifier import InterestForecast, load_classifier
from recsys.interests import bundle_taxonomy
from recsys.recommend import Recommender
from recsys.text_interests import load_text_interests
from serving.cold_items import ColdItems
from serving.index_commands import INDEX, index_of
from serving.live_items import LiveItems
from serving.popular import Popularity
from serving.schemas import HistoryEvent, RecommendRequest
from serving.service import Service
from serving.state import TEXTS, State, open_state
from serving.text_reader import TextReader

METRICS = "metrics.json"
HEADLINE = ("recall@10", "ndcg@10", "recall@200")


def open_service(folder: Path, *, state: State | None = None) -> Service:
    """Load a bundle and the index in it; without an index, every item is scored.

    Args:
        folder: Of the bundle.
        state: What users did and which items came since; without one, nothing, and what comes is lost in the end.

    Raises:
        InputError: No bundle, one that is damaged or of another format, or one that reads more than the state keeps.
        VectorIndexError: The index is damaged, or was built for another bundle.
        UnavailableError: The state cannot be read, or an item that came since cannot be encoded.
    """
    bundle = load_bundle(folder)
    state = state or open_state()
    _refuse_short_memory(bundle, state)
    index = _load_index(folder / INDEX, bundle)
    cold = ColdItems(bundle, TextReader(bundle.config.item_tower.encoder, cache=state.folder / TEXTS))
    items = LiveItems(bundle, index, state.items, cold)
    text_interests = load_text_interests(folder, fingerprint=bundle.fingerprint)
    tuned = None if text_interests is None else text_interests.tuned
    service = Service(
        bundle=bundle,
        index=index,
        items=items,
        state=state,
        recommender=Recommender(
            model=bundle.model,
            item_vectors=items.vectors,
            reorder=bundle.reorder(items.vectors),
            num_candidates=bundle.config.prior.num_candidates,
            search=index.search,
        ),
        encode=partial(embed_histories, bundle.model, items.vectors),
        popularity=Popularity.of(bundle.interactions, num_items=len(bundle.catalogue)),
        usual_event=int(np.bincount(bundle.interactions.event).argmax()),
        versions=_versions(folder),
        metrics=_headline(folder / METRICS),
        forecast=_forecast(folder, bundle),
        text_interests=text_interests,
        interest_reader=cold.reader if tuned is None else TextReader(str(tuned), cache=state.folder / TEXTS),
    )
    _warm_up(service)
    return service


def _load_index(folder: Path, bundle: Bundle) -> VectorIndex:
    """The bundle's index, which is only read: what changes later is kept in the state and put into memory."""
    if not folder.exists():
        return index_of(bundle)
    index = VectorIndex.load(folder, fingerprint=bundle.fingerprint, keep_updates=False)
    known = next((names[0] for names in bundle.catalogue.categories if names), None)
    if known and index.search(index.vectors_of([1]), 1, filters=Filter(any_of=[known])).ids[0, 0] < 0:
        raise InputError(
            f"{folder}: was built without categories and numbers, so filters would let nothing through. "
            f"Build it again with `recsys index build --bundle {folder.parent}`."
        )
    return index


def _forecast(folder: Path, bundle: Bundle) -> InterestForecast | None:
    classifier = load_classifier(folder, fingerprint=bundle.fingerprint)
    return None if classifier is None else InterestForecast.of(bundle, bundle_taxonomy(bundle), classifier)


def _refuse_short_memory(bundle: Bundle, state: State) -> None:
    length, kept = bundle.config.user_tower.history_length, state.histories.retention.max_events
    if kept < length:
        raise InputError(
            f"The bundle reads {length} events of a user, and the state keeps {kept}. Keep {length} or more."
        )


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
