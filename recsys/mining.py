"""Hard negatives: what lies nearest to an item, and so is what its users are most easily confused about.

Shapes: N items, D width, L items that were looked around, M neighbours of each.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Near:
    """The nearest items of some items."""

    item_idx: npt.NDArray[np.int64]
    """(L,) ascending: of which."""
    nearest: npt.NDArray[np.int64]
    """(L, M) item_idx, the item itself left out."""

    def of(self, targets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(P, M) of those targets it knows; P may be fewer than there are targets."""
        places = np.minimum(np.searchsorted(self.item_idx, targets), len(self.item_idx) - 1)
        around: npt.NDArray[np.int64] = self.nearest[places[self.item_idx[places] == targets]]
        return around


NEAREST = 50
"""How far from a positive hard negatives are looked for."""
MINED_AROUND = 20_000
"""Items whose neighbours are looked up at a time: all pairs of a million items would take longer than an epoch."""


def mine(item_vectors: Tensor, counts: npt.NDArray[np.int64], *, rng: np.random.Generator) -> Near:
    """The items that lie nearest to each item, among those chosen in training.

    Args:
        item_vectors: ``(N + 1, D)`` unit rows.
        counts: ``(N + 1,)`` how often each was chosen; of a large catalogue, items are drawn by it.
        rng: For those draws.
    """
    chosen = np.flatnonzero(counts)
    around = chosen
    if len(chosen) > MINED_AROUND:
        around = np.sort(rng.choice(len(counts), MINED_AROUND, replace=False, p=counts / counts.sum()))
    vectors, most = item_vectors[torch.from_numpy(chosen)], min(NEAREST + 1, len(chosen))
    found = []
    for at in range(0, len(around), 256):
        rows = around[at : at + 256]
        cosines = item_vectors[torch.from_numpy(rows)] @ vectors.T
        cosines[torch.from_numpy(rows[:, None] == chosen)] = -torch.inf
        found.append(chosen[cosines.topk(most - 1, dim=1).indices.cpu().numpy()])
    return Near(around, np.concatenate(found))
