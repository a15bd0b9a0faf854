"""A second opinion for the reranker: towers of the other architecture, which another chance has taught the same.

Two networks err differently, and what both want is wanted more surely (Lakshminarayanan et al., NeurIPS 2017).
Retrieval has one vector per item and stays as it is; what it found is few enough to be judged twice.

Shapes: B histories, C candidates, N items of the bundle, D width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys.config import Config
from recsys.embed import read_histories
from recsys.histories import Histories
from recsys.towers import UserTower

SEEDS_APART = 1000
"""How far its seed is from the first towers': neighbouring seeds are those of other runs."""
OTHER_BLOCK = {"pre_norm": "bert", "bert": "pre_norm"}
TOWER = "tower."


@dataclass(frozen=True, eq=False)
class SecondTower:
    """Another user tower, and the vectors of the bundle's items in its own space."""

    user_tower: UserTower
    """In evaluation mode, on the CPU."""
    item_vectors: Tensor
    """(N + 1, D) unit rows, row 0 zeros."""

    def cosines(self, first: Tensor, candidates: Tensor, histories: Histories) -> Tensor:
        """How well it thinks that candidates fit.

        What came after training has no vector here. As an event of a history such an item is read as one of which
        nothing is known but when and how; as a candidate, and where nothing of a history is known, the first towers'
        opinion counts twice.

        Args:
            first: ``(B, C)`` what the first towers think.
            candidates: ``(B, C)`` item_idx, 0 where there is none.
            histories: B of them, of any length.

        Returns:
            ``(B, C)``.
        """
        known = histories.item_idx < len(self.item_vectors)
        read = replace(histories, item_idx=torch.where(known, histories.item_idx, len(self.item_vectors)))
        users = read_histories(self.user_tower, self._with_unknown, read)  # (B, D)
        judged = candidates < len(self.item_vectors)
        second = (F.embedding(candidates.masked_fill(~judged, 0), self.item_vectors) @ users[:, :, None])[..., 0]
        told = (known & (histories.item_idx > 0)).any(1, keepdim=True)
        return torch.where(judged & told, second, first)

    def tensors(self) -> dict[str, Tensor]:
        """What `from_tensors` needs beside the config, for a safetensors file."""
        weights = {f"{TOWER}{name}": weight for name, weight in self.user_tower.state_dict().items()}
        return weights | {"item_vectors": self.item_vectors}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], config: Config, *, num_events: int) -> "SecondTower":
        """The reverse of `tensors`.

        Args:
            tensors: Of the file.
            config: Of the first towers.
            num_events: How many event types there are.
        """
        weights = {name.removeprefix(TOWER): value for name, value in tensors.items() if name.startswith(TOWER)}
        tower = UserTower(second_config(config), num_events=num_events, value_edges=weights["value_edges"])
        tower.load_state_dict(weights)
        return cls(tower.eval(), tensors["item_vectors"])

    @cached_property
    def _with_unknown(self) -> Tensor:  # (N + 2, D)
        return F.pad(self.item_vectors, (0, 0, 0, 1))


def second_config(config: Config) -> Config:
    """What the second towers are trained by: the first's config, but for the seed and the blocks of the user tower."""
    block = OTHER_BLOCK[config.user_tower.block]
    tower = config.user_tower.model_copy(update={"block": block})
    return config.model_copy(update={"seed": config.seed + SEEDS_APART, "user_tower": tower})
