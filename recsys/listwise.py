"""Small networks that order the candidates of one request by evidence, learnt from lists in which one was chosen.

Every list is a softmax over its candidates (Cao et al., ICML 2007, ListNet's top-one likelihood). Several networks are
learnt, each without one fold of the lists; their mean is served, and each list's own score, for judging and
calibrating, comes from the one network that has not seen it.

Shapes: L lists, C candidates, F kinds of evidence, K folds, W hidden units.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

FOLDS = 5
HIDDEN = 16
EPOCHS, FEWEST_STEPS = 15, 300
"""So many passes over the lists, more where they are too few to make that many steps."""
LISTS_AT_ONCE = 128
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
RIDGES = (1e-1, 1e-2, 1e-3)
"""Of the straight part, on standardised evidence; its first kind is free, so that much ridge leaves that alone."""
FARTHEST = 8.0
"""Evidence further out than so many deviations counts as that far: nothing in the lists said what it would mean."""
EMPTY = -1e9
"""The score of a place without a candidate: finite, so that gradients stay numbers."""


@dataclass(frozen=True, eq=False)
class ListwiseNets:
    """K networks: score = evidence · straight + SiLU(evidence · hidden + offset) · out, on standardised evidence."""

    mean: Tensor
    """(F,)"""
    deviation: Tensor
    """(F,) positive."""
    straight: Tensor
    """(K, F)"""
    hidden: Tensor
    """(K, F, W)"""
    offset: Tensor
    """(K, W)"""
    out: Tensor
    """(K, W)"""

    def scores(self, evidence: Tensor) -> Tensor:
        """The mean of the networks: ``(..., F)`` → ``(...)``."""
        return self.each(evidence).mean(0)

    def each(self, evidence: Tensor) -> Tensor:
        """What each network says: ``(..., F)`` → ``(K, ...)``."""
        scaled = ((evidence - self.mean) / self.deviation).clamp(-FARTHEST, FARTHEST)
        flat = scaled.reshape(-1, scaled.shape[-1])  # (rows, F)
        bent = F.silu(flat @ self.hidden + self.offset[:, None])  # (K, rows, W)
        said = flat @ self.straight[:, :, None] + bent @ self.out[:, :, None]  # (K, rows, 1)
        return said.view(-1, *scaled.shape[:-1])

    def tensors(self) -> dict[str, Tensor]:
        """All of it, for a safetensors file."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "ListwiseNets":
        """The reverse of `tensors`."""
        return cls(**{f.name: tensors[f.name] for f in fields(cls)})


def fit_listwise(evidence: Tensor, empty: Tensor, chosen: Tensor, *, seed: int) -> tuple[ListwiseNets, Tensor]:
    """Learn K networks from lists in which one candidate was chosen.

    Args:
        evidence: ``(L, C, F)``; ``[..., 0]`` is what the straight part starts from.
        empty: ``(L, C)`` places without a candidate.
        chosen: ``(L,)`` the place of the chosen candidate.
        seed: Of the folds, the initial weights and the order of lists.

    Returns:
        The networks, and ``(L, C)`` the score of each list by the network that has not seen it.
    """
    rows = evidence[~empty]
    mean, deviation = rows.mean(0), rows.std(0).clamp(min=1e-6)
    scaled = ((evidence - mean) / deviation).clamp(-FARTHEST, FARTHEST)
    fold = torch.from_numpy(np.random.default_rng(seed).permutation(len(chosen)) % FOLDS)

    def learnt(*, ridge: float, bends: bool) -> tuple[float, float, list[_Net], Tensor]:
        unseen, nets = torch.empty(empty.shape), []
        for out in range(FOLDS):
            learn = fold != out
            with torch.random.fork_rng():
                torch.manual_seed(seed + out)
                nets.append(_fit(scaled[learn], empty[learn], chosen[learn], ridge=ridge, bends=bends))
            with torch.inference_mode():
                unseen[~learn] = nets[-1](scaled[~learn])
        return float(_misfit(unseen, empty, chosen)), ridge, nets, unseen

    def misfit(course: tuple[float, float, list[_Net], Tensor]) -> float:
        return course[0]

    # A few hundred lists are learnt by heart where the networks may bend; the lists they have not seen say so.
    straight = min((learnt(ridge=ridge, bends=False) for ridge in RIDGES), key=misfit)
    _, _, nets, unseen = min(straight, learnt(ridge=straight[1], bends=True), key=misfit)
    with torch.no_grad():
        served = ListwiseNets(
            mean,
            deviation,
            straight=torch.stack([net.straight.weight[0] for net in nets]),
            hidden=torch.stack([net.hidden.weight.T for net in nets]),
            offset=torch.stack([net.hidden.bias for net in nets]),
            out=torch.stack([net.out.weight[0] for net in nets]),
        )
    return served, unseen.masked_fill(empty, EMPTY)


class _Net(nn.Module):
    """One of them. It starts as its straight part alone."""

    def __init__(self, kinds: int) -> None:
        super().__init__()
        self.straight = nn.Linear(kinds, 1, bias=False)
        self.hidden = nn.Linear(kinds, HIDDEN)
        self.drop = nn.Dropout(0.1)
        self.out = nn.Linear(HIDDEN, 1, bias=False)
        with torch.no_grad():
            self.straight.weight.zero_()[0, 0] = 1.0
            self.out.weight.zero_()

    def forward(self, scaled: Tensor) -> Tensor:  # (..., F) -> (...)
        said: Tensor = self.straight(scaled) + self.out(self.drop(F.silu(self.hidden(scaled))))
        return said[..., 0]


def _fit(scaled: Tensor, empty: Tensor, chosen: Tensor, *, ridge: float, bends: bool) -> _Net:
    """The straight part first, which has one best value and needs no luck to be found; then all together from there."""
    net = _Net(scaled.shape[2])
    _fit_straight(net.straight.weight, scaled, empty, chosen, ridge=ridge)
    if not bends:
        return net.eval()
    optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    batches = -(-len(chosen) // LISTS_AT_ONCE)
    epochs = max(EPOCHS, -(-FEWEST_STEPS // batches))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
    for _ in range(epochs):
        for rows in torch.randperm(len(chosen)).split(LISTS_AT_ONCE):
            loss = _misfit(net(scaled[rows]), empty[rows], chosen[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def _fit_straight(weight: Tensor, scaled: Tensor, empty: Tensor, chosen: Tensor, *, ridge: float) -> None:
    optimizer = torch.optim.LBFGS([weight], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = _misfit(scaled @ weight[0], empty, chosen) + ridge * weight[0, 1:].square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)


def _misfit(scores: Tensor, empty: Tensor, chosen: Tensor) -> Tensor:
    """Mean negative log-likelihood of what was chosen."""
    return F.cross_entropy(scores.masked_fill(empty, EMPTY), chosen)
