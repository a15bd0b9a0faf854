"""What a user will do with a candidate, should they turn to it now: heads for event types beside the reranker.

P(user does e with i now) = P(user turns to i now) · P(e | user turns to i now). The reranker gives the first factor,
this the second. It is learnt on the reranker's own cases, of which each tells one event type, by the networks that
learn lists: here a list holds the event types, and the one that happened was chosen.

Shapes: B histories, C candidates, E event types told apart, F kinds of evidence for candidates, K for event types,
L cases.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys.event_evidence import BASE_RATES, EventEvidence
from recsys.histories import Histories
from recsys.listwise import ListwiseNets, fit_listwise

CLEARLY = 2.0
"""By so many standard errors event types must get likelier than by their mix: chance does it once in 40 times."""
LONGEST_TOLD = 60
"""Characters of an intent that a refusal repeats."""
SHARPNESS = torch.logspace(-1, 1, 41)


@dataclass(frozen=True, eq=False)
class Intents:
    """Evidence for event types, the networks that weigh it, and what their scores mean as probabilities."""

    evidence: EventEvidence
    nets: ListwiseNets
    """They read the first kinds of evidence, as many as pay; the very first are the base rates of item and user."""
    sharpness: float
    """Times the scores, it makes the types likeliest that unseen cases were of."""
    named: float
    """The share of cases whose event type is told apart at all."""

    @property
    def names(self) -> tuple[str, ...]:
        """(E,) the event types that can be asked for."""
        return self.evidence.names

    @property
    def learnt(self) -> bool:
        """Whether more than the base rates of item and user is read."""
        return len(self.nets.mean) > BASE_RATES

    def shares(self, measured: Tensor, candidates: Tensor, histories: Histories) -> Tensor:
        """P(event type | the user turns to the candidate now).

        Args:
            measured: ``(B, C, F)`` the reranker's evidence.
            candidates: ``(B, C)`` item_idx, 0 where there is none.
            histories: B of them, asked when the request comes.

        Returns:
            ``(B, C, E)``, in the order of `names`; it sums to less than 1 where there are event types without a head.
        """
        read = len(self.nets.mean)
        if read > self.evidence.num_shares:
            told = self.evidence.measure(measured, candidates, histories)
        else:
            told = self.evidence.shares(candidates, histories)
        return self.named * F.softmax(self.sharpness * self.nets.scores(told[..., :read]), dim=-1)

    def base_rates(self, candidates: Tensor, histories: Histories) -> Tensor:
        """What the base rates of item and user say instead of `shares`."""
        return self.named * F.softmax(self.evidence.shares(candidates, histories)[..., 0], dim=-1)

    def tensors(self) -> dict[str, Tensor]:
        """What `from_tensors` needs beside `facts` and the interests, for a safetensors file."""
        parts = {"evidence": self.evidence.tensors(), "nets": self.nets.tensors()}
        return {f"{part}.{name}": value for part, tensors in parts.items() for name, value in tensors.items()}

    def facts(self) -> dict[str, object]:
        """What is no tensor, as JSON can say it."""
        return {**self.evidence.facts(), "sharpness": self.sharpness, "named": self.named}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], interests: Tensor) -> "Intents":
        """The reverse of `tensors` and `facts`."""
        evidence = EventEvidence.from_tensors(part_of(tensors, "evidence."), facts, interests)
        return cls(evidence, ListwiseNets.from_tensors(part_of(tensors, "nets.")), facts["sharpness"], facts["named"])


def fit_intents(evidence: EventEvidence, told: Tensor, happened: Tensor, *, seed: int) -> Intents | None:
    """Learn to tell what was done in cases that nothing behind the evidence has seen.

    Networks are learnt that sharpen the base rates of item and user, others that read all shares of event types, and
    others that read what speaks for the candidate as well; those stay under which unseen cases are likeliest.

    Args:
        evidence: From the training rows.
        told: ``(L, E, K)`` of the target of each case, from `EventEvidence.measure`.
        happened: ``(L,)`` the number of the target's event type; E for one that is not told apart.
        seed: Of folds and weights.

    Returns:
        None where event types of unseen cases do not get clearly likelier than by how often each happens.
    """
    named = happened < len(evidence.names)
    share, told, happened = float(named.float().mean()), told[named], happened[named]
    nowhere = torch.zeros(told.shape[:2], dtype=torch.bool)
    read = (BASE_RATES, evidence.num_shares, told.shape[2])
    courses = [fit_listwise(told[..., :kinds], nowhere, happened, seed=seed) for kinds in read]
    best = min(courses, key=lambda course: float(F.cross_entropy(course.unseen, happened)))
    nets, unseen = best.nets, best.unseen
    sharpness = min(SHARPNESS.tolist(), key=lambda factor: float(F.cross_entropy(unseen * factor, happened)))
    if not _clearly_likelier(F.log_softmax(unseen, dim=-1), happened):
        return None
    return Intents(evidence, nets, sharpness=sharpness, named=share)


def _clearly_likelier(log_shares: Tensor, happened: Tensor) -> bool:
    """Whether (L, E) logarithms of probabilities foretell (L,) event types better than the mix of those types does."""
    mix = torch.bincount(happened, minlength=log_shares.shape[1]) / len(happened)
    gained = log_shares.gather(1, happened[:, None])[:, 0] - mix[happened].log()
    return bool(gained.mean() > CLEARLY * gained.std() / len(gained) ** 0.5)


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Of a file of tensors those whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def refusal(intent: str, names: Sequence[str]) -> str:
    """What is said to whoever asks for an intent that a bundle does not know.

    Args:
        intent: Asked for.
        names: Of the event types the bundle has heads for.
    """
    asked = repr(intent if len(intent) <= LONGEST_TOLD else intent[:LONGEST_TOLD] + "…")
    if names:
        return f"{asked} is no intent of this bundle; it knows {', '.join(names)}. Ask for one of them or leave it out."
    return (
        f"this bundle tells no event types apart, so it cannot rank for {asked}. Heads are learnt where at least two "
        "event types are frequent enough and something foretells them. Leave the intent out."
    )
