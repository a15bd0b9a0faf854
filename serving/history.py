"""One user's history as rows of the table: what is stored of them, then what a request brings.

It keeps the table's shape, so that a request is read by the very code that read the training rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recsys.interactions import Interactions

_COLUMNS = ("item_idx", "occurred_at", "file_row", "event", "value", "lat", "lon")


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something a request says the user did, in the numbers of the bundle."""

    item_idx: int
    event: int
    """Which of ``event_names``."""
    value: float
    """NaN where unknown."""
    occurred_at: int
    """Unix seconds, UTC."""


def stored_history(interactions: Interactions, user_id: str | None, *, before: int) -> Interactions:
    """What one user did before an instant, oldest first; all they did where there is no clock. Empty for nobody."""
    user_idx = None if user_id is None else interactions.user_index(user_id)
    rows = slice(0, 0) if user_idx is None else interactions.of_user(user_idx)
    if interactions.occurred_at is not None:
        earlier = int(np.searchsorted(interactions.occurred_at[rows], before, side="left"))
        rows = slice(rows.start, rows.start + earlier)
    columns: dict[str, Any] = {
        name: values[rows] for name in _COLUMNS if (values := getattr(interactions, name)) is not None
    }
    return replace(interactions, user_ids=[user_id or ""], starts=np.array([0, rows.stop - rows.start]), **columns)


def extended(history: Interactions, events: Sequence[Event]) -> Interactions:
    """One user's history with events after it, in order of time; those of one instant keep their order."""
    events = sorted(events, key=lambda event: event.occurred_at)
    next_row = int(history.file_row.max(initial=-1)) + 1
    more = {
        "item_idx": [event.item_idx for event in events],
        "occurred_at": [event.occurred_at for event in events],
        "file_row": range(next_row, next_row + len(events)),
        "event": [event.event for event in events],
        "value": [event.value for event in events],
        "lat": [np.nan] * len(events),
        "lon": [np.nan] * len(events),
    }
    columns: dict[str, Any] = {
        name: np.concatenate([values, np.array(more[name], dtype=values.dtype)])
        for name in _COLUMNS
        if (values := getattr(history, name)) is not None
    }
    return replace(history, starts=np.array([0, len(history) + len(events)]), **columns)
