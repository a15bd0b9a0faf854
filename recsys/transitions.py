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

    def after(self, item_idx: Tensor) -> npt.NDArray[np.float32]:
        """How often each item followed one item: ``(B,)`` → ``(B, N + 1)``, what `scores` gives for it alone."""
        known = np.where(item_idx < self.counts.shape[0], item_idx, 0)
        return self.counts[known].toarray()

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

    def _asked(self, item_idx: Tensor) -> sparse.csr_matrix:  # (B, N + 1) the weight of each history's newest items
        items = item_idx.numpy()
        real = items > 0
        steps_back = real[:, ::-1].cumsum(1)[:, ::-1] - 1  # 0 at the newest, wherever the padding stands
        asked = real & (steps_back < self.history_items) & (items < self.counts.shape[0])
        rows, columns = np.nonzero(asked)
        weights = np.float32(self.history_decay) ** steps_back[asked]
        shape = (len(items), self.counts.shape[0])
        return sparse.csr_matrix((weights.astype(np.float32), (rows, items[rows, columns])), shape=shape)
