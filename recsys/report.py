"""Judge a bundle beside the baselines, and leave what anyone needs to check the numbers.

Shapes: Q cases, N items, D width.
"""

import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from recsys.audit import LeakError, audit_counts, audit_split, rows_fingerprint
from recsys.baselines import (
    NEIGHBOURS,
    RECENT_DAYS,
    Scorer,
    choose,
    item_cosines,
    nearest_items,
    popularity,
    recent_popularity,
    transitions,
)
from recsys.bundle import MANIFEST, Bundle, write_manifest
from recsys.card import CARD
from recsys.embed import embed_cases
from recsys.evaluate import judge, target_ranks
from recsys.figures import Ground, cases_frame, rankings_frame, report
from recsys.histories import case_histories
from recsys.interactions import Interactions
from recsys.interests import bundle_taxonomy
from recsys.metrics import ndcg
from recsys.ranking import OUT, mask_seen, top_k
from recsys.recommend import behind, rescore
from recsys.split import Cases, Rows, Split, make_split, thinned, without_request_time
from recsys.train import VALIDATION_CASES, item_counts
from recsys.transitions import TransitionCounter


@dataclass(frozen=True)
class Protocol:
    """What the models are told and allowed."""

    request_time: bool = False
    """Tell the instant of the target; otherwise requests come right after the newest known event."""
    allow_repeats: bool = False
    """Let items of the history be recommended again."""


def evaluate_bundle(
    bundle: Bundle, protocol: Protocol, *, seed: int
) -> tuple[dict[str, Any], pl.DataFrame, pl.DataFrame]:
    """Judge the towers, the towers with their prior, and four baselines on the bundle's own held-out cases.

    Returns:
        What metrics.json, rankings.parquet and cases.parquet say.

    Raises:
        LeakError: The bundle was trained on other rows than its split allows, or a history reaches its target.
    """
    split = _audited_split(bundle)
    interactions, num_items = bundle.interactions, len(bundle.catalogue)
    validation, test = split.validation, split.test
    if not protocol.request_time:
        validation, test = (without_request_time(cases, interactions) for cases in (validation, test))
    scorers = {
        **tower_scorers(bundle, allow_repeats=protocol.allow_repeats),
        **baseline_scorers(split, bundle, thinned(validation, VALIDATION_CASES), allow_repeats=protocol.allow_repeats),
    }
    judged = {
        name: judge(scorer, test, interactions, allow_repeats=protocol.allow_repeats)
        for name, scorer in scorers.items()
    }
    counts = item_counts(split.train, num_items=num_items)
    ground = Ground(interactions, bundle.catalogue, test, counts, seed, bundle_taxonomy(bundle))
    best = "two_tower+prior" if "two_tower+prior" in judged else "two_tower"
    said = {
        **split.protocol,
        "request_time": protocol.request_time and interactions.occurred_at is not None,
        "allow_repeats": protocol.allow_repeats,
        "cases": len(test),
        "users": len(np.unique(test.user_idx)),
        "catalogue": num_items,
        "seen_targets": _seen_targets(split.interactions, test),
        "ties": "expected rank",
        "intervals": "95 %, bootstrap over users",
        "seed": seed,
        "bundle": bundle.fingerprint,
        "machine": f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads",
    }
    return report(judged, ground, said, best=best), rankings_frame(judged, ground), cases_frame(ground)


def tower_scorers(bundle: Bundle, *, allow_repeats: bool) -> dict[str, Scorer]:
    """The towers alone, and with the prior reordering what they retrieve."""
    item_vectors = torch.from_numpy(bundle.item_vectors)
    interactions, prior, depth = bundle.interactions, bundle.prior, bundle.config.prior.num_candidates
    embedded: dict[bytes, Tensor] = {}  # both scorers ask for the same cases, and embedding them is the dear part

    def cosines(cases: Cases) -> Tensor:
        key = _named(cases)
        if key not in embedded:
            embedded[key] = embed_cases(bundle.model, item_vectors, interactions, cases)
        return embedded[key] @ item_vectors.T

    def blended(cases: Cases) -> Tensor:
        scores = cosines(cases)
        scores[:, 0] = OUT
        if not allow_repeats:
            mask_seen(scores, interactions, cases)
        candidates, best = top_k(scores, depth)
        histories = case_histories(interactions, cases, length=bundle.config.prior.history_items)
        head = rescore(prior, depth, best, candidates, histories.item_idx)
        return behind(head, scores).scatter(1, candidates, head)

    scorers: dict[str, Scorer] = {"two_tower": cosines}
    if prior is not None:
        scorers["two_tower+prior"] = blended
    return scorers


def baseline_scorers(split: Split, bundle: Bundle, validation: Cases, *, allow_repeats: bool) -> dict[str, Scorer]:
    """The four baselines, fitted on ``split.train``, their knobs chosen on the validation cases."""
    num_items, train, interactions = len(bundle.catalogue), split.train, split.interactions

    def validation_ndcg(scorer: Scorer) -> float:
        if not len(validation):
            return 0.0  # nothing to choose by: the first knob stays
        ranks = target_ranks(scorer, validation, interactions, allow_repeats=allow_repeats)
        return float(ndcg(ranks, validation.target_cases, k=10).mean())

    similar = item_cosines(train, num_items=num_items)
    knn = [nearest_items(interactions, similar, neighbours=most) for most in NEIGHBOURS]
    recent = [recent_popularity(train, num_items=num_items, days=days) for days in RECENT_DAYS]
    return {
        "popularity": popularity(train, num_items=num_items),
        "recent_popularity": choose(recent, validation_ndcg),
        "item_knn": choose(knn, validation_ndcg),
        "transitions": transitions(interactions, TransitionCounter.of(train, bundle.config.prior, num_items=num_items)),
    }


def save_report(
    folder: Path, metrics: dict[str, Any], rankings: pl.DataFrame, cases: pl.DataFrame, *, card: str | None = None
) -> None:
    """Write metrics.json, rankings.parquet, cases.parquet and the model card; in a bundle, renew its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    rankings.write_parquet(folder / "rankings.parquet")
    cases.write_parquet(folder / "cases.parquet")
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1, ensure_ascii=False), encoding="utf-8")
    if card is not None:
        (folder / CARD).write_text(card, encoding="utf-8")
    if (folder / MANIFEST).exists():
        write_manifest(folder)


def _audited_split(bundle: Bundle) -> Split:
    split = make_split(bundle.interactions, bundle.config.split)
    audit_split(split)
    if rows_fingerprint(split.train) != bundle.training["trained_on"]:
        raise LeakError(
            "the bundle was not trained on the training part of its own split: its table or its split was changed "
            "after training. Train again."
        )
    audit_counts(split, np.array(bundle.training["item_counts"]), what="item counts of the bundle")
    if bundle.prior is not None:
        honest = TransitionCounter.of(split.train, bundle.config.prior, num_items=len(bundle.catalogue))
        if abs(honest.counts - bundle.prior.counter.counts).max() > 1e-4:
            raise LeakError("the prior's transition counts are not those of the training rows. Train again.")
    return split


def _seen_targets(interactions: Interactions, cases: Cases) -> int:
    """Targets that the user already had: out of reach unless repeats are allowed."""

    def pairs(rows: Rows, of_case: Rows) -> Rows:
        return of_case << 32 | interactions.item_idx[rows]

    return int(np.isin(pairs(cases.target_rows, cases.target_cases), pairs(*cases.history_rows())).sum())


def _named(cases: Cases) -> bytes:
    """What tells these questions from others."""
    asked = b"" if cases.requested_at is None else cases.requested_at.tobytes()
    return cases.starts.tobytes() + cases.stops.tobytes() + asked
