"""The transition prior: how much what usually follows should move what the towers retrieved.

Retrieval stays a pure inner product; this only reorders its candidates.

Shapes: Q cases, C candidates, N items.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys.histories import Histories
from recsys.transitions import Counted, TransitionCounter

FEWEST_CASES = 50
"""Fewer cannot settle a weight."""
MOST_WEIGHT = 10.0
"""Towers that know nothing would ask for an infinite one; with this they do little but break the counter's ties."""
CLEARLY_LIKELIER = 6.5
"""Gain in log-likelihood that the prior must bring: chance alone brings it once in 200 times (χ² of three)."""


@dataclass(frozen=True, eq=False)
class TransitionPrior:
    """score = cosine / temperature + weight · log((1 − floor) · p + floor / N) − damping · log(1 + total).

    p is the counter's share for a candidate among all items, so a history nobody has followed moves nothing but what
    is popular. The candidate's total, how often it followed anything, is damped because the towers have learnt
    popularity already and the counter would count it a second time.
    """

    counter: TransitionCounter
    temperature: float
    """The towers' own, so that the first term is a log-probability up to a constant."""
    weight: float
    """0 leaves the towers' order as it is."""
    floor: float
    """The share given to items that never followed."""
    damping: float = 0.0
    """How much being popular takes away."""

    def bonus(self, item_idx: Tensor, candidates: Tensor) -> Tensor:
        """What the prior adds to each candidate's score: ``(Q, H)`` and ``(Q, C)`` item_idx → ``(Q, C)``.

        A candidate beyond N, which came after the counting, never followed anything, as no padding ever did.
        """
        known = candidates.masked_fill(candidates >= len(self.counter.log_totals), 0)
        return self.bonus_of(self.counter.among(item_idx, known), known)

    def bonus_of(self, counted: Counted, candidates: Tensor) -> Tensor:
        """`bonus` of candidates up to N that the counter was asked about already."""
        followed = counted.log_share(floor=self.floor)
        return self.weight * followed - self.damping * self.counter.log_totals[candidates]

    def reorder(self, cosines: Tensor, candidates: Tensor, histories: Histories) -> Tensor:
        """`blend`, as whatever ranks asks for it."""
        return self.blend(cosines, histories.item_idx, candidates)

    def blend(self, cosines: Tensor, item_idx: Tensor, candidates: Tensor) -> Tensor:
        """Scores of the candidates.

        Args:
            cosines: ``(Q, C)`` of the candidates with the user.
            item_idx: ``(Q, H)`` histories, 0 where padded.
            candidates: ``(Q, C)`` item_idx, 0 where there are fewer.

        Returns:
            ``(Q, C)``; higher is better.
        """
        if not self.weight:
            return cosines / self.temperature
        return cosines / self.temperature + self.bonus(item_idx, candidates)


def fit_prior(
    counter: TransitionCounter,
    cosines: Tensor,  # (Q, C) of the retrieved candidates
    candidates: Tensor,  # (Q, C)
    item_idx: Tensor,  # (Q, H)
    targets: Tensor,  # (Q,) item_idx
    *,
    temperature: float,
) -> TransitionPrior:
    """Learn weight, floor and damping on held-out cases, by the likelihood of the target among the candidates.

    Cases whose target was not retrieved say nothing about the order of the retrieved and are left out. The weight is 0
    where fewer than 50 cases are left, and where the counter does not make the targets clearly likelier than the
    towers alone do.
    """
    hit = (candidates == targets[:, None]).any(1)
    if int(hit.sum()) < FEWEST_CASES:
        return TransitionPrior(counter, temperature, weight=0.0, floor=1.0)
    cosines, candidates, item_idx, targets = cosines[hit], candidates[hit], item_idx[hit], targets[hit]
    answer = (candidates == targets[:, None]).int().argmax(1)
    empty = candidates == 0
    log_odds = cosines.masked_fill(empty, 0.0) / temperature  # −inf would turn the gradient of sharpness into nan
    counted, totals = counter.among(item_idx, candidates), counter.log_totals[candidates]
    own, habit, damping, floor_logit = (torch.tensor(start) for start in (0.5, -2.0, 0.0, -2.0))

    def misfit(trust: Tensor, weight: Tensor, damping: Tensor) -> Tensor:
        """Mean negative log-likelihood of the targets."""
        followed = counted.log_share(floor=floor_logit.sigmoid())
        scores = trust * log_odds + weight * followed - damping * totals
        return F.cross_entropy(scores.masked_fill(empty, float("-inf")), answer)

    def scales() -> tuple[Tensor, Tensor, Tensor]:
        """Only their ratios order, and those stay below MOST_WEIGHT; the sizes fit how sure all of this can be."""
        weight = F.softplus(habit)
        return F.softplus(own) + (weight + damping.abs()) / MOST_WEIGHT, weight, damping

    nothing = torch.tensor(0.0)
    alone = _minimise(lambda: misfit(F.softplus(own), nothing, nothing), [own])
    blended = _minimise(lambda: misfit(*scales()), [own, habit, floor_logit, damping])
    if (alone - blended) * len(answer) < CLEARLY_LIKELIER:
        return TransitionPrior(counter, temperature, weight=0.0, floor=1.0)
    trust, weight, damping = scales()
    return TransitionPrior(
        counter,
        temperature,
        weight=float(weight / trust),
        floor=float(floor_logit.sigmoid().clamp(min=1e-6)),
        damping=float(damping / trust),
    )


def _minimise(misfit: Callable[[], Tensor], free: Sequence[Tensor]) -> float:
    """Change the free numbers, in place, until the misfit is least; gives back the least.

    Where the search runs off to infinity, as it may on a handful of cases, the numbers stay as they were.
    """
    start = [number.clone() for number in free]
    optimizer = torch.optim.LBFGS(
        [number.requires_grad_() for number in free], max_iter=100, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = misfit()
        loss.backward()
        return loss

    with contextlib.suppress(RuntimeError):  # a step too large for a float
        optimizer.step(closure)
    with torch.no_grad():
        if not all(torch.isfinite(number) for number in free) or not torch.isfinite(misfit()):
            for number, was in zip(free, start, strict=True):
                number.copy_(was)
        least = float(misfit())
    for number in free:
        number.requires_grad_(False)
    return least
