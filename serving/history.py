"""One user's history as rows of the table: what the bundle holds of them, what was stored since, what a request brings.

It keeps the table's shape, so that a request is read by the very code that read the training rows.

An event may stand in the bundle and in the store: a training table was imported, or the store was exported and trained
on. It counts once, by the rule that makes a table's repeated rows count once: same item, instant, kind and value.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys.interactions import Interactions

_COLUMNS = ("item_idx", "occurred_at", "file_row", "event", "value", "lat", "lon")


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that a store or a request says the user did, in the numbers of the bundle."""

    item_idx: int
    event: int
    """Which of ``event_names``."""
    value: float
    """NaN where unknown."""
    occurred_at: int
    """Unix seconds, UTC."""
    lat: float = nan
    lon: float = nan


def bundle_rows(interactions: Interactions, user_id: str | None) -> Interactions:
    """All that a bundle holds of one user, oldest first; empty for nobody."""
    user_idx = None if user_id is None else interactions.user_index(user_id)
    rows = slice(0, 0) if user_idx is None else interactions.of_user(user_idx)
    return _taken(interactions, rows, user_ids=[user_id or ""])


def before(history: Interactions, instant: int) -> Interactions:
    """What one user did before an instant; all they did where there is no clock."""
    if history.occurred_at is None:
        return history
    return _taken(history, slice(0, int(np.searchsorted(history.occurred_at, instant, side="left"))))


def new_to(history: Interactions, events: Sequence[Event]) -> list[Event]:
    """Those events that a history does not hold already. Without a clock there is no telling, and all are new."""
    if history.occurred_at is None or not events:
        return list(events)
    shared = np.isin(history.occurred_at, [event.occurred_at for event in events])
    if not shared.any():
        return list(events)
    held = {
        _identity(int(item_idx), int(instant), int(kind), float(value))
        for item_idx, instant, kind, value in zip(
            history.item_idx[shared],
            history.occurred_at[shared],
            history.event[shared],
            history.value[shared],
            strict=True,
        )
    }
    return [event for event in events if _identity_of(event) not in held]


def merged(history: Interactions, events: Sequence[Event]) -> Interactions:
    """One user's history with stored events put where they happened; of one instant, those of the history come first.

    Without a clock they come after it.
    """
    whole = extended(history, events)
    if not events or whole.occurred_at is None:
        return whole
    return _taken(whole, np.argsort(whole.occurred_at, kind="stable"))


def extended(history: Interactions, events: Sequence[Event]) -> Interactions:
    """One user's history with events after it, in order of time; those of one instant keep their order."""
    if not events:
        return history
    events = sorted(events, key=lambda event: event.occurred_at)
    next_row = int(history.file_row.max(initial=-1)) + 1
    more = {
        "item_idx": [event.item_idx for event in events],
        "occurred_at": [event.occurred_at for event in events],
        "file_row": range(next_row, next_row + len(events)),
        "event": [event.event for event in events],
        "value": [event.value for event in events],
        "lat": [event.lat for event in events],
        "lon": [event.lon for event in events],
    }
    columns: dict[str, Any] = {
        name: np.concatenate([values, np.array(more[name], dtype=values.dtype)])
        for name in _COLUMNS
        if (values := getattr(history, name)) is not None
    }
    return replace(history, starts=np.array([0, len(history) + len(events)]), **columns)


def _taken(
    interactions: Interactions, rows: slice | npt.NDArray[np.intp], *, user_ids: Sequence[str] | None = None
) -> Interactions:
    """Rows of one user, as a table of their own."""
    columns: dict[str, Any] = {
        name: values[rows] for name in _COLUMNS if (values := getattr(interactions, name)) is not None
    }
    starts = np.array([0, len(columns["item_idx"])])
    return replace(interactions, user_ids=user_ids or interactions.user_ids, starts=starts, **columns)


def _identity_of(event: Event) -> tuple[int, int, int, float | None]:
    return _identity(event.item_idx, event.occurred_at, event.event, float(np.float32(event.value)))


def _identity(item_idx: int, occurred_at: int, kind: int, value: float) -> tuple[int, int, int, float | None]:
    return item_idx, occurred_at, kind, None if np.isnan(value) else value
