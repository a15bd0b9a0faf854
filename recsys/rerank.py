"""The reranker: how likely this user is to choose this candidate now, by all the evidence there is.

It is learnt on the retriever's own candidates for the validation cases, which neither the towers nor the counts behind
the evidence have learnt from; test cases are later still. Retrieval stays a pure inner product.

Shapes: Q cases, B histories, C candidates, F kinds of evidence.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from recsys.calibration import Platt, fit_platt
from recsys.evidence import GROUPS, HISTORY_ITEMS, Evidence
from recsys.histories import Histories, case_histories
from recsys.interactions import Interactions
from recsys.listwise import EMPTY, ListwiseNets, fit_listwise
from recsys.prior import TransitionPrior
from recsys.split import Cases

FEWEST_CASES = 200
"""Fewer cannot settle so many weights."""
CASES_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Reranker:
    """Evidence, the networks that weigh it, and what their scores mean as probabilities."""

    evidence: Evidence
    nets: ListwiseNets
    platt: Platt
    """From a candidate's log-share of its list to the probability that it is the one chosen."""

    def reorder(self, cosines: Tensor, candidates: Tensor, histories: Histories, *, item_vectors: Tensor) -> Tensor:
        """Scores of the candidates.

        Args:
            cosines: ``(B, C)`` of the candidates with the user.
            candidates: ``(B, C)`` item_idx, 0 where there are fewer.
            histories: B of them, asked when the request comes.
            item_vectors: ``(more than N, D)`` unit rows, of items that came after training too.

        Returns:
            ``(B, C)``; higher is better, −∞ where there is no candidate. A candidate's score depends on no other one.
        """
        measured = self.evidence.measure(cosines, candidates, histories, item_vectors)
        return self.nets.scores(measured).masked_fill(candidates == 0, -torch.inf)

    def parts(
        self, cosines: Tensor, candidates: Tensor, histories: Histories, *, item_vectors: Tensor
    ) -> dict[str, Tensor]:
        """By how much each group of evidence raises a candidate's score over what it is for a common candidate.

        Args:
            cosines: As in `reorder`.
            candidates: As in `reorder`.
            histories: As in `reorder`.
            item_vectors: As in `reorder`.

        Returns:
            Group → ``(B, C)``: the score less what it would be with the group's evidence at its mean. Networks bend, so
            the parts need not add up.
        """
        measured = self.evidence.measure(cosines, candidates, histories, item_vectors)
        whole = self.nets.scores(measured)
        parts = {}
        for group, names in GROUPS.items():
            columns = [place for place, name in enumerate(self.evidence.names) if name in names]
            if columns:
                common = measured.clone()
                common[..., columns] = self.nets.mean[columns]
                parts[group] = whole - self.nets.scores(common)
        return parts

    def probabilities(self, scores: Tensor) -> Tensor:
        """(B, C) of `reorder` → how likely each is to be what the user chooses next, as far as the list holds it."""
        return torch.from_numpy(self.platt(_log_shares(scores).numpy()))

    def tensors(self) -> dict[str, Tensor]:
        """What `from_tensors` needs beside `facts` and the prior, for a safetensors file."""
        parts = {"evidence": self.evidence.tensors(), "nets": self.nets.tensors()}
        return {f"{part}.{name}": value for part, tensors in parts.items() for name, value in tensors.items()}

    def facts(self) -> str:
        """What is no tensor, as JSON."""
        return json.dumps({"names": self.evidence.names, "returns": self.evidence.returns, **asdict(self.platt)})

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], facts: str, prior: TransitionPrior) -> "Reranker":
        """The reverse of `tensors` and `facts`."""
        said = json.loads(facts)

        def part(name: str) -> dict[str, Tensor]:
            return {key.removeprefix(name): value for key, value in tensors.items() if key.startswith(name)}

        evidence = Evidence.from_tensors(part("evidence."), prior, returns=said["returns"])
        return cls(evidence, ListwiseNets.from_tensors(part("nets.")), Platt(said["slope"], said["offset"]))


def fit_reranker(
    evidence: Evidence,
    interactions: Interactions,
    cases: Cases,
    candidates: Tensor,
    cosines: Tensor,
    item_vectors: Tensor,
    *,
    request_time: bool,
    seed: int,
) -> Reranker | None:
    """Learn to order what was retrieved for held-out cases.

    Cases whose target was not retrieved say nothing about the order of the retrieved, but do about how likely any of
    them is.

    Args:
        evidence: From the training rows; its prior is what must be beaten.
        interactions: The table the cases point into.
        cases: Q cases that nothing here was learnt from.
        candidates: ``(Q, C)`` item_idx as retrieved, 0 where there are fewer.
        cosines: ``(Q, C)`` of them.
        item_vectors: ``(N + 1, D)``.
        request_time: Whether requests know their instant.
        seed: Of folds and weights.

    Returns:
        None where there are too few cases, or where unseen targets do not get likelier than under the prior, which
        saw them.
    """
    targets = torch.from_numpy(interactions.item_idx[cases.first_targets()].astype(np.int64))
    found = candidates == targets[:, None]
    hit = found.any(1)
    if int(hit.sum()) < FEWEST_CASES:
        return None
    measured = []
    for at in range(0, len(cases), CASES_AT_ONCE):
        rows = slice(at, at + CASES_AT_ONCE)
        histories = case_histories(interactions, cases[rows], length=HISTORY_ITEMS, request_time=request_time)
        measured.append(evidence.measure(cosines[rows], candidates[rows], histories, item_vectors))
    empty, chosen = candidates == 0, found.int().argmax(1)
    lists = torch.cat(measured)
    nets, unseen = fit_listwise(lists[hit], empty[hit], chosen[hit], seed=seed)
    blended = lists[hit][..., evidence.names.index("blended")].masked_fill(empty[hit], EMPTY)
    if _misfit_sharpened(blended, chosen[hit]) <= F.cross_entropy(unseen, chosen[hit]):
        return None
    scores = nets.scores(lists).masked_fill(empty, -torch.inf)
    scores[hit] = unseen.masked_fill(empty[hit], -torch.inf)
    real = ~empty
    return Reranker(evidence, nets, fit_platt(_log_shares(scores)[real].numpy(), found[real].numpy()))


def _log_shares(scores: Tensor) -> Tensor:
    """(B, C) scores → the logarithm of each candidate's share of its list's softmax."""
    return (scores - scores.logsumexp(1, keepdim=True)).nan_to_num(neginf=EMPTY, posinf=EMPTY, nan=EMPTY)


def _misfit_sharpened(scores: Tensor, chosen: Tensor) -> Tensor:
    """Mean negative log-likelihood of the chosen under the factor that suits them best: only order was fitted."""
    factors = torch.logspace(-1, 1, 41)
    return torch.stack([F.cross_entropy(scores * factor, chosen) for factor in factors]).min()
