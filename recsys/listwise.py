"""Small networks that order the candidates of one request by evidence, learnt from lists in which one was chosen.

Every list is a softmax over its candidates (Cao et al., ICML 2007, ListNet's top-one likelihood). Several networks are
learnt, each without one fold of the lists; their mean is served, and each list's own score, for judging and
calibrating, comes from the one network that has not seen it.

Shapes: L lists, C candidates, F kinds of evidence, K folds, W hidden units.
"""

from collections.abc import Mapping, Sequence
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
CLEARLY = 0.5
"""A group stays where unseen choices get likelier by so many standard errors: even noise helps them now and then."""
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


@dataclass(frozen=True, eq=False)
class Learnt:
    """What `fit_listwise` leaves."""

    nets: ListwiseNets
    """They read the columns that stayed."""
    unseen: Tensor
    """(L, C) the score of each list by the network that has not seen it."""
    left_out: tuple[str, ...]
    """The groups that did not pay."""
    columns: list[int]
    """Those that stayed, of the evidence as it was given."""


def fit_listwise(
    evidence: Tensor, empty: Tensor, chosen: Tensor, *, seed: int, optional: Mapping[str, Sequence[int]] | None = None
) -> Learnt:
    """Learn K networks from lists in which one candidate was chosen.

    Args:
        evidence: ``(L, C, F)``; ``[..., 0]`` is what the straight part starts from.
        empty: ``(L, C)`` places without a candidate.
        chosen: ``(L,)`` the place of the chosen candidate.
        seed: Of the folds, the initial weights and the order of lists.
        optional: Group → its columns. Groups without which the straight part finds unseen choices not clearly less
            likely are left out, the idlest first.
    """
    rows = evidence[~empty]
    mean, deviation = rows.mean(0), rows.std(0).clamp(min=1e-6)
    scaled = ((evidence - mean) / deviation).clamp(-FARTHEST, FARTHEST)
    fold = torch.from_numpy(np.random.default_rng(seed).permutation(len(chosen)) % FOLDS)
    lists = _Lists(scaled, empty, chosen, fold, seed)

    best = min((lists.learn(list(range(scaled.shape[2])), ridge) for ridge in RIDGES), key=_misfit_of)
    groups = dict(optional or {})
    left_out: list[str] = []
    while groups:
        without = {group: lists.learn(_less(best.columns, columns), best.ridge) for group, columns in groups.items()}
        idlest = min(without, key=lambda group: without[group].misfit)
        if _clearly_worse(without[idlest], best):
            break
        best = without[idlest]
        left_out.append(idlest)
        del groups[idlest]
    # A few hundred lists are learnt by heart where the networks may bend; the lists they have not seen say so.
    best = min(best, lists.learn(best.columns, best.ridge, bends=True), key=_misfit_of)
    nets = best.served(mean[best.columns], deviation[best.columns])
    return Learnt(nets, best.unseen.masked_fill(empty, EMPTY), tuple(left_out), best.columns)


@dataclass(frozen=True, eq=False)
class _Course:
    """K networks, each learnt without a fold of the lists."""

    columns: list[int]
    ridge: float
    nets: list["_Net"]
    unseen: Tensor  # (L, C)
    surprise: Tensor  # (L,) negative log-likelihood of what was chosen in each unseen list

    @property
    def misfit(self) -> float:
        return float(self.surprise.mean())

    def served(self, mean: Tensor, deviation: Tensor) -> ListwiseNets:
        with torch.no_grad():
            return ListwiseNets(
                mean,
                deviation,
                straight=torch.stack([net.straight.weight[0] for net in self.nets]),
                hidden=torch.stack([net.hidden.weight.T for net in self.nets]),
                offset=torch.stack([net.hidden.bias for net in self.nets]),
                out=torch.stack([net.out.weight[0] for net in self.nets]),
            )


@dataclass(frozen=True, eq=False)
class _Lists:
    """What is learnt from, and in which folds."""

    scaled: Tensor  # (L, C, F)
    empty: Tensor  # (L, C)
    chosen: Tensor  # (L,)
    fold: Tensor  # (L,)
    seed: int

    def learn(self, columns: list[int], ridge: float, *, bends: bool = False) -> _Course:
        told, empty, chosen = self.scaled[..., columns], self.empty, self.chosen
        unseen, nets = torch.empty(empty.shape), []
        for out in range(FOLDS):
            learn = self.fold != out
            with torch.random.fork_rng():
                torch.manual_seed(self.seed + out)
                nets.append(_fit(told[learn], empty[learn], chosen[learn], ridge=ridge, bends=bends))
            with torch.inference_mode():
                unseen[~learn] = nets[-1](told[~learn])
        surprise = F.cross_entropy(unseen.masked_fill(empty, EMPTY), chosen, reduction="none")
        return _Course(columns, ridge, nets, unseen, surprise)


def _clearly_worse(course: _Course, other: _Course) -> bool:
    lost = course.surprise - other.surprise
    return bool(lost.mean() > CLEARLY * lost.std() / len(lost) ** 0.5)


def _misfit_of(course: _Course) -> float:
    return course.misfit


def _less(columns: list[int], some: Sequence[int]) -> list[int]:
    return [column for column in columns if column not in some]


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
