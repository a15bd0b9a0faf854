"""RecTools' transformers without their work on padding: the same outputs and losses in a fraction of the time.

RecTools pads every history to the longest that is allowed, makes logits of every item for every position, and
multiplies those of padding by zero afterwards; with histories of 9 padded to 50 that is nearly all of the work. A CPU
would leave its transformers no time to converge. Here batches hold histories of like length, padding that a whole batch
shares is cut off, and logits are made where something followed.

Shapes: B histories, H positions, P positions that something followed, D width, N items and extra tokens, S negatives.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rectools.models.nn.transformers.bert4rec import BERT4RecDataPreparator
from rectools.models.nn.transformers.hstu import RelativeAttentionBias, STULayers
from rectools.models.nn.transformers.lightning import TransformerLightningModule
from rectools.models.nn.transformers.sasrec import SASRecDataPreparator
from rectools.models.nn.transformers.torch_backbone import TransformerTorchBackbone
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Sampler


class RealPositions(TransformerLightningModule):  # type: ignore[misc]  # RecTools is not in our environment
    """Full and sampled softmax over the real positions of a batch."""

    @staticmethod
    def requires_negatives(loss: str) -> bool:
        """Negatives are drawn here, for real positions only."""
        return False

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The mean cross-entropy of what followed each position."""
        model = self.torch_model
        items = model.item_model.get_all_embeddings()  # (N, D)
        followed = batch["y"] != 0  # (B, H)
        users = model.encode_sessions(batch, items)[followed]  # (P, D)
        positives = batch["y"][followed]
        logits = model.similarity_module(users, items) / self.logits_t  # (P, N)
        if self.loss == "sampled_softmax":
            logits = logits.gather(1, torch.cat([positives[:, None], self._negatives(logits)], 1))
            positives = torch.zeros_like(positives)
        return F.cross_entropy(logits, positives)

    def _negatives(self, logits: Tensor) -> Tensor:  # (P, S)
        """Drawn uniformly for each position, as RecTools' sampler does; the positive may be among them."""
        settings: dict[str, Any] = self.model_config
        lowest = len(self.item_extra_tokens)
        shape = (len(logits), settings["n_negatives"])
        return torch.randint(lowest, logits.shape[1], shape, device=logits.device)


class CutPadding(TransformerTorchBackbone):  # type: ignore[misc]
    """Leaves out the positions that are padding in all histories of a batch.

    Padding stands on the left and positions are counted from the right, so with a key padding mask nothing else
    changes; without one, padding would take its share of the attention. (HSTU masks padding by itself.)
    """

    def encode_sessions(self, batch: dict[str, Tensor], item_embs: Tensor) -> Tensor:  # (B, H, D)
        """What each position has come to; zeros where the whole batch is padding."""
        sessions = batch["x"]  # (B, H)
        longest = int((sessions != 0).sum(1).max())
        cut = sessions.shape[1] - longest
        encoded = super().encode_sessions({**batch, "x": sessions[:, cut:]}, item_embs)
        return F.pad(encoded, (0, 0, cut, 0))


class CutSTULayers(STULayers):  # type: ignore[misc]
    """HSTU's layers for histories of any length up to the one they were made for."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.longest: int = settings["session_max_len"]
        for block in self.stu_blocks:
            block.rel_attn = CutRelativeBias(
                self.longest, settings["relative_time_attention"], settings["relative_pos_attention"]
            )

    def forward(self, seqs: Tensor, *masks: Any, batch: dict[str, Tensor]) -> Tensor:  # (B, H, D)
        """The same as with H padded to the longest."""
        length = seqs.shape[1]
        for block in self.stu_blocks:
            block.session_max_len = block.rel_attn.session_max_len = length
            # The layer divides attention by H where it should by the longest; the norm behind it takes that back.
            block.norm_attn_output.eps = self.epsilon * (self.longest / length) ** 2
        if "unix_ts" in batch:
            batch = {**batch, "unix_ts": batch["unix_ts"][:, -length - 1 :]}
        encoded: Tensor = super().forward(seqs, *masks, batch=batch)
        return encoded


class CutRelativeBias(RelativeAttentionBias):  # type: ignore[misc]
    """Weights of relative positions, whatever the length."""

    def forward_pos_attention(self) -> Tensor:  # (1, H, H)
        """The weight of each distance stands where it does in the longest history."""
        places = torch.arange(self.session_max_len)
        middle = (len(self.pos_weights) - 1) // 2
        weights: Tensor = self.pos_weights[middle + places - places[:, None]]
        return weights[None]


class SASRecLikeLengths(SASRecDataPreparator):  # type: ignore[misc]
    """Batches of like lengths for SASRec's objective."""

    def get_dataloader_train(self) -> Any:
        """All histories once."""
        return _like_lengths(super().get_dataloader_train())


class BERT4RecLikeLengths(BERT4RecDataPreparator):  # type: ignore[misc]
    """Batches of like lengths for masked items."""

    def get_dataloader_train(self) -> Any:
        """All histories once."""
        return _like_lengths(super().get_dataloader_train())


class LikeLengths(Sampler[list[int]]):
    """Batches of histories of about the same length, in random order, others in every epoch."""

    def __init__(self, lengths: npt.NDArray[np.int64], batch_size: int) -> None:
        self.log_lengths = torch.from_numpy(lengths).double().log2()
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.log_lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        noise = torch.rand(len(self.log_lengths)) / 2  # half a doubling
        batches = (self.log_lengths + noise).argsort().split(self.batch_size)
        return (batches[which].tolist() for which in torch.randperm(len(batches)).tolist())


def _like_lengths(loader: Any) -> Any:
    lengths = np.array([len(session) for session in loader.dataset.sessions])
    sampler = LikeLengths(lengths, loader.batch_size)
    return DataLoader(loader.dataset, batch_sampler=sampler, collate_fn=loader.collate_fn)
