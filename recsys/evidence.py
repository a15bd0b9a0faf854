"""What else speaks for a retrieved item: habits, likeness, interests, and how its popularity moves.

The towers squeeze all of this into one inner product, since an index can do no more. For the few hundred items that
they retrieve it is measured item by item, from the training rows and from the history alone: nothing that happened at
or after the request is read.

Shapes: B histories, H events, C candidates, F kinds of evidence, N items, M interests of one item, I interests, R rows,
V opinions, D width.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from recsys.config import PriorConfig
from recsys.histories import Histories, newest_events
from recsys.interactions import DAY_S, Interactions
from recsys.opinions import Opinions
from recsys.prior import TransitionPrior
from recsys.taxonomy import Taxonomy
from recsys.transitions import TransitionCounter

HISTORY_ITEMS = 50
"""The newest events that are read."""
NEXT = PriorConfig(window=3, backward=0.0, step_decay=0.6, history_items=1)
"""What comes right after the newest event, in this direction."""
FLOOR = 0.02
"""The share of all that follows which is spread over items that never did."""
HALF_LIVES = {"short": 3.0, "middle": 10.0, "long": float("inf")}
"""In events."""
LEAST_SHARE = 0.02
"""Added to the shares of interests before the logarithm: an interest that was never held is rare, not impossible."""
WINDOWS_DAYS = {"day": 1, "week": 7, "month": 30, "season": 120}
NEAREST = 3

TOWERS = ("blended", "fit", "fit_lately", "fit_again", "fit_again_lately")
HABITS = ("follows", "follows_newest", "comes_next", "popular")
LIKENESS = ("like_newest", "like_any", "like_some")
INTERESTS = ("interest_short", "interest_middle", "interest_long", "interest_gap")
TIMES = (*(f"chosen_{window}" for window in WINDOWS_DAYS), "chosen_ever", "age")
RETURNS = ("had", "had_gap")
USER = ("length", "moved")
"""The same for all candidates of a history: they say how far the others can be trusted."""
GROUPS = {
    "towers": TOWERS,
    "habits": HABITS,
    "likeness": LIKENESS,
    "interests": INTERESTS,
    "popularity": TIMES,
    "returns": RETURNS,
}
"""What belongs together when a score is taken apart."""
OPTIONAL = {group: names for group, names in GROUPS.items() if group != "towers"} | {
    "interests": (*INTERESTS, "moved"),
    "lately": ("fit_lately", "fit_again_lately"),
    "second towers": ("fit_again", "fit_again_lately"),
}
"""What is left out together where it does not pay; how far a user moved is told by the interests alone."""


@dataclass(frozen=True, eq=False)
class Popularity:
    """When each item was chosen in the training rows."""

    starts: npt.NDArray[np.int64]
    """(N + 2,) where each item's instants begin."""
    instants: npt.NDArray[np.int64]
    """(R,) unix seconds, item by item, ascending."""

    @classmethod
    def of(cls, train: Interactions, *, num_items: int) -> "Popularity":
        """Of the training rows, which have a clock."""
        assert train.occurred_at is not None
        return cls.counted(train.item_idx.astype(np.int64), train.occurred_at, num_items=num_items)

    @classmethod
    def counted(
        cls,
        item_idx: npt.NDArray[np.int64],  # (R,)
        occurred_at: npt.NDArray[np.int64],  # (R,)
        *,
        num_items: int,
    ) -> "Popularity":
        """From rows in any order, at least one; what is chosen need not be an item, if it is numbered like one."""
        order = np.lexsort((occurred_at, item_idx))
        sizes = np.bincount(item_idx, minlength=num_items + 1)
        return cls(np.concatenate([[0], np.cumsum(sizes)]), occurred_at[order].astype(np.int64))

    def as_of(self, requested_at: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The instant as of which a request is told what is popular: the rows know nothing of what came after them."""
        return np.minimum(requested_at, self._newest + 1)

    def before(self, item_idx: npt.NDArray[np.int64], instant: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How often each item was chosen before an instant, and all items of a smaller number ever.

        Differences of one item's are what counts. Both of one shape, or broadcast to it.
        """
        since_oldest = np.clip(instant - self._oldest, 0, self._span - 1)
        return np.searchsorted(self._keys, item_idx * self._span + since_oldest)

    @cached_property
    def _keys(self) -> npt.NDArray[np.int64]:
        """(R,) ascending over all items together, so that one search serves many."""
        item_idx = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        return item_idx * self._span + (self.instants - self._oldest)

    @cached_property
    def first_chosen(self) -> npt.NDArray[np.int64]:
        """(N + 1,) when each item was chosen first; the end of the rows for what never was."""
        firsts = np.append(self.instants, self._newest)[self.starts[:-1]]
        return np.where(np.diff(self.starts) > 0, firsts, self._newest)

    @cached_property
    def _oldest(self) -> int:
        return int(self.instants.min())

    @cached_property
    def _newest(self) -> int:
        return int(self.instants.max())

    @property
    def _span(self) -> int:
        return self._newest - self._oldest + 2


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that is measured, from the training rows and the items' interests."""

    prior: TransitionPrior
    """Its score comes first: what all else has to add to."""
    comes_next: TransitionCounter
    interests: Tensor
    """(N + 1, M) int64 the interests of each item, from 1; 0 fills up."""
    parts: Tensor
    """(N + 1, M) float32 the part of each in it; 0 where there is none."""
    popularity: Popularity | None
    """None where there is no clock."""
    returns: bool
    """Whether items of the history may be recommended again."""
    opinions: Opinions | None = None
    """What else towers think of the candidates; None where nothing but the first towers' cosines is known."""
    left_out: tuple[str, ...] = ()
    """Columns that are not measured: without them unseen choices were no less likely."""

    @classmethod
    def of(
        cls,
        train: Interactions,
        taxonomy: Taxonomy,
        prior: TransitionPrior,
        *,
        returns: bool,
        opinions: Opinions | None = None,
    ) -> "Evidence":
        """From the training rows; nothing else of the table is looked at."""
        num_items = prior.counter.counts.shape[0] - 1
        interests, parts = _padded(taxonomy, num_items=num_items)
        return cls(
            prior,
            TransitionCounter.of(train, NEXT, num_items=num_items),
            interests,
            parts,
            None if train.occurred_at is None else Popularity.of(train, num_items=num_items),
            returns,
            opinions,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """(F,) of the columns."""
        measured = (
            "blended",
            "fit",
            *(() if self.opinions is None else self.opinions.names),
            *HABITS,
            *LIKENESS,
            *(INTERESTS if self.interests.any() else ()),
            *(TIMES if self.popularity is not None else ()),
            *(RETURNS if self.returns else ()),
            *USER,
        )
        return tuple(name for name in measured if name not in self.left_out)

    def columns(self) -> dict[str, list[int]]:
        """Group → its columns, of the groups that can be done without: all but the towers'."""
        places = {name: place for place, name in enumerate(self.names)}
        groups = {group: [places[name] for name in names if name in places] for group, names in OPTIONAL.items()}
        return {group: columns for group, columns in groups.items() if columns}

    def without(self, groups: Iterable[str]) -> "Evidence":
        """The same evidence, some groups of it not measured."""
        return replace(self, left_out=(*self.left_out, *(name for group in groups for name in OPTIONAL[group])))

    def read(self, histories: Histories, item_vectors: Tensor) -> Tensor:
        """What towers make of the users beside what was retrieved by: all of `measure` that no candidate changes.

        Args:
            histories: B of them.
            item_vectors: ``(more than N, D)`` unit rows.

        Returns:
            ``(B, V, D)`` of `Opinions.read`, V of 0 where there are no opinions.
        """
        if self.opinions is None:
            return torch.zeros(len(histories.item_idx), 0, item_vectors.shape[1])
        return self.opinions.read(set(self.names), histories, item_vectors)

    def measure(
        self,
        cosines: Tensor,
        candidates: Tensor,
        histories: Histories,
        item_vectors: Tensor,
        *,
        users: Tensor | None = None,
    ) -> Tensor:
        """Every kind of evidence for every candidate.

        Args:
            cosines: ``(B, C)`` of the candidates with the user; anything where there is no candidate.
            candidates: ``(B, C)`` item_idx, 0 where there is none. What came after training, beyond N, has followed
                nothing, is of no interest and was never chosen.
            histories: B of them; what is read of the instant of the request is ``asked_at`` of the newest event.
            item_vectors: ``(more than N, D)`` unit rows.
            users: ``(B, V, D)`` of `read`, where that was done before.

        Returns:
            ``(B, C, F)`` finite numbers, in the order of `names`.
        """
        asked = set(self.names)
        cosines = cosines.clamp(-1, 1)  # −∞ where there is no candidate
        found = {"fit": cosines}
        if self.opinions is not None:
            users = self.read(histories, item_vectors) if users is None else users
            found |= self.opinions.of(users, cosines, candidates, item_vectors)
        histories = newest_events(histories, HISTORY_ITEMS)
        known = candidates.masked_fill(candidates >= len(self.interests), 0)
        found |= self._habits(cosines, known, histories)
        back = steps_back(histories.item_idx)
        found["length"] = _each((histories.item_idx > 0).sum(1).float().log1p(), candidates)
        if asked.intersection(LIKENESS):
            found |= _likeness(candidates, histories.item_idx, item_vectors)
        if asked.intersection((*INTERESTS, "moved")):
            found |= self._interests(known, histories.item_idx, back)
        if asked.intersection(TIMES):
            found |= self._times(known, histories)
        if asked.intersection(RETURNS):
            found |= _returns(candidates, histories.item_idx, back)
        return torch.stack([found[name] for name in self.names], dim=-1)

    def tensors(self) -> dict[str, Tensor]:
        """What `from_tensors` needs beside the prior and the towers, for a safetensors file."""
        tensors = {f"next.{name}": value for name, value in self.comes_next.tensors().items()}
        tensors |= {"interests": self.interests, "parts": self.parts}
        if self.popularity is not None:
            tensors |= {
                "starts": torch.from_numpy(self.popularity.starts),
                "instants": torch.from_numpy(self.popularity.instants),
            }
        return tensors

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[str, Tensor],
        prior: TransitionPrior,
        *,
        returns: bool,
        opinions: Opinions | None,
        names: Sequence[str],
    ) -> "Evidence":
        """The reverse of `tensors`; of all that could be measured the ``names`` alone are."""
        counts = {name: tensors[f"next.{name}"] for name in ("data", "indices", "indptr")}
        popularity = Popularity(tensors["starts"].numpy(), tensors["instants"].numpy()) if "starts" in tensors else None
        comes_next = TransitionCounter.from_tensors(counts, NEXT)
        interests, parts = tensors["interests"], tensors["parts"]
        everything = cls(prior, comes_next, interests, parts, popularity, returns, opinions)
        return replace(everything, left_out=tuple(name for name in everything.names if name not in names))

    def _habits(self, cosines: Tensor, known: Tensor, histories: Histories) -> dict[str, Tensor]:
        follows, item_idx = self.prior.counter, histories.item_idx
        newest = item_idx.gather(1, histories.newest[:, None])
        followed = follows.among(item_idx, known)
        bonus = self.prior.bonus_of(followed, known) if self.prior.weight else 0.0
        return {
            "blended": cosines / self.prior.temperature + bonus,
            "follows": followed.log_share(floor=FLOOR),
            "follows_newest": follows.among(newest, known).log_share(floor=FLOOR),
            "comes_next": self.comes_next.among(newest, known).log_share(floor=FLOOR),
            "popular": follows.log_totals[known],
        }

    def _interests(self, known: Tensor, item_idx: Tensor, back: Tensor) -> dict[str, Tensor]:
        """How much of what a candidate is the user was interested in lately, for long, and when last."""
        item_idx = item_idx.masked_fill(item_idx >= len(self.interests), 0)
        held, parts = self.interests[item_idx], self.parts[item_idx]  # (B, H, M)
        of_candidate, its_parts = self.interests[known], self.parts[known]  # (B, C, M)
        size = (len(item_idx), int(self.interests.max()) + 1)

        def asked(profile: Tensor) -> Tensor:  # (B, I + 1) -> (B, C, M)
            return profile.gather(1, of_candidate.flatten(1)).view_as(of_candidate)

        profiles = {}
        for name, half_life in HALF_LIVES.items():
            weight = 0.5 ** (back / half_life) * (item_idx > 0)
            mass = torch.zeros(size).scatter_add(1, held.flatten(1), (weight[:, :, None] * parts).flatten(1))
            profiles[name] = mass / mass.sum(1, keepdim=True).clamp(min=1e-9)
        found = {
            f"interest_{name}": torch.log((asked(profile) * its_parts).sum(2) + LEAST_SHARE)
            for name, profile in profiles.items()
        }
        never = float(HISTORY_ITEMS)
        steps = torch.where(parts > 0, back[:, :, None].float(), never).flatten(1)
        gaps = torch.full(size, never).scatter_reduce(1, held.flatten(1), steps, "amin")
        found["interest_gap"] = asked(gaps).masked_fill(its_parts == 0, never).amin(2).log1p()
        found["moved"] = _each((profiles["middle"] - profiles["long"]).abs().sum(1) / 2, known)
        return found

    def _times(self, known: Tensor, histories: Histories) -> dict[str, Tensor]:
        assert self.popularity is not None
        items = known.numpy()
        asked_at = histories.asked_at.gather(1, histories.newest[:, None]).numpy()
        now = self.popularity.as_of(asked_at)  # (B, 1)
        until = self.popularity.before(items, now)
        counts = {
            f"chosen_{window}": until - self.popularity.before(items, now - days * DAY_S)
            for window, days in WINDOWS_DAYS.items()
        }
        counts["chosen_ever"] = until - self.popularity.starts[items]
        counts["age"] = np.maximum(now - self.popularity.first_chosen[items], 0) / DAY_S
        return {name: torch.from_numpy(np.log1p(count)).float() for name, count in counts.items()}


def _likeness(candidates: Tensor, item_idx: Tensor, item_vectors: Tensor) -> dict[str, Tensor]:
    """How near a candidate is to what is in the history, by the items' vectors."""
    real = item_idx > 0
    cosines = F.embedding(candidates, item_vectors) @ F.embedding(item_idx, item_vectors).transpose(1, 2)  # (B, C, H)
    newest = torch.where(real, torch.arange(item_idx.shape[1]), 0).amax(1)
    cosines = cosines.masked_fill(~real[:, None], -1.0)
    nearest = cosines.topk(min(NEAREST, cosines.shape[2]), dim=2).values
    some = (torch.arange(nearest.shape[2]) < real.sum(1, keepdim=True)).float()[:, None]  # however long others are
    return {
        "like_newest": cosines[torch.arange(len(cosines)), :, newest],
        "like_any": nearest[..., 0],
        "like_some": (nearest * some).sum(2) / some.sum(2).clamp(min=1),
    }


def _returns(candidates: Tensor, item_idx: Tensor, back: Tensor) -> dict[str, Tensor]:
    """Whether and how long ago the user had the candidate itself."""
    same = (candidates[:, :, None] == item_idx[:, None]) & (candidates[:, :, None] > 0)  # (B, C, H)
    steps = torch.where(same, back[:, None].float(), float(HISTORY_ITEMS))
    return {"had": same.sum(2).float().log1p(), "had_gap": steps.amin(2).log1p()}


def steps_back(item_idx: Tensor) -> Tensor:  # (B, H)
    """How many events came after each of a history; 0 at the newest, and at padding on the right."""
    real = item_idx > 0
    return real.sum(1, keepdim=True) - real.cumsum(1)


def _each(of_history: Tensor, candidates: Tensor) -> Tensor:  # (B,) -> (B, C)
    return of_history[:, None].expand(candidates.shape)


def _padded(taxonomy: Taxonomy, *, num_items: int) -> tuple[Tensor, Tensor]:
    """Interests and their parts as rows of one width: ``(N + 1, M)``, at least one column."""
    shares = taxonomy.shares
    sizes = np.diff(shares.indptr)
    interests = np.zeros((num_items + 1, max(int(sizes.max(initial=0)), 1)), np.int64)
    parts = np.zeros(interests.shape, np.float32)
    rows = np.repeat(np.arange(len(sizes)), sizes)
    columns = np.arange(len(rows)) - np.repeat(shares.indptr[:-1], sizes)
    interests[rows, columns], parts[rows, columns] = shares.indices + 1, shares.data
    return torch.from_numpy(interests), torch.from_numpy(parts)
