"""The two towers: what an item is and what a user wants, as unit vectors whose dot product says how well they fit.

Shapes: B histories, H events, C items, D width, M categories of one item, T width of a text vector.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys.blocks import Blocks
from recsys.config import Config, ItemTowerConfig
from recsys.encodings import CALENDAR_WIDTH, NUM_BUCKETS, calendar_waves, duration_bucket
from recsys.histories import Histories

if TYPE_CHECKING:
    from transformers import BertModel


@dataclass(frozen=True, eq=False)
class ItemFeatures:
    """What is known of C items besides who chose them."""

    text_vectors: Tensor
    """(C, T) from the sentence encoder or ready-made; T is 0 where there is neither."""
    categories: Tensor
    """(C, M) int64 category numbers, 0 fills up."""
    numbers: Tensor
    """(C, 2 F) float32: standardised numeric columns, 0 where unknown, and which of them are known."""

    def __getitem__(self, rows: Tensor) -> "ItemFeatures":
        return replace(self, **{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def to(self, device: torch.device | str) -> "ItemFeatures":
        """The same features on another device."""
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})


class ItemTower(nn.Module):
    """Text, categories, numbers and an id, each a vector of width D; their sum, at unit length, is the item."""

    def __init__(
        self,
        config: ItemTowerConfig,
        *,
        width: int,
        num_items: int,
        text_width: int,
        num_categories: int,
        num_numbers: int,
    ) -> None:
        super().__init__()
        self.config = config
        self.text = nn.Linear(text_width, width, bias=False) if config.text and text_width else None
        self.category = (
            nn.EmbeddingBag(num_categories + 1, width, padding_idx=0) if config.categories and num_categories else None
        )
        self.number = nn.Linear(2 * num_numbers, width, bias=False) if config.numbers and num_numbers else None
        self.item_id = nn.Embedding(num_items + 1, width, padding_idx=0) if config.item_id else None
        for table in (self.category, self.item_id):
            if table is not None:
                nn.init.normal_(table.weight, std=0.02)
                with torch.no_grad():
                    table.weight[0] = 0
        self.width = width

    def forward(self, features: ItemFeatures, item_idx: Tensor) -> Tensor:
        """Vectors of C items.

        Args:
            features: Of the C items.
            item_idx: ``(C,)`` whose id embedding to add; 0 where there is none, as for a cold item.

        Returns:
            ``(C, D)`` unit rows.
        """
        vectors = torch.zeros(len(item_idx), self.width, device=item_idx.device)
        if self.text is not None:
            vectors = vectors + self.text(features.text_vectors)
        if self.category is not None:
            vectors = vectors + self.category(features.categories)
        if self.number is not None:
            vectors = vectors + self.number(features.numbers)
        if self.item_id is not None:
            if self.training and self.config.id_dropout:
                hidden = torch.rand(item_idx.shape, device=item_idx.device) < self.config.id_dropout
                item_idx = item_idx.masked_fill(hidden, 0)
            vectors = vectors + self.item_id(item_idx)
        return F.normalize(vectors.float(), dim=-1)


class UserTower(nn.Module):
    """BERT over the history: every position answers the request that followed it, knowing nothing newer.

    An event is the sum of what (the item's vector), how (event type and value) and when (the gap to the event before,
    how long ago it was when asked, and the calendar of the request). Causality, the age of each event at the request
    and the distance in steps reach attention as its additive mask: a learned bias per head and log bucket.
    """

    def __init__(self, config: Config, *, num_events: int, value_edges: Tensor) -> None:
        super().__init__()
        tower, width = config.user_tower, config.width
        self.config = tower
        self.item = nn.Linear(width, width)
        self.event = nn.Embedding(num_events, width) if tower.events and num_events > 1 else None
        self.value_edges: Tensor
        self.register_buffer("value_edges", value_edges)  # ascending: where one bucket of values ends
        self.value = nn.Embedding(len(value_edges) + 2, width) if tower.values and len(value_edges) else None
        self.gap = nn.Embedding(NUM_BUCKETS, width) if tower.gaps else None
        self.newest_age = nn.Embedding(NUM_BUCKETS, width) if tower.ages else None
        self.calendar = nn.Linear(CALENDAR_WIDTH, width) if tower.calendar else None
        self.place: nn.Module | None = None  # a place encoding: Histories → (B, H, D)
        self.age_bias = nn.Embedding(NUM_BUCKETS, tower.heads) if tower.ages else None
        self.step_bias = nn.Embedding(tower.history_length, tower.heads) if tower.block == "bert" else None
        self.bert = _bert(config) if tower.block == "bert" else None
        self.blocks = (
            None if self.bert else Blocks(width=width, layers=tower.layers, heads=tower.heads, dropout=tower.dropout)
        )
        self.out = nn.Linear(width, width)
        for table in (self.event, self.value, self.gap, self.newest_age):
            if table is not None:
                nn.init.normal_(table.weight, std=0.02)
        for bias in (self.age_bias, self.step_bias):
            if bias is not None:
                nn.init.zeros_(bias.weight)

    def forward(self, histories: Histories, item_vectors: Tensor) -> Tensor:
        """A vector for every position.

        Args:
            histories: B histories of H events, padded on either side.
            item_vectors: ``(B, H, D)`` unit vectors of their items.

        Returns:
            ``(B, H, D)`` unit vectors; what stands at padding means nothing.
        """
        inputs, steps, bias = self.read(histories, item_vectors)
        if self.bert is not None:
            hidden = self.bert(inputs_embeds=inputs, attention_mask=bias, position_ids=steps).last_hidden_state
        else:
            assert self.blocks is not None  # one of the two
            hidden = self.blocks(inputs, steps, bias)
        vectors: Tensor = F.normalize(self.out(hidden).float(), dim=-1)
        return vectors

    def read(self, histories: Histories, item_vectors: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """What the layers are given: inputs (B, H, D), the step of each event (B, H), and what biases attention."""
        real = histories.item_idx > 0  # (B, H)
        steps = (real.cumsum(1) - 1).clamp(min=0)  # counted from the oldest event, wherever the padding stands
        return self._inputs(histories, item_vectors), steps, self._attention_bias(histories, real)

    def _inputs(self, histories: Histories, item_vectors: Tensor) -> Tensor:  # (B, H, D)
        inputs: Tensor = self.item(item_vectors * math.sqrt(item_vectors.shape[-1]))
        if self.event is not None:
            inputs = inputs + self.event(histories.event)
        if self.value is not None:
            bucket = torch.bucketize(histories.value, self.value_edges) + 1
            inputs = inputs + self.value(bucket.masked_fill(histories.value.isnan(), 0))
        if self.gap is not None:
            inputs = inputs + self.gap(duration_bucket(_gaps(histories)))
        if self.newest_age is not None:
            inputs = inputs + self.newest_age(duration_bucket(histories.asked_at - histories.occurred_at))
        if self.calendar is not None:
            inputs = inputs + self.calendar(calendar_waves(histories.asked_at))
        if self.place is not None:
            inputs = inputs + self.place(histories)
        return inputs

    def _attention_bias(self, histories: Histories, real: Tensor) -> Tensor | None:  # (B, heads, H, H)
        unbiased = self.step_bias is None and self.age_bias is None
        if unbiased and not torch.compiler.is_exporting() and bool(real[:, 0].all()):
            return None  # padding stands on the right, where causality alone keeps it from being seen
        positions = torch.arange(real.shape[1], device=real.device)
        distance = positions[:, None] - positions  # (H, H); padding stands at one end, so it changes no distance
        bias = torch.zeros(1, 1, 1, 1, device=real.device)
        if self.step_bias is not None:
            bias = bias + self.step_bias(distance.clamp(0, len(self.step_bias.weight) - 1))[None]
        if self.age_bias is not None:
            age_s = histories.asked_at[:, :, None] - histories.occurred_at[:, None, :]
            bias = bias + self.age_bias(duration_bucket(age_s))
        visible = (distance >= 0) & real[:, None, :]
        # A finite floor: a padded query sees nothing at all, and softmax over nothing but −inf is not a number.
        return bias.permute(0, 3, 1, 2).masked_fill(~visible[:, None], -1e9)


def _bert(config: Config) -> "BertModel":
    """Untrained layers of BERT, which read vectors instead of words."""
    from transformers import BertConfig, BertModel  # seconds to import, and the other block needs none of it

    tower = config.user_tower
    bert = BertModel(
        BertConfig(
            vocab_size=1,
            hidden_size=config.width,
            num_hidden_layers=tower.layers,
            num_attention_heads=tower.heads,
            intermediate_size=4 * config.width,
            hidden_dropout_prob=tower.dropout,
            attention_probs_dropout_prob=0.0,
            max_position_embeddings=tower.history_length,
        ),
        add_pooling_layer=False,
    )
    bert.embeddings.word_embeddings.requires_grad_(False)  # never looked up: items come as vectors
    return bert


class TwoTower(nn.Module):
    """Both towers, and the features of the catalogue they were built for."""

    def __init__(self, item_tower: ItemTower, user_tower: UserTower) -> None:
        super().__init__()
        self.item_tower, self.user_tower = item_tower, user_tower

    def forward(
        self, features: ItemFeatures, item_idx: Tensor, histories: Histories, history_rows: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Both towers at once, as training needs them.

        Args:
            features: Of C items.
            item_idx: ``(C,)`` whose id embedding to add, 0 for none.
            histories: B histories of H events.
            history_rows: ``(B, H)`` where among the C each event's item stands.

        Returns:
            ``(B, H, D)`` a user vector for every position, ``(C, D)`` item vectors.
        """
        items = self.item_tower(features, item_idx)
        return self.user_tower(histories, F.embedding(history_rows, items)), items


def value_edges(values: npt.NDArray[np.float32], *, buckets: int = 10) -> Tensor:
    """Where to cut values into buckets of like size; a scale of few steps (ratings) gets a bucket per step.

    Example:
        >>> value_edges(np.array([1, 2, 2, 3, np.nan], np.float32)).tolist()
        [1.0, 2.0]
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return torch.zeros(0)
    cuts = np.unique(np.quantile(known, np.linspace(0, 1, buckets + 1), method="lower"))
    return torch.from_numpy(cuts[cuts < known.max()].astype(np.float32))


def _gaps(histories: Histories) -> Tensor:  # (B, H) seconds since the event before; 0 for the oldest
    before = torch.roll(histories.occurred_at, 1, dims=1)
    first = torch.roll(histories.item_idx, 1, dims=1) == 0
    first[:, 0] = True
    return (histories.occurred_at - before).masked_fill(first, 0)
