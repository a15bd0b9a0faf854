"""Whether it pays to ask for an event type: each target is looked for by its own, the heads held against base rates.

Shapes: Q cases, C candidates, E event types told apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recsys.baselines import Scorer
from recsys.bundle import Bundle
from recsys.calibration import expected_calibration_error
from recsys.evaluate import CASES_AT_ONCE
from recsys.histories import case_histories
from recsys.intents import Intents
from recsys.metrics import bootstrap_means, ndcg, paired_p_value
from recsys.ranking import OUT, mask_seen, top_k
from recsys.rerank import Reranking
from recsys.split import Cases

DRAWS = 1000
P_VALUE_DRAWS = 10_000
DEPTH = 10


@dataclass(frozen=True, eq=False)
class _Told:
    """What a bundle says of cases, each of which has a first target of some event type."""

    happened: npt.NDArray[np.int64]
    """(Q,) the number of that type; E for one without a head."""
    ranks: npt.NDArray[np.float64]
    """(Q,) expected rank of the target; ∞ where it was not retrieved."""
    wished_ranks: npt.NDArray[np.float64]
    """(Q,) the same where its event type is asked for."""
    shares: npt.NDArray[np.float64]
    """(Q, E) P(event type | the user turns to the target)."""
    base_rates: npt.NDArray[np.float64]
    """(Q, E) the same by the base rates of item and user."""
    doing: npt.NDArray[np.float32]
    """(Q, C, E) P(the user does it with the candidate); NaN where there is none."""
    target_at: npt.NDArray[np.bool_]
    """(Q, C) where the target stands."""


def intent_figures(
    bundle: Bundle, towers: Scorer, cases: Cases, *, allow_repeats: bool, seen_by: Sequence[str] | None, seed: int
) -> dict[str, Any]:
    """What metrics.json says of intents.

    Args:
        bundle: With heads for event types.
        towers: Gives the cosines of its towers, (Q, N + 1).
        cases: What is asked; the first target of each is what counts.
        allow_repeats: Whether items of the history may be recommended again.
        seen_by: Where they may not, the event types that make an item one of those; None stands for any.
        seed: Of the bootstrap over users.

    Returns:
        ``learnt``: whether the heads read more than base rates. ``events``: for each type its cases, NDCG@10 of their
        targets ranked for that type (``asked``) and without an intent (``unasked``) with the p-value of the former not
        being better, the calibration error of P(type | target) by heads and by base rates, and that of P(type with
        candidate) over the lists. ``log_likelihood``: the mean per case of the type that happened, by heads, by base
        rates and by the mix of the training rows.
    """
    _, heads = _reranking_and_heads(bundle)
    parts = [
        _told(bundle, towers, cases[at : at + CASES_AT_ONCE], allow_repeats=allow_repeats, seen_by=seen_by)
        for at in range(0, len(cases), CASES_AT_ONCE)
    ]
    told = _Told(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(_Told)})
    events = {
        name: _of_event(told, number, cases.user_idx, seed=seed)
        for number, name in enumerate(heads.names)
        if (told.happened == number).any()
    }
    named = np.flatnonzero(told.happened < len(heads.names))
    happened = told.happened[named]
    mix = heads.named * heads.evidence.usual.numpy()
    return {
        "learnt": heads.learnt,
        "events": events,
        "log_likelihood": {
            "heads": float(np.log(told.shares[named, happened]).mean()),
            "base_rates": float(np.log(told.base_rates[named, happened]).mean()),
            "mix": float(np.log(mix[happened]).mean()),
        },
    }


def _reranking_and_heads(bundle: Bundle) -> tuple[Reranking, Intents]:
    reranker = bundle.reranker
    assert reranker is not None
    assert reranker.intents is not None  # a caller has looked
    return Reranking(reranker, torch.from_numpy(bundle.item_vectors)), reranker.intents


def _told(bundle: Bundle, towers: Scorer, cases: Cases, *, allow_repeats: bool, seen_by: Sequence[str] | None) -> _Told:
    reranking, heads = _reranking_and_heads(bundle)
    tower, interactions = bundle.config.user_tower, bundle.interactions
    rows = cases.first_targets()
    targets = torch.from_numpy(interactions.item_idx[rows].astype(np.int64))[:, None]
    happened = heads.evidence.number_of[torch.from_numpy(interactions.event[rows].astype(np.int64))]
    scores = towers(cases)
    of_targets = scores.gather(1, targets)
    scores[:, 0] = OUT
    if not allow_repeats:
        mask_seen(scores, interactions, cases, seen_by=seen_by)
    candidates, cosines = top_k(scores, bundle.config.prior.num_candidates)
    histories = case_histories(interactions, cases, length=tower.history_length, request_time=tower.request_time)
    listed = reranking.weigh(cosines, candidates, histories)
    measured = reranking.weigh(of_targets, targets, histories).measured
    doing = listed.doing.masked_fill((candidates == 0)[..., None], torch.nan)
    own = happened.clamp(max=len(heads.names) - 1)[:, None, None].expand(*candidates.shape, 1)
    target_at = candidates == targets
    return _Told(
        happened=happened.numpy(),
        ranks=_ranks(listed.scores, target_at),
        wished_ranks=_ranks(doing.gather(2, own)[..., 0], target_at),
        shares=heads.shares(measured, targets, histories)[:, 0].double().numpy(),
        base_rates=heads.base_rates(targets, histories)[:, 0].double().numpy(),
        doing=doing.float().numpy(),
        target_at=target_at.numpy(),
    )


def _ranks(scores: Tensor, target_at: Tensor) -> npt.NDArray[np.float64]:  # (Q, C), (Q, C) -> (Q,)
    target = scores.masked_fill(~target_at, -torch.inf).amax(1, keepdim=True)
    better, tied = (scores > target).sum(1), (scores == target).sum(1) - 1
    ranks = 1 + better + tied / 2
    return torch.where(target_at.any(1), ranks, torch.inf).double().numpy()


def _of_event(told: _Told, number: int, user_idx: npt.NDArray[np.int64], *, seed: int) -> dict[str, Any]:
    mine = np.flatnonzero(told.happened == number)
    asked, unasked = (ndcg(ranks[mine], np.arange(len(mine)), k=DEPTH) for ranks in (told.wished_ranks, told.ranks))
    figures, users = np.stack([asked, unasked], axis=1), user_idx[mine]
    drawn = bootstrap_means(figures, users, draws=DRAWS, rng=np.random.default_rng(seed))
    values, (low, high) = figures.mean(0), np.quantile(drawn, [0.025, 0.975], axis=0)
    happened = told.happened == number
    doing = told.doing[..., number]
    real = ~np.isnan(doing)
    return {
        "cases": len(mine),
        f"ndcg@{DEPTH}": {
            name: {"value": float(values[at]), "low": float(low[at]), "high": float(high[at])}
            for at, name in enumerate(("asked", "unasked"))
        },
        "p_value": paired_p_value(asked, unasked, users, draws=P_VALUE_DRAWS, rng=np.random.default_rng(seed)),
        "ece": {
            "heads": expected_calibration_error(told.shares[:, number], happened),
            "base_rates": expected_calibration_error(told.base_rates[:, number], happened),
            "with_candidate": expected_calibration_error(doing[real], (told.target_at & happened[:, None])[real]),
        },
    }


def intent_lines(figures: Mapping[str, Any]) -> list[str]:
    """What `intent_figures` says, for people."""
    lines = []
    for name, one in figures["events"].items():
        asked, unasked = (one[f"ndcg@{DEPTH}"][how]["value"] for how in ("asked", "unasked"))
        lines.append(
            f"{name}, {one['cases']:,} targets: NDCG@{DEPTH} {asked:.4f} with this intent, {unasked:.4f} without "
            f"(p {one['p_value']:.4f})."
        )
    likelihood = figures["log_likelihood"]
    lines.append(
        f"Log-likelihood of what is done with a target: {likelihood['heads']:.3f}, by the base rates of item and user "
        f"{likelihood['base_rates']:.3f}, by the mix of events {likelihood['mix']:.3f}."
    )
    return lines
