"""The reranker: how likely this user is to choose this candidate now, by all the evidence there is.

It is learnt on the retriever's own candidates for the validation cases, which neither the towers nor the counts behind
the evidence have learnt from; test cases are later still. Retrieval stays a pure inner product. Where interactions are
of several event types it has a head for each (recsys.intents), and can order by how likely one of them is.

Shapes: Q cases, B histories, C candidates, K places of them, F kinds of evidence, E event types told apart,
V opinions, D width.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from recsys.calibration import Platt, fit_platt
from recsys.errors import InputError
from recsys.event_evidence import EventEvidence
from recsys.evidence import GROUPS, Evidence
from recsys.histories import Histories, case_histories
from recsys.intents import Intents, fit_intents, part_of, refusal
from recsys.interactions import Interactions
from recsys.listwise import EMPTY, ListwiseNets, fit_listwise
from recsys.opinions import Opinions
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
    intents: Intents | None = None
    """What will be done with it; None where there are no event types to tell apart, or nothing tells them apart."""

    @property
    def intent_names(self) -> tuple[str, ...]:
        """(E,) the event types that can be asked for."""
        return () if self.intents is None else self.intents.names

    def heads_for(self, intent: str) -> tuple[Intents, int]:
        """The heads, and which of them an event type is.

        Raises:
            InputError: There is none for it.
        """
        if self.intents is None or intent not in self.intents.names:
            raise InputError(f"intent: {refusal(intent, self.intent_names)}")
        return self.intents, self.intents.names.index(intent)

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
        return self.weigh(cosines, candidates, histories, item_vectors=item_vectors).scores

    def weigh(
        self,
        cosines: Tensor,
        candidates: Tensor,
        histories: Histories,
        *,
        item_vectors: Tensor,
        users: Tensor | None = None,
    ) -> "Weighed":
        """All that is said of the candidates, from one look at the evidence.

        Args:
            cosines: As in `reorder`.
            candidates: As in `reorder`.
            histories: As in `reorder`.
            item_vectors: As in `reorder`.
            users: ``(B, V, D)`` of `Evidence.read`, where that was done before.
        """
        measured = self.evidence.measure(cosines, candidates, histories, item_vectors, users=users)
        scores = self.nets.scores(measured).masked_fill(candidates == 0, -torch.inf)
        return Weighed(self, candidates, histories, measured, scores)

    def parts(
        self,
        cosines: Tensor,
        candidates: Tensor,
        histories: Histories,
        *,
        item_vectors: Tensor,
        intent: str | None = None,
    ) -> dict[str, Tensor]:
        """By how much each group of evidence raises a candidate's score over what it is for a common candidate.

        Args:
            cosines: As in `reorder`.
            candidates: As in `reorder`.
            histories: As in `reorder`.
            item_vectors: As in `reorder`.
            intent: An event type they are ordered for, which is a part of its own.

        Returns:
            Group → ``(B, C)``: the score less what it would be with the group's evidence at its mean. Networks bend, so
            the parts need not add up. Of the intent: the logarithm of how much likelier its event type is with the
            candidate than among all events.

        Raises:
            InputError: There is no head for the intent.
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
        if intent is not None:
            heads, number = self.heads_for(intent)
            usual = heads.named * heads.evidence.usual[number]
            parts["intent"] = (heads.shares(measured, candidates, histories)[..., number] / usual).log().float()
        return parts

    def probabilities(self, scores: Tensor) -> Tensor:
        """(B, C) of `reorder` → how likely each is to be what the user chooses next, as far as the list holds it."""
        return torch.from_numpy(self.platt(_log_shares(scores).numpy()))

    def tensors(self) -> dict[str, Tensor]:
        """What `from_tensors` needs beside `facts`, prior and towers, for a safetensors file."""
        parts = {"evidence": self.evidence.tensors(), "nets": self.nets.tensors()}
        if self.intents is not None:
            parts["intents"] = self.intents.tensors()
        return {f"{part}.{name}": value for part, tensors in parts.items() for name, value in tensors.items()}

    def facts(self) -> str:
        """What is no tensor, as JSON."""
        intents = {} if self.intents is None else {"intents": self.intents.facts()}
        own = {"names": self.evidence.names, "returns": self.evidence.returns, **asdict(self.platt)}
        return json.dumps(own | intents)

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], facts: str, prior: TransitionPrior, opinions: Opinions | None
    ) -> "Reranker":
        """The reverse of `tensors` and `facts`."""
        said = json.loads(facts)
        told = {"returns": said["returns"], "opinions": opinions, "names": said["names"]}
        evidence = Evidence.from_tensors(part_of(tensors, "evidence."), prior, **told)
        intents = None
        if "intents" in said:
            intents = Intents.from_tensors(part_of(tensors, "intents."), said["intents"], evidence.interests)
        nets = ListwiseNets.from_tensors(part_of(tensors, "nets."))
        return cls(evidence, nets, Platt(said["slope"], said["offset"]), intents)


@dataclass(frozen=True, eq=False)
class Weighed:
    """What a reranker says of candidates."""

    reranker: Reranker
    candidates: Tensor
    """(B, C) item_idx, 0 where there are fewer."""
    histories: Histories
    measured: Tensor
    """(B, C, F)"""
    scores: Tensor
    """(B, C) as `Reranker.reorder` gives them."""

    @cached_property
    def probabilities(self) -> Tensor:
        """(B, C) that each is what the user chooses next, as `Reranker.probabilities` has it."""
        return self.reranker.probabilities(self.scores)

    @cached_property
    def doing(self) -> Tensor:
        """(B, C, E) P(the user does e with the candidate now), the event types in the order of `Intents.names`.

        It is float64, and has no columns where there are no heads.
        """
        return self.doing_at(torch.arange(self.candidates.shape[1]).expand_as(self.candidates))

    def doing_at(self, places: Tensor) -> Tensor:
        """(B, K, E) `doing` of the candidates at (B, K) places: to ask for a few is cheaper than to ask for all."""
        if "doing" in vars(self):
            return self.doing.gather(1, places[..., None].expand(-1, -1, self.doing.shape[2]))
        candidates, probabilities = self.candidates.gather(1, places), self.probabilities.gather(1, places)[..., None]
        heads = self.reranker.intents
        if heads is None:
            return probabilities[..., :0]
        measured = self.measured.gather(1, places[..., None].expand(-1, -1, self.measured.shape[2]))
        return probabilities * heads.shares(measured, candidates, self.histories)

    def scores_for(self, intents: Sequence[str | None]) -> Tensor:
        """`scores`; in the rows of histories with an intent the logarithm of how likely the user is `doing` it.

        Args:
            intents: ``(B,)`` event types.

        Returns:
            ``(B, C)``; −∞ where there is no candidate.

        Raises:
            InputError: There is no head for one of them.
        """
        numbers = [-1 if intent is None else self.reranker.heads_for(intent)[1] for intent in intents]
        wanted = torch.tensor(numbers)[:, None]  # (B, 1)
        if not (wanted >= 0).any():
            return self.scores
        asked = wanted.clamp(min=0)[..., None].expand(*self.candidates.shape, 1)
        likely = self.doing.gather(2, asked)[..., 0].log().float().masked_fill(self.candidates == 0, -torch.inf)
        return torch.where(wanted >= 0, likely, self.scores)

    def log_odds_for(self, intent: str) -> Tensor:
        """(B, C) what `scores_for` an intent is sorted by, less what all candidates of a list have in common.

        A candidate's depends on no other one, so that it can be compared between histories.

        Raises:
            InputError: There is no head for it.
        """
        heads, number = self.reranker.heads_for(intent)
        shares = heads.shares(self.measured, self.candidates, self.histories)[..., number]
        return self.reranker.platt.slope * self.scores + shares.log()


@dataclass(frozen=True, eq=False)
class Reranking:
    """A reranker with the item vectors as they stand: what a recommender reorders by, and asks how likely each is."""

    reranker: Reranker
    item_vectors: Tensor
    """(more than N, D) unit rows, of items that came after training too."""
    read: Callable[[Histories], Tensor] | None = None
    """B histories → (B, V, D) of `Evidence.read` of the same item vectors, by one that remembers; None reads afresh."""

    def __call__(self, cosines: Tensor, candidates: Tensor, histories: Histories) -> Tensor:
        """`Reranker.reorder`."""
        return self.weigh(cosines, candidates, histories).scores

    def weigh(self, cosines: Tensor, candidates: Tensor, histories: Histories) -> Weighed:
        """`Reranker.weigh`."""
        users = None if self.read is None else self.read(histories)
        return self.reranker.weigh(cosines, candidates, histories, item_vectors=self.item_vectors, users=users)


def fit_reranker(
    evidence: Evidence,
    interactions: Interactions,
    cases: Cases,
    candidates: Tensor,
    cosines: Tensor,
    item_vectors: Tensor,
    *,
    history_length: int,
    request_time: bool,
    seed: int,
    events: EventEvidence | None = None,
) -> Reranker | None:
    """Learn to order what was retrieved for held-out cases, and what is done with what is chosen.

    Cases whose target was not retrieved say nothing about the order of the retrieved, but do about how likely any of
    them is.

    Args:
        evidence: From the training rows; its prior is what must be beaten.
        interactions: The table the cases point into.
        cases: Q cases that nothing here was learnt from.
        candidates: ``(Q, C)`` item_idx as retrieved, 0 where there are fewer.
        cosines: ``(Q, C)`` of them.
        item_vectors: ``(N + 1, D)``.
        history_length: How many of the newest events the towers read.
        request_time: Whether requests know their instant.
        seed: Of folds and weights.
        events: From the training rows; None where event types are not to be told apart.

    Returns:
        None where there are too few cases, or where unseen targets do not get likelier than under the prior, which
        saw them.
    """
    rows = cases.first_targets()
    targets = torch.from_numpy(interactions.item_idx[rows].astype(np.int64))
    found, empty = candidates == targets[:, None], candidates == 0
    hit, chosen = found.any(1), found.int().argmax(1)
    if int(hit.sum()) < FEWEST_CASES:
        return None
    parts = [slice(at, at + CASES_AT_ONCE) for at in range(0, len(cases), CASES_AT_ONCE)]
    histories = [
        case_histories(interactions, cases[part], length=history_length, request_time=request_time) for part in parts
    ]
    lists = torch.cat(
        [
            evidence.measure(cosines[part], candidates[part], read, item_vectors)
            for part, read in zip(parts, histories, strict=True)
        ]
    )
    learnt = fit_listwise(lists[hit], empty[hit], chosen[hit], seed=seed, optional=evidence.columns())
    nets, unseen = learnt.nets, learnt.unseen
    evidence, lists = evidence.without(learnt.left_out), lists[..., learnt.columns]
    blended = lists[hit][..., evidence.names.index("blended")].masked_fill(empty[hit], EMPTY)
    if _misfit_sharpened(blended, chosen[hit]) <= F.cross_entropy(unseen, chosen[hit]):
        return None
    scores = nets.scores(lists).masked_fill(empty, -torch.inf)
    scores[hit] = unseen.masked_fill(empty[hit], -torch.inf)
    platt = fit_platt(_log_shares(scores)[~empty].numpy(), found[~empty].numpy())
    intents = None
    if events is not None:
        of_targets = lists[torch.arange(len(lists)), chosen][:, None]  # (Q, 1, F)
        told = torch.cat(
            [
                events.measure(of_targets[part], targets[part, None], read)[:, 0]
                for part, read in zip(parts, histories, strict=True)
            ]
        )
        happened = events.number_of[torch.from_numpy(interactions.event[rows].astype(np.int64))]
        intents = fit_intents(events, told[hit], happened[hit], seed=seed)
    return Reranker(evidence, nets, platt, intents)


def _log_shares(scores: Tensor) -> Tensor:
    """(B, C) scores → the logarithm of each candidate's share of its list's softmax."""
    return (scores - scores.logsumexp(1, keepdim=True)).nan_to_num(neginf=EMPTY, posinf=EMPTY, nan=EMPTY)


def _misfit_sharpened(scores: Tensor, chosen: Tensor) -> Tensor:
    """Mean negative log-likelihood of the chosen under the factor that suits them best: only order was fitted."""
    factors = torch.logspace(-1, 1, 41)
    return torch.stack([F.cross_entropy(scores * factor, chosen) for factor in factors]).min()
