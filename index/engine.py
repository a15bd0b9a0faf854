"""What answers for a sealed block: the vectors themselves, or something quicker over them.

B queries, K answer length.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pyroaring import BitMap

from index.bitmaps import Slots
from index.neighbours import Scores, Vectors


class Engine(Protocol):
    """A searcher over the rows of one block."""

    exact: bool
    """Whether it finds what scoring every row finds."""
    takes_selector: bool
    """Whether ``search`` honours ``eligible``; where it does not, the caller over-fetches and verifies."""
    most: int
    """The largest k it can be asked for."""

    def search(
        self,
        queries: Vectors,  # (B, D)
        k: int,
        eligible: Sequence[BitMap] | None = None,  # B, one object where queries share a filter
        *,
        share: float = 1.0,
    ) -> tuple[Scores, Slots]:  # (B, K) each
        """Rows, best first; −1 where nothing more was found.

        Where the caller sifts the answer, ``share`` of the rows will count: the search is to be as much wider.
        """
        ...

    def cost_ns(self, queries: int, k: int, share: float = 1.0, *, selects: bool = False) -> float:
        """About how long a batch takes on one core when only a share of the rows counts.

        ``selects`` says that ``search`` is told which, and does not leave the sifting to its caller.

        The readings behind the constants: one core of a Xeon with AVX-512, 128-d. Their ratios choose the path.
        """
        ...

    def write(self, path: Path) -> None:
        """Write a file it can be mapped from again."""
        ...
