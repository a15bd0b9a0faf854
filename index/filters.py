"""What a query may be answered with: allow and deny lists, categories, numeric ranges.

N rows.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Filter:
    """All conditions hold together; an empty filter lets everything through.

    Example:
        >>> Filter(none_of={"horror"}, ranges={"year": (1990, None)}, deny=[7, 12]).deny
        [7, 12]
    """

    allow: Collection[int] | npt.NDArray[np.int64] | None = None
    """Only these ids; None lets all ids through, an empty list none."""
    deny: Collection[int] | npt.NDArray[np.int64] = ()
    """Not these ids: the user's seen items come here."""
    any_of: Collection[str] = ()
    """At least one of these categories, when any is named."""
    all_of: Collection[str] = ()
    """Every one of these categories."""
    none_of: Collection[str] = ()
    """None of these categories."""
    ranges: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    """Numeric column → (lowest, highest), both included; None leaves an end open. An unknown value never fits."""


@dataclass(frozen=True)
class Attributes:
    """What filters are tested against, row for row beside the vectors."""

    categories: Sequence[Collection[str]] = ()
    """(N,) the categories of each row; left out, no row has any."""
    numbers: Mapping[str, npt.NDArray[np.floating]] = field(default_factory=dict)
    """Column name → (N,) values; NaN where unknown."""
