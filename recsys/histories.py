"""Histories as padded tensors: what the user tower reads, and the windows of the table it learns from.

Shapes: B histories, H events, the oldest first. Rows are padded on the right; item_idx 0 marks padding.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from recsys.interactions import Interactions
from recsys.split import Cases


@dataclass(frozen=True, eq=False)
class Histories:
    """A batch of histories. Every position also says when it is asked for what comes next."""

    item_idx: Tensor
    """(B, H) int64 rows of the catalogue; 0 is padding."""
    event: Tensor
    """(B, H) int64 event type, 0 = the first of ``event_names``."""
    value: Tensor
    """(B, H) float32; NaN where unknown."""
    occurred_at: Tensor
    """(B, H) int64 unix seconds; all 0 where there is no clock."""
    asked_at: Tensor
    """(B, H) int64 the instant of the request that the history up to this event answers: in training the time of the
    event that followed, for the newest event ``requested_at``."""

    def __getitem__(self, rows: Tensor) -> "Histories":
        return replace(self, **{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def to(self, device: torch.device | str) -> "Histories":
        """The same histories on another device."""
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    @property
    def newest(self) -> Tensor:
        """(B,) the position of each newest event."""
        positions = torch.arange(self.item_idx.shape[1], device=self.item_idx.device)
        return torch.where(self.item_idx > 0, positions, 0).amax(1)


def gather_histories(
    interactions: Interactions,
    starts: npt.NDArray[np.int64],  # (B,)
    stops: npt.NDArray[np.int64],  # (B,)
    *,
    length: int,
    requested_at: npt.NDArray[np.int64] | None,  # (B,)
) -> Histories:
    """The newest ``length`` events of each ``rows starts[b]:stops[b]``, padded to the longest of them.

    Without ``requested_at`` every position is asked at its own event's instant; with it, at the instant of the event
    that followed, and the newest at ``requested_at``.
    """
    starts = np.maximum(starts, stops - length)
    lengths = stops - starts
    columns = np.arange(max(int(lengths.max(initial=0)), 1))
    real = columns < lengths[:, None]  # (B, H)
    rows = np.where(real, starts[:, None] + columns, 0)

    def column(values: npt.NDArray[np.generic], dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(np.where(real, values[rows], 0)).to(dtype)

    occurred_at = interactions.occurred_at
    if occurred_at is None:
        occurred_at = np.zeros(len(interactions), np.int64)
    occurred = column(occurred_at, torch.int64)
    return Histories(
        item_idx=column(interactions.item_idx, torch.int64),
        event=column(interactions.event, torch.int64),
        value=column(interactions.value, torch.float32),
        occurred_at=occurred,
        asked_at=occurred if requested_at is None else ask_when_next(occurred, torch.from_numpy(requested_at), lengths),
    )


def stacked(histories: Sequence[Histories]) -> Histories:  # (the sum of their B, the longest H)
    """Several batches as one, padded to the longest."""
    length = max(batch.item_idx.shape[1] for batch in histories)

    def column(name: str) -> Tensor:
        return torch.cat([F.pad(rows, (0, length - rows.shape[1])) for rows in (getattr(b, name) for b in histories)])

    return Histories(**{f.name: column(f.name) for f in fields(Histories)})


def newest_events(histories: Histories, length: int) -> Histories:
    """The newest events alone, at most ``length`` of each, padded on the right."""
    count = (histories.item_idx > 0).sum(1, keepdim=True)
    columns = torch.arange(min(length, histories.item_idx.shape[1]))
    place = (count - length).clamp(min=0) + columns
    real = place < count

    def column(rows: Tensor) -> Tensor:
        return rows.gather(1, place.clamp(max=rows.shape[1] - 1)).masked_fill(~real, 0)

    return Histories(**{f.name: column(getattr(histories, f.name)) for f in fields(Histories)})


def case_histories(interactions: Interactions, cases: Cases, *, length: int, request_time: bool = False) -> Histories:
    """The newest events of every case; without ``request_time`` it is asked at the instant of the newest."""
    asked = cases.requested_at if request_time else None
    return gather_histories(interactions, cases.starts, cases.stops, length=length, requested_at=asked)


def ask_when_next(
    occurred_at: Tensor,  # (B, H)
    requested_at: Tensor,  # (B,)
    lengths: npt.NDArray[np.int64],  # (B,)
) -> Tensor:  # (B, H)
    """Each position is asked when the next event happens; the newest one when the request comes."""
    asked_at = torch.roll(occurred_at, -1, dims=1)
    newest = torch.from_numpy(np.maximum(lengths - 1, 0))
    asked_at[torch.arange(len(asked_at)), newest] = requested_at
    return asked_at


@dataclass(frozen=True, eq=False)
class Windows:
    """Stretches of users' rows to learn from: each event of a window but the first is once a target.

    Long users give several windows, so that every event is a target exactly once.
    """

    starts: npt.NDArray[np.int64]
    """(W,) first row of the window."""
    stops: npt.NDArray[np.int64]
    """(W,) one past the last row, the newest target."""
    user_starts: npt.NDArray[np.int64]
    """(W,) first row of the window's user: what came before the window was seen as well."""

    def __len__(self) -> int:
        return len(self.starts)


def training_windows(interactions: Interactions, *, length: int) -> Windows:
    """Cut every user's rows into windows of at most ``length`` inputs, the newest window full.

    Example:
        A user with five events and a length of two gives inputs 3→4, 4→5 and, before them, 1→2, 2→3.
    """
    starts, stops, user_starts = [], [], []
    for first, last in zip(interactions.starts[:-1], interactions.starts[1:], strict=True):
        stop = int(last)
        while stop - first > 1:
            start = max(int(first), stop - length - 1)
            starts.append(start)
            stops.append(stop)
            user_starts.append(int(first))
            stop = start + 1
    return Windows(*(np.array(rows, dtype=np.int64) for rows in (starts, stops, user_starts)))


def window_batches(
    windows: Windows, *, batch_events: int, rng: np.random.Generator
) -> list[npt.NDArray[np.int64]]:  # of (B,) rows of windows
    """All windows once, in random order, those of like length together so that little is padding.

    A batch holds as many histories as ``batch_events`` events, padding included, allow: a step over short histories
    then learns from as much as a step over long ones. A longer history is a batch of its own.
    """
    lengths = windows.stops - windows.starts - 1
    # Half a doubling of noise: batches differ from epoch to epoch and still waste little.
    order = np.argsort(np.log2(lengths) + rng.uniform(0, 0.5, len(windows)), kind="stable")
    batches, first, longest = [], 0, 0
    for at, length in enumerate(lengths[order].tolist()):
        longest = max(longest, length)
        if at > first and longest * (at + 1 - first) > batch_events:
            batches.append(order[first:at])
            first, longest = at, length
    batches.append(order[first:])
    return [batches[which] for which in rng.permutation(len(batches))]
