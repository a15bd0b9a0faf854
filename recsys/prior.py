"""The transition prior: how much what usually follows should move what the towers retrieved.

Retrieval stays a pure inner product; this only reorders its candidates.

Shapes: Q cases, C candidates, N items.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys.transitions import TransitionCounter


@dataclass(frozen=True, eq=False)
class TransitionPrior:
    """score = cosine / temperature + weight · log((1 − floor) · p + floor / N).

    p is the counter's share for a candidate among all items, so a history nobody has followed moves nothing.
    """

    counter: TransitionCounter
    temperature: float
    """The towers' own, so that the first term is a log-probability up to a constant."""
    weight: float
    """0 leaves the towers' order as it is."""
    floor: float
    """The share given to items that never followed."""

    def log_prior(self, item_idx: Tensor, candidates: Tensor) -> Tensor:
        """Log p of each candidate after each history: ``(Q, H)`` and ``(Q, C)`` item_idx → ``(Q, C)``."""
        counted = torch.from_numpy(self.counter.scores(item_idx))  # (Q, N + 1)
        return log_share(counted, candidates, floor=self.floor)

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
        return cosines / self.temperature + self.weight * self.log_prior(item_idx, candidates)


def log_share(counted: Tensor, candidates: Tensor, *, floor: float | Tensor) -> Tensor:
    """Log of each candidate's smoothed share of its row of counts: (Q, N + 1) and (Q, C) → (Q, C)."""
    share = counted.gather(1, candidates) / counted.sum(1, keepdim=True).clamp(min=1e-12)
    return torch.log((1 - floor) * share + floor / (counted.shape[1] - 1))


def fit_prior(
    counter: TransitionCounter,
    cosines: Tensor,  # (Q, C) of the retrieved candidates
    candidates: Tensor,  # (Q, C)
    item_idx: Tensor,  # (Q, H)
    targets: Tensor,  # (Q,) item_idx
    *,
    temperature: float,
) -> TransitionPrior:
    """Learn weight and floor on held-out cases, by the likelihood of the target among the candidates.

    Cases whose target was not retrieved say nothing about the order of the retrieved and are left out. With fewer than
    50 cases left the weight is 0: so few cannot settle it.
    """
    hit = (candidates == targets[:, None]).any(1)
    if int(hit.sum()) < 50:
        return TransitionPrior(counter, temperature, weight=0.0, floor=1.0)
    cosines, candidates, item_idx, targets = cosines[hit], candidates[hit], item_idx[hit], targets[hit]
    answer = (candidates == targets[:, None]).int().argmax(1)
    empty = candidates == 0
    cosines = cosines.masked_fill(empty, 0.0)  # −inf would turn the gradient of sharpness into nan
    counted = torch.from_numpy(counter.scores(item_idx))
    # sharpness lets the likelihood be fitted although the towers' probabilities may be over- or underconfident.
    weight, floor_logit, sharpness = (torch.tensor(start, requires_grad=True) for start in (0.3, -2.0, 1.0))
    optimizer = torch.optim.LBFGS([weight, floor_logit, sharpness], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        log_prior = log_share(counted, candidates, floor=torch.sigmoid(floor_logit))
        logits = sharpness * (cosines / temperature + weight * log_prior)
        loss = F.cross_entropy(logits.masked_fill(empty, float("-inf")), answer)
        loss.backward()
        return loss

    optimizer.step(closure)
    return TransitionPrior(
        counter,
        temperature,
        weight=max(float(weight.detach()), 0.0),
        floor=float(torch.sigmoid(floor_logit.detach()).clamp(min=1e-6)),
    )
