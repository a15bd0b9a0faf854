"""Time as numbers a network can learn from: gaps and ages in log buckets, the calendar as waves.

Shapes: any leading ``...``; results add one axis where they say so.
"""

import math

import torch
from torch import Tensor

NUM_BUCKETS = 64
"""Log buckets of a duration: 1.5 to a doubling, so that 64 reach 49,000 years from one second."""

_DAY_S = 86_400.0
_PERIODS_S = (_DAY_S, 7 * _DAY_S, 365.2425 * _DAY_S)
_WAVES = (1, 2, 3)
CALENDAR_WIDTH = 2 * len(_PERIODS_S) * len(_WAVES)


def duration_bucket(duration_s: Tensor) -> Tensor:
    """Log bucket of a duration: 0 below one second, then 1.5 buckets to a doubling.

    Args:
        duration_s: ``(...)`` seconds; what is negative counts as 0.

    Returns:
        ``(...)`` int64 in ``[0, NUM_BUCKETS)``.

    Example:
        >>> duration_bucket(torch.tensor([0, 1, 60, 86_400])).tolist()
        [0, 1, 9, 25]
    """
    return (1.5 * torch.log2(duration_s.clamp(min=0.5).float()) + 1.0).clamp(0, NUM_BUCKETS - 1).long() * (
        duration_s >= 1
    )


def calendar_waves(instant: Tensor) -> Tensor:
    """Hour of day, day of week and season of an instant, each as three sine and cosine waves.

    Args:
        instant: ``(...)`` unix seconds, UTC, int64.

    Returns:
        ``(..., CALENDAR_WIDTH)`` float32 in [-1, 1].
    """
    # The remainder is taken in integers: float32 holds today's unix time only to 128 seconds.
    turns = [torch.remainder(instant, round(period)).float() / period for period in _PERIODS_S]
    angles = [2 * math.pi * wave * turn for turn in turns for wave in _WAVES]
    return torch.stack([trig(angle) for angle in angles for trig in (torch.sin, torch.cos)], dim=-1)
