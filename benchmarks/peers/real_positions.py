"""RecTools' losses without its work on padding: the same value, from the positions that something followed.

RecTools makes logits of every item for every position and multiplies those of padding by zero afterwards; with
histories of 9 padded to 50 that is four fifths of the time. P positions that something followed, N items, S negatives.
"""

from typing import Any

import torch
from rectools.models.nn.transformers.lightning import TransformerLightningModule
from torch import Tensor
from torch.nn import functional as F


class RealPositions(TransformerLightningModule):  # type: ignore[misc]  # RecTools is not in our environment
    """Full and sampled softmax over the real positions of a batch."""

    @staticmethod
    def requires_negatives(loss: str) -> bool:
        """Negatives are drawn here, for real positions only."""
        return False

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The mean cross-entropy of what followed each position."""
        model = self.torch_model
        items = model.item_model.get_all_embeddings()  # (N + extra tokens, D)
        followed = batch["y"] != 0
        users = model.encode_sessions(batch, items)[followed]  # (P, D)
        positives = batch["y"][followed]
        logits = model.similarity_module(users, items) / self.logits_t  # (P, N + extra tokens)
        if self.loss == "sampled_softmax":
            logits = torch.cat([logits.gather(1, positives[:, None]), logits.gather(1, self._negatives(logits))], 1)
            positives = torch.zeros_like(positives)
        return F.cross_entropy(logits, positives)

    def _negatives(self, logits: Tensor) -> Tensor:  # (P, S)
        """Drawn uniformly for each position, as RecTools' sampler does; the positive may be among them."""
        settings: dict[str, Any] = self.model_config
        lowest = len(self.item_extra_tokens)
        shape = (len(logits), settings["n_negatives"])
        return torch.randint(lowest, logits.shape[1], shape, device=logits.device)
