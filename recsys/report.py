"""Judge a bundle beside the baselines, and leave what anyone needs to check the numbers.

Shapes: Q cases, N items, D width.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from recsys.audit import LeakError
from recsys.baselines import (
    HALF_LIVES,
    NEIGHBOURS,
    RECENT_DAYS,
    Scorer,
    choose,
    item_cosines,
    nearest_items,
    popularity,
    recent_popularity,
    revisits,
    transitions,
)
from recsys.bundle import MANIFEST, Bundle, write_manifest
from recsys.calibration import expected_calibration_error
from recsys.card import CARD
from recsys.embed import embed_cases
from recsys.errors import InputError
from recsys.evaluate import Judged, judge, target_ranks
from recsys.event_evidence import EventEvidence
from recsys.evidence import Evidence
from recsys.figures import Ground, cases_frame, rankings_frame, report
from recsys.histories import case_histories
from recsys.intent_report import intent_figures
from recsys.interactions import Interactions
from recsys.interests import bundle_taxonomy
from recsys.metrics import ndcg
from recsys.ranking import OUT, makes_seen, mask_seen, top_k
from recsys.recommend import Reorder, behind, rescore
from recsys.rerank import Reranker, Reranking
from recsys.run import bundle_split
from recsys.split import Cases, Rows, Split, thinned, without_request_time
from recsys.train import VALIDATION_CASES, item_counts
from recsys.transitions import TransitionCounter

TOWERS, BLENDED, RERANKED = "two_tower", "two_tower+prior", "two_tower+rerank"
OURS = (TOWERS, BLENDED, RERANKED)
"""What a bundle may have, the simplest first; the last it has is what it serves."""


@dataclass(frozen=True)
class Protocol:
    """What the models are told and allowed."""

    request_time: bool = False
    """Tell the instant of the target; otherwise requests come right after the newest known event."""
    allow_repeats: bool = False
    """Let items of the history be recommended again."""
    seen_by: tuple[str, ...] | None = None
    """Where they are not, leave out those alone with which one of these event types happened; None stands for any."""


def evaluate_bundle(
    bundle: Bundle, protocol: Protocol, *, seed: int
) -> tuple[dict[str, Any], pl.DataFrame, pl.DataFrame]:
    """Judge the towers, what reorders their candidates, and four baselines on the bundle's own held-out cases.

    Returns:
        What metrics.json, rankings.parquet and cases.parquet say.

    Raises:
        LeakError: The bundle was trained on other rows than its split allows, or a history reaches its target.
        InputError: The protocol names an event type that the bundle's table does not have.
    """
    _refuse_unknown_events(protocol.seen_by or (), bundle)
    split = _audited_split(bundle)
    interactions, num_items = bundle.interactions, len(bundle.catalogue)
    validation, test = split.validation, split.test
    if not protocol.request_time:
        validation, test = (without_request_time(cases, interactions) for cases in (validation, test))
    repeats, seen_by = protocol.allow_repeats, protocol.seen_by
    chosen_on = thinned(validation, VALIDATION_CASES)
    scorers = {
        **tower_scorers(bundle, allow_repeats=repeats, seen_by=seen_by),
        **baseline_scorers(split, bundle, chosen_on, allow_repeats=repeats, seen_by=seen_by),
    }
    judged = {
        name: judge(scorer, test, interactions, allow_repeats=repeats, seen_by=seen_by)
        for name, scorer in scorers.items()
    }
    counts = item_counts(split.train, num_items=num_items)
    ground = Ground(interactions, bundle.catalogue, test, counts, seed, bundle_taxonomy(bundle))
    best = next(name for name in reversed(OURS) if name in judged)
    said = {
        **split.protocol,
        "request_time": protocol.request_time and interactions.occurred_at is not None,
        "allow_repeats": repeats,
        **({} if seen_by is None else {"seen_by": list(seen_by)}),
        "cases": len(test),
        "users": len(np.unique(test.user_idx)),
        "catalogue": num_items,
        "seen_targets": _seen_targets(split.interactions, test, seen_by),
        "ties": "expected rank",
        "intervals": "95 %, bootstrap over users",
        "seed": seed,
        "bundle": bundle.fingerprint,
        "machine": f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads",
    }
    metrics = report(judged, ground, said, best=best)
    if bundle.reranker is not None:
        metrics["calibration"] = {RERANKED: _calibration(bundle.reranker, judged[RERANKED], test, interactions)}
        if bundle.intents:
            metrics["intents"] = intent_figures(
                bundle, scorers[TOWERS], test, allow_repeats=repeats, seen_by=seen_by, seed=seed
            )
    return metrics, rankings_frame(judged, ground), cases_frame(ground)


def tower_scorers(bundle: Bundle, *, allow_repeats: bool, seen_by: Sequence[str] | None = None) -> dict[str, Scorer]:
    """The towers alone, and with the prior or the reranker reordering what they retrieve."""
    item_vectors = torch.from_numpy(bundle.item_vectors)
    interactions, depth, tower = bundle.interactions, bundle.config.prior.num_candidates, bundle.config.user_tower
    embedded: dict[bytes, Tensor] = {}  # all scorers ask for the same cases, and embedding them is the dear part

    def cosines(cases: Cases) -> Tensor:
        key = _named(cases)
        if key not in embedded:
            embedded[key] = embed_cases(bundle.model, item_vectors, interactions, cases)
        return embedded[key] @ item_vectors.T

    def reordered(reorder: Reorder, cases: Cases) -> Tensor:
        scores = cosines(cases)
        scores[:, 0] = OUT
        if not allow_repeats:
            mask_seen(scores, interactions, cases, seen_by=seen_by)
        candidates, best = top_k(scores, depth)
        histories = case_histories(interactions, cases, length=tower.history_length, request_time=tower.request_time)
        head = rescore(reorder, depth, best, candidates, histories)
        return behind(head, scores).scatter(1, candidates, head)

    scorers: dict[str, Scorer] = {TOWERS: cosines}
    if bundle.prior is not None:
        scorers[BLENDED] = partial(reordered, bundle.prior.reorder)
    if bundle.reranker is not None:
        scorers[RERANKED] = partial(reordered, Reranking(bundle.reranker, item_vectors))
    return scorers


def baseline_scorers(
    split: Split,
    bundle: Bundle,
    validation: Cases,
    *,
    allow_repeats: bool,
    seen_by: Sequence[str] | None = None,
) -> dict[str, Scorer]:
    """The baselines, fitted on ``split.train``, their knobs chosen on the validation cases.

    Four, and where repeats are allowed the user's own habits, which then are hard to beat.
    """
    num_items, train, interactions = len(bundle.catalogue), split.train, split.interactions

    def validation_ndcg(scorer: Scorer) -> float:
        if not len(validation):
            return 0.0  # nothing to choose by: the first knob stays
        ranks = target_ranks(scorer, validation, interactions, allow_repeats=allow_repeats, seen_by=seen_by)
        return float(ndcg(ranks, validation.target_cases, k=10).mean())

    similar = item_cosines(train, num_items=num_items)
    knn = [nearest_items(interactions, similar, neighbours=most) for most in NEIGHBOURS]
    recent = [recent_popularity(train, num_items=num_items, days=days) for days in RECENT_DAYS]
    scorers = {
        "popularity": popularity(train, num_items=num_items),
        "recent_popularity": choose(recent, validation_ndcg),
        "item_knn": choose(knn, validation_ndcg),
        "transitions": transitions(interactions, TransitionCounter.of(train, bundle.config.prior, num_items=num_items)),
    }
    if allow_repeats:
        habits = [revisits(interactions, num_items=num_items, half_life=half_life) for half_life in HALF_LIVES]
        scorers["revisits"] = choose(habits, validation_ndcg)
    return scorers


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
    split = bundle_split(bundle)
    if bundle.prior is not None:
        honest = TransitionCounter.of(split.train, bundle.config.prior, num_items=len(bundle.catalogue))
        if abs(honest.counts - bundle.prior.counter.counts).max() > 1e-4:
            raise LeakError("the prior's transition counts are not those of the training rows. Train again.")
    if bundle.reranker is not None and bundle.prior is not None:
        used = bundle.reranker.evidence
        allowed = Evidence.of(split.train, bundle_taxonomy(bundle), bundle.prior, returns=used.returns)
        _refuse_other_evidence(used.tensors(), allowed.tensors())
        if (heads := bundle.reranker.intents) is not None:
            events = EventEvidence.of(
                split.train, heads.names, allowed.interests, request_time=heads.evidence.request_time
            )
            _refuse_other_evidence(heads.evidence.tensors(), events.tensors())
    return split


def _refuse_other_evidence(used: Mapping[str, Tensor], allowed: Mapping[str, Tensor]) -> None:
    for name, tensor in allowed.items():
        if not torch.equal(tensor, used[name]):
            raise LeakError(
                f"the reranker's evidence ({name}) is not that of the training rows: something held out, or later, "
                "was counted. Train again."
            )


def _calibration(reranker: Reranker, judged: Judged, cases: Cases, interactions: Interactions) -> dict[str, float]:
    """Whether the probabilities of the listed items mean what they say, for the first target of each case."""
    listed = torch.from_numpy(judged.item_idx)  # (Q, K)
    scores = torch.from_numpy(judged.scores).masked_fill(listed == 0, OUT)
    said = reranker.probabilities(scores).numpy()[judged.item_idx > 0]
    happened = judged.item_idx == interactions.item_idx[cases.first_targets()][:, None]
    happened = happened[judged.item_idx > 0]
    return {
        "ece": expected_calibration_error(said, happened),
        "mean_probability": float(said.mean()),
        "chosen_share": float(happened.mean()),
    }


def _refuse_unknown_events(names: Sequence[str], bundle: Bundle) -> None:
    known = [name for name in bundle.interactions.event_names if name]
    for name in names:
        if name not in known:
            told = ", ".join(known) or "none"
            raise InputError(f"seen_by: the bundle's interactions have no event type {name!r}; they have {told}.")


def _seen_targets(interactions: Interactions, cases: Cases, seen_by: Sequence[str] | None) -> int:
    """Targets that the user already had: out of reach unless repeats are allowed."""

    def pairs(rows: Rows, of_case: Rows) -> Rows:
        return of_case << 32 | interactions.item_idx[rows]

    rows, of_case = cases.history_rows()
    seen = makes_seen(interactions, rows, seen_by)
    return int(np.isin(pairs(cases.target_rows, cases.target_cases), pairs(rows[seen], of_case[seen])).sum())


def _named(cases: Cases) -> bytes:
    """What tells these questions from others."""
    asked = b"" if cases.requested_at is None else cases.requested_at.tobytes()
    return cases.starts.tobytes() + cases.stops.tobytes() + asked
