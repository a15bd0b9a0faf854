"""Pre-norm transformer blocks with rotary positions: the lighter alternative to BERT's layers in the user tower.

Steps between events are told by turning queries and keys, not by a bias, so where nothing else biases attention it runs
without any (H, H) matrix in memory.

Shapes: B histories, H events, A heads, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TURNS = 10_000.0
"""The slowest rotation takes 2π times as many steps."""


class Blocks(nn.Module):
    """A stack of causal blocks and a closing norm."""

    def __init__(self, *, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.head_width = width // heads
        self.blocks = nn.ModuleList(Block(width=width, heads=heads, dropout=dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor, steps: Tensor, bias: Tensor | None) -> Tensor:
        """What every position makes of itself and what came before.

        Args:
            inputs: ``(B, H, D)``.
            steps: ``(B, H)`` the place of each event in its history, 0 = the oldest.
            bias: ``(B, A, H, H)`` added to attention, causality included; None where histories are padded on the right
                and nothing but causality matters.

        Returns:
            ``(B, H, D)``.
        """
        hidden = self.dropout(inputs)
        turn = rotation(steps, self.head_width)
        for block in self.blocks:
            hidden = block(hidden, turn, bias)
        normed: Tensor = self.norm(hidden)
        return normed


class Block(nn.Module):
    """Attention, then a gated feed-forward; each reads a normed copy and adds to its input (Xiong et al., 2020)."""

    def __init__(self, *, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.joined = nn.Linear(width, width)
        # Two thirds of four widths: as many weights as a plain feed-forward of four (Shazeer, 2020).
        inner = 8 * width // 3 // 8 * 8
        self.gate_and_value, self.back = nn.Linear(width, 2 * inner), nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.query_key_value, self.joined, self.gate_and_value, self.back):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, hidden: Tensor, turn: Tensor, bias: Tensor | None) -> Tensor:
        """(B, H, D) → (B, H, D); `turn` is what `rotation` gives."""
        hidden = hidden + self.dropout(self._attend(self.before_attention(hidden), turn, bias))
        gate, value = self.gate_and_value(self.before_feed(hidden)).chunk(2, dim=-1)
        fed: Tensor = hidden + self.dropout(self.back(F.silu(gate) * value))
        return fed

    def _attend(self, normed: Tensor, turn: Tensor, bias: Tensor | None) -> Tensor:
        rows, length, width = normed.shape
        query, key, value = (
            part.view(rows, length, self.heads, -1).transpose(1, 2)  # (B, A, H, D / A)
            for part in self.query_key_value(normed).chunk(3, dim=-1)
        )
        query, key = turned(query, turn), turned(key, turn)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, is_causal=bias is None)
        joined: Tensor = self.joined(seen.transpose(1, 2).reshape(rows, length, width))
        return joined


def rotation(steps: Tensor, size: int) -> Tensor:
    """By how much each step turns the pairs of a query or key of so many numbers (Su et al., RoFormer, 2021, 3.2.2).

    Returns:
        ``(2, B, 1, H, size / 2)`` cosines and sines of the angles.
    """
    speed = TURNS ** -(torch.arange(0, size, 2, device=steps.device) / size)
    angle = steps[:, None, :, None] * speed
    return torch.stack([angle.cos(), angle.sin()])


def turned(vectors: Tensor, turn: Tensor) -> Tensor:
    """Queries or keys (B, A, H, S), S even, turned by their positions: their products then tell steps apart alone."""
    (cosine, sine), (first, second) = turn, vectors.float().chunk(2, dim=-1)
    both = torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)
    return both.to(vectors.dtype)
