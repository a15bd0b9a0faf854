"""Checked interactions: every user's events, oldest first, as flat arrays.

Order is the table's order everywhere: by time (or position), and rows that share an instant keep the file's order.
E interactions, U users.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Interactions:
    """Interactions sorted by user, then time, then file order.

    User ``u`` owns the rows ``starts[u]:starts[u + 1]``, oldest first.
    """

    user_ids: Sequence[str]
    """(U,) outside names, in order of first appearance in the file."""
    starts: npt.NDArray[np.int64]
    """(U + 1,) where each user's rows begin."""
    item_idx: npt.NDArray[np.int32]
    """(E,) rows of the catalogue, 1..N."""
    occurred_at: npt.NDArray[np.int64] | None
    """(E,) unix seconds UTC; None where the table has only an order."""
    file_row: npt.NDArray[np.int64]
    """(E,) the row of the source table, 0-based: the tie-breaker of equal instants."""
    event: npt.NDArray[np.int16]
    """(E,) which of ``event_names`` happened."""
    event_names: Sequence[str]
    """Event types by number; a table without the column has the one type ``""``."""
    value: npt.NDArray[np.float32]
    """(E,) rating, amount, seconds, …; NaN where unknown."""
    lat: npt.NDArray[np.float32] | None = None
    """(E,) degrees north, NaN where unknown; None where the table has no places."""
    lon: npt.NDArray[np.float32] | None = None
    """(E,) degrees east."""

    def __len__(self) -> int:
        return len(self.item_idx)

    @property
    def user_idx(self) -> npt.NDArray[np.int32]:
        """(E,) the user of each row."""
        return np.repeat(np.arange(len(self.user_ids), dtype=np.int32), np.diff(self.starts))
