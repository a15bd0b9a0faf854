"""What tends to follow what: a decayed count of nearby pairs in histories.

It is a baseline of its own, and a prior: blended into the scores of what the towers retrieved, it brings back the
sharp item-to-item habits that a vector of a few dozen numbers smooths away.

Shapes: B histories, H events, C candidates, N items.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from recsys.config import PriorConfig
from recsys.interactions import Interactions

HISTORIES_AT_ONCE = 256
WRITTEN_OUT = 20_000
"""Up to so many items a history's counts are written out for all of them; past that the candidates' are looked up."""


@dataclass(frozen=True, eq=False)
class Counted:
    """How often some candidates followed a history, and how often anything did."""

    times: Tensor
    """(B, C)"""
    total: Tensor
    """(B, 1)"""
    num_items: int
    """N"""

    def log_share(self, *, floor: float | Tensor) -> Tensor:
        """(B, C) log of each candidate's share of all that followed, of which ``floor`` is spread over all items."""
        share = self.times / self.total.clamp(min=1e-12)
        return torch.log((1 - floor) * share + floor / self.num_items)


@dataclass(frozen=True, eq=False)
class TransitionCounter:
    """Item-to-item counts and how a history asks them."""

    counts: sparse.csr_matrix
    """(N + 1, N + 1) float32: the weight of pairs (before, after)."""
    history_decay: float
    """Factor per step back from the newest event."""
    history_items: int
    """The newest events that are asked."""

    @classmethod
    def of(cls, train: Interactions, config: PriorConfig, *, num_items: int) -> "TransitionCounter":
        """Count all pairs of a user's events at most ``config.window`` steps apart."""
        user_idx = train.user_idx
        pairs = []
        for step in range(1, config.window + 1):
            same_user = user_idx[:-step] == user_idx[step:]
            before, after = train.item_idx[:-step][same_user], train.item_idx[step:][same_user]
            weight = np.float32(config.step_decay ** (step - 1))
            pairs.append((before, after, weight))
            pairs.append((after, before, weight * np.float32(config.backward)))
        rows = np.concatenate([before for before, _, _ in pairs])
        columns = np.concatenate([after for _, after, _ in pairs])
        weights = np.concatenate([np.full(len(before), weight, np.float32) for before, _, weight in pairs])
        shape = (num_items + 1, num_items + 1)
        counts = sparse.coo_matrix((weights, (rows, columns)), shape=shape).tocsr()
        counts.eliminate_zeros()
        return cls(counts, config.history_decay, config.history_items)

    def scores(self, item_idx: Tensor) -> npt.NDArray[np.float32]:
        """How often each item followed what is in each history, recent events counting more.

        Args:
            item_idx: ``(B, H)`` oldest first, 0 where padded. An item beyond N, which came after the counting, takes
                its step and is followed by nothing.

        Returns:
            ``(B, N + 1)``.
        """
        return np.asarray((self._asked(item_idx) @ self.counts).todense(), dtype=np.float32)

    def among(self, item_idx: Tensor, candidates: Tensor) -> Counted:
        """What `scores` says of some candidates, without a look at the others where items are many.

        Args:
            item_idx: ``(B, H)`` as there.
            candidates: ``(B, C)`` items up to N, each once in its row; 0 where there is none.
        """
        num_rows = self.counts.shape[0]
        times, totals = [], []
        for at in range(0, max(len(item_idx), 1), HISTORIES_AT_ONCE):
            part, wanted = item_idx[at : at + HISTORIES_AT_ONCE], candidates[at : at + HISTORIES_AT_ONCE]
            if num_rows <= WRITTEN_OUT:
                scores = torch.from_numpy(self.scores(part))
                times.append(scores.gather(1, wanted))
                totals.append(scores.sum(1, keepdim=True))
            else:
                followed, total = self._looked_up(part, wanted.numpy())
                times.append(torch.from_numpy(followed))
                totals.append(torch.from_numpy(total))
        return Counted(torch.cat(times), torch.cat(totals), num_rows - 1)

    @cached_property
    def log_totals(self) -> Tensor:
        """(N + 1,) log(1 + how often each item followed anything)."""
        return torch.from_numpy(np.log1p(np.asarray(self.counts.sum(0)).ravel())).float()

    def part_of(self, history_item: int, candidate: int, steps_back: int) -> float:
        """What one event of a history, so many steps before the newest, adds to a candidate's count."""
        if steps_back >= self.history_items:
            return 0.0
        return float(self.counts[history_item, candidate]) * self.history_decay**steps_back

    def tensors(self) -> dict[str, Tensor]:
        """The counts as plain tensors, for a safetensors file."""
        counts = self.counts
        return {
            "data": torch.from_numpy(counts.data),
            "indices": torch.from_numpy(counts.indices.astype(np.int64)),
            "indptr": torch.from_numpy(counts.indptr.astype(np.int64)),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], config: PriorConfig) -> "TransitionCounter":
        """The reverse of `tensors`."""
        size = len(tensors["indptr"]) - 1
        parts = tuple(tensors[name].numpy() for name in ("data", "indices", "indptr"))
        return cls(sparse.csr_matrix(parts, shape=(size, size)), config.history_decay, config.history_items)

    def _looked_up(
        self, item_idx: Tensor, candidates: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:  # (B, C), (B, 1)
        """Walks the rows of the newest items and keeps what concerns a candidate."""
        asked, counts = self._asked(item_idx).tocoo(), self.counts
        starts, sizes = counts.indptr[asked.col].astype(np.int64), np.diff(counts.indptr)[asked.col]
        before = np.cumsum(sizes) - sizes
        places = np.arange(sizes.sum()) + np.repeat(starts - before, sizes)
        history = np.repeat(asked.row.astype(np.int64), sizes)
        weights = np.repeat(asked.data, sizes) * counts.data[places]
        totals = np.bincount(history, weights, minlength=len(candidates))
        # One number for a history and an item, so that one sorted list answers for all histories.
        wanted = (np.arange(len(candidates))[:, None] * counts.shape[0] + candidates).ravel()
        order = np.argsort(wanted)
        found = history * counts.shape[0] + counts.indices[places]
        nearest = order[np.minimum(np.searchsorted(wanted, found, sorter=order), len(wanted) - 1)]
        hit = wanted[nearest] == found
        times = np.bincount(nearest[hit], weights[hit], minlength=len(wanted)).reshape(candidates.shape)
        return times.astype(np.float32), totals.astype(np.float32)[:, None]

    def _asked(self, item_idx: Tensor) -> sparse.csr_matrix:  # (B, N + 1) the weight of each history's newest items
        items = item_idx.numpy()
        real = items > 0
        steps_back = real[:, ::-1].cumsum(1)[:, ::-1] - 1  # 0 at the newest, wherever the padding stands
        asked = real & (steps_back < self.history_items) & (items < self.counts.shape[0])
        rows, columns = np.nonzero(asked)
        weights = np.float32(self.history_decay) ** steps_back[asked]
        shape = (len(items), self.counts.shape[0])
        return sparse.csr_matrix((weights.astype(np.float32), (rows, items[rows, columns])), shape=shape)
