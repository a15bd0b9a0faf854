"""The user tower at the newest event alone, which is all that serving asks: the last block answers for one position.

It still reads every event, as keys and values, but of its weights one in six is then applied to all of them, so of the
work of two blocks about two fifths go. The same holds of BERT's layers.

Shapes: B histories, H events, A heads, D width.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys.blocks import Block, Blocks, rotation, turned
from recsys.histories import Histories
from recsys.towers import UserTower

if TYPE_CHECKING:
    from transformers import BertModel


def newest_vectors(tower: UserTower, histories: Histories, item_vectors: Tensor) -> Tensor:  # (B, D)
    """What the tower gives for the newest event of each history, up to rounding.

    Args:
        tower: In evaluation mode.
        histories: B histories of H events, padded on either side.
        item_vectors: ``(B, H, D)`` unit vectors of their items.
    """
    rows = torch.arange(histories.item_idx.shape[0], device=item_vectors.device)
    inputs, steps, bias = tower.read(histories, item_vectors)
    if tower.bert is not None:
        assert bias is not None  # BERT's layers know of causality by nothing else
        hidden = _last_of_bert(tower.bert, inputs, steps, bias, rows, histories.newest)
    else:
        assert tower.blocks is not None  # one of the two
        hidden = _last_hidden(tower.blocks, inputs, steps, bias, rows, histories.newest)
    return F.normalize(tower.out(hidden).float(), dim=-1)


def _last_of_bert(
    bert: "BertModel", inputs: Tensor, steps: Tensor, bias: Tensor, rows: Tensor, newest: Tensor
) -> Tensor:  # (B, D)
    hidden = bert.embeddings(inputs_embeds=inputs, position_ids=steps)
    layers: list[Any] = list(bert.encoder.layer)
    *layers, last = layers
    for layer in layers:
        hidden = layer(hidden, bias)
    attention, asked = last.attention.self, hidden[rows, newest][:, None]  # (B, 1, D)
    query, key, value = (
        _by_head(part, attention.num_attention_heads)
        for part in (attention.query(asked), attention.key(hidden), attention.value(hidden))
    )
    found = F.scaled_dot_product_attention(query, key, value, attn_mask=bias[rows, :, newest][:, :, None])
    attended = last.attention.output(found.transpose(1, 2).flatten(2), asked)
    fed: Tensor = last.feed_forward_chunk(attended)
    return fed[:, 0]


def _last_hidden(
    stack: Blocks, inputs: Tensor, steps: Tensor, bias: Tensor | None, rows: Tensor, newest: Tensor
) -> Tensor:  # (B, D)
    hidden, turn = inputs, rotation(steps, stack.head_width)
    *blocks, last = stack.blocks
    for block in blocks:
        hidden = block(hidden, turn, bias)
    if bias is None:
        later = torch.arange(hidden.shape[1], device=hidden.device) > newest[:, None]  # (B, H)
        seen = torch.zeros(later.shape, device=hidden.device).masked_fill(later, -1e9)[:, None, None]
    else:
        seen = bias[rows, :, newest][:, :, None]  # (B, A, 1, H)
    assert isinstance(last, Block)
    normed: Tensor = stack.norm(_block_at(last, hidden, turn, seen, rows, newest))
    return normed[:, 0]


def _block_at(block: Block, hidden: Tensor, turn: Tensor, seen: Tensor, rows: Tensor, newest: Tensor) -> Tensor:
    """(B, H, D) → (B, 1, D): what `Block` makes of one position of each history."""
    width = hidden.shape[-1]
    normed, all_three = block.before_attention(hidden), block.query_key_value
    asked = F.linear(normed[rows, newest][:, None], all_three.weight[:width], all_three.bias[:width])  # (B, 1, D)
    told = F.linear(normed, all_three.weight[width:], all_three.bias[width:])  # (B, H, 2 D)
    query, key, value = (_by_head(part, block.heads) for part in (asked, *told.chunk(2, dim=-1)))
    query = turned(query, turn[:, rows, :, newest].transpose(0, 1)[:, :, :, None])
    found = F.scaled_dot_product_attention(query, turned(key, turn), value, attn_mask=seen)  # (B, A, 1, D / A)
    hidden = hidden[rows, newest][:, None] + block.joined(found.transpose(1, 2).flatten(2))
    gate, value = block.gate_and_value(block.before_feed(hidden)).chunk(2, dim=-1)
    fed: Tensor = hidden + block.back(F.silu(gate) * value)
    return fed


def _by_head(vectors: Tensor, heads: int) -> Tensor:
    """(B, H, D) → (B, A, H, D / A)."""
    rows, length, _ = vectors.shape
    return vectors.view(rows, length, heads, -1).transpose(1, 2)
