"""What towers make of the candidates: of all that a user did, of what they did lately, and what a second pair thinks.

Retrieval has one vector per user and item and stays as it is; what it found is few enough to be judged more closely.
The second towers are of the other architecture, and another chance has taught them the same: two networks err
differently, and what both want is wanted more surely (Lakshminarayanan et al., NeurIPS 2017). A tower that is shown the
newest events alone says what a user whose interests moved may want now; how far that counts the reranker learns.

Shapes: B histories, C candidates, V opinions, N items of the bundle, D width.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys.config import Config
from recsys.embed import read_histories
from recsys.histories import Histories, newest_events
from recsys.towers import UserTower

LATELY = 40
"""The newest events that are read once more alone; a history of no more has nothing else to say."""
SEEDS_APART = 1000
"""How far the second towers' seed is from the first towers': neighbouring seeds are those of other runs."""
OTHER_BLOCK = {"pre_norm": "bert", "bert": "pre_norm"}
TOWER = "tower."


@dataclass(frozen=True, eq=False)
class SecondTower:
    """Another user tower, and the vectors of the bundle's items in its own space."""

    user_tower: UserTower
    """In evaluation mode, on the CPU."""
    item_vectors: Tensor
    """(N + 1, D) unit rows, row 0 zeros."""

    def read(self, histories: Histories) -> Tensor:
        """What its user tower makes of histories.

        What came after training has no vector here: such an event is read as one of which nothing is known but when
        and how.

        Args:
            histories: B of them, of any length.

        Returns:
            ``(B, D)`` unit rows; zeros where nothing of a history is known.
        """
        known = histories.item_idx < len(self.item_vectors)
        read = replace(histories, item_idx=torch.where(known, histories.item_idx, len(self.item_vectors)))
        nothing = ~(known & (histories.item_idx > 0)).any(1, keepdim=True)
        return read_histories(self.user_tower, self._with_unknown, read).masked_fill(nothing, 0.0)

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


@dataclass(frozen=True, eq=False)
class Opinions:
    """The towers that judge what the first of them retrieved."""

    user_tower: UserTower
    """The first, whose vectors are retrieved by."""
    second: SecondTower | None

    @property
    def names(self) -> tuple[str, ...]:
        """(V,) of the columns of evidence that are given beside the first towers' cosines."""
        return ("fit_lately",) if self.second is None else ("fit_lately", "fit_again", "fit_again_lately")

    def read(self, asked: Container[str], histories: Histories, item_vectors: Tensor) -> Tensor:
        """What each tower makes of the users, before any candidate is looked at.

        Args:
            asked: Those of `names` that are wanted.
            histories: B of them, of any length.
            item_vectors: ``(more than N, D)`` unit rows of the first towers.

        Returns:
            ``(B, V, D)`` unit rows in the order of `names`, the wider towers' D, others' end in zeros. All zeros for
            what is not wanted, and where a tower has nothing of its own to say: nothing of a history is known to it, or
            lately was all there was.
        """
        width, wide = item_vectors.shape[1], 0 if self.second is None else self.second.item_vectors.shape[1]
        users = torch.zeros(len(histories.item_idx), len(self.names), max(width, wide))
        long = ((histories.item_idx > 0).sum(1) > LATELY).nonzero()[:, 0]
        lately = newest_events(histories[long], LATELY)
        if "fit_lately" in asked:
            users[long, 0, :width] = read_histories(self.user_tower, item_vectors, lately)
        if self.second is not None and "fit_again" in asked:
            users[:, 1, :wide] = self.second.read(histories)
            if "fit_again_lately" in asked:
                users[long, 2, :wide] = self.second.read(lately)
        return users

    def of(self, users: Tensor, first: Tensor, candidates: Tensor, item_vectors: Tensor) -> dict[str, Tensor]:
        """How well each thinks that candidates fit.

        Where a tower has nothing to say of a user, or no vector of a candidate, what it would add to counts twice: of
        lately what is thought of the whole history, of the second towers what the first think.

        Args:
            users: ``(B, V, D)`` of `read`.
            first: ``(B, C)`` cosines of the first towers, from the whole histories.
            candidates: ``(B, C)`` item_idx, 0 where there is none.
            item_vectors: ``(more than N, D)`` unit rows of the first towers.

        Returns:
            Name → ``(B, C)``.
        """
        told = users.any(2)[:, None]  # (B, 1, V)
        cosines = _cosines(users[:, :1], candidates, item_vectors)
        found = {"fit_lately": torch.where(told[..., 0], cosines[..., 0], first)}
        if self.second is not None:
            its_own = self.second.item_vectors
            judged = candidates < len(its_own)
            cosines = _cosines(users[:, 1:], candidates.masked_fill(~judged, 0), its_own)
            found["fit_again"] = torch.where(judged & told[..., 1], cosines[..., 0], first)
            found["fit_again_lately"] = torch.where(judged & told[..., 2], cosines[..., 1], found["fit_again"])
        return found


def second_config(config: Config) -> Config:
    """What the second towers are trained by: the first's config, but for seed, width and blocks of the user tower."""
    block = OTHER_BLOCK[config.user_tower.block]
    tower = config.user_tower.model_copy(update={"block": block})
    width = config.rerank.second_width or config.width  # unset in bundles of before it could be
    return config.model_copy(update={"seed": config.seed + SEEDS_APART, "width": width, "user_tower": tower})


def _cosines(users: Tensor, candidates: Tensor, item_vectors: Tensor) -> Tensor:  # (B, V, D), (B, C) -> (B, C, V)
    return F.embedding(candidates, item_vectors) @ users[..., : item_vectors.shape[1]].transpose(1, 2)
