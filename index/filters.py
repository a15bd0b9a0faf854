"""What a query may be answered with: allow and deny lists, categories, numeric ranges.

N rows.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from index.errors import VectorIndexError

IdList = Collection[int] | npt.NDArray[np.integer]
Range = tuple[float | None, float | None]


@dataclass(frozen=True)
class Filter:
    """All conditions hold together; an empty filter lets everything through.

    Example:
        >>> Filter(none_of={"horror"}, ranges={"year": (1990, None)}, deny=[7, 12]).deny
        [7, 12]
    """

    allow: IdList | None = None
    """Only these ids; None lets all ids through, an empty list none."""
    deny: IdList = ()
    """Not these ids: the user's seen items come here."""
    any_of: Collection[str] = ()
    """At least one of these categories, when any is named."""
    all_of: Collection[str] = ()
    """Every one of these categories."""
    none_of: Collection[str] = ()
    """None of these categories."""
    ranges: Mapping[str, Range] = field(default_factory=dict)
    """Numeric column → (lowest, highest), both included; None leaves an end open. An unknown value never fits."""

    def __post_init__(self) -> None:
        for name in ("any_of", "all_of", "none_of"):
            if isinstance(getattr(self, name), str):
                raise VectorIndexError(
                    f"filter, {name}: {getattr(self, name)!r} is one string. Give a list of categories, even of one."
                )


@dataclass(frozen=True)
class Attributes:
    """What filters are tested against, row for row beside the vectors."""

    categories: Sequence[Collection[str]] = ()
    """(N,) the categories of each row; left out, no row has any."""
    numbers: Mapping[str, npt.NDArray[np.floating] | Sequence[float]] = field(default_factory=dict)
    """Column name → (N,) values; NaN where unknown."""

    def part(self, rows: slice) -> "Attributes":
        """Those of some rows."""
        return Attributes(self.categories[rows], {name: column[rows] for name, column in self.numbers.items()})


def as_ids(ids: IdList) -> npt.NDArray[np.int64]:
    """(n,) the ids of any collection."""
    if isinstance(ids, np.ndarray):
        return ids.astype(np.int64, copy=False).reshape(-1)
    return np.fromiter(ids, dtype=np.int64, count=len(ids))


SlotsOf = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.int64]]
"""From ids to the rows of a block that hold them; ids the block does not hold are left out."""
