"""The things that can be recommended, numbered once for every room of the house.

Row number = item_idx = index id; row 0 is padding. N items fill rows 1..N.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from recsys.errors import InputError


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The items table, checked and numbered.

    Example:
        >>> films = Catalogue(item_ids=["", "alien", "heat"], titles=["", "Alien", "Heat"])
        >>> films.index_of("heat"), films.index_of("jaws"), len(films)
        (2, 0, 2)
    """

    item_ids: Sequence[str]
    """(N + 1,) outside names; row 0 is the empty string."""
    titles: Sequence[str] = ()
    """(N + 1,) what a person calls the item; empty where the table has none."""
    descriptions: Sequence[str] = ()
    """(N + 1,) longer text; empty where the table has none."""
    categories: Sequence[Sequence[str]] = ()
    """(N + 1,) the categories of each item, in the table's order, without repeats."""
    numbers: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    """Column name → (N + 1,) values; NaN where unknown."""
    vectors: npt.NDArray[np.float32] | None = None
    """(N + 1, V) ready-made vectors (images and other modalities); zero rows where unknown."""

    def __post_init__(self) -> None:
        rows = len(self.item_ids)
        for name in ("titles", "descriptions"):
            if not getattr(self, name):
                object.__setattr__(self, name, [""] * rows)
        if not self.categories:
            object.__setattr__(self, "categories", [()] * rows)
        idx_of = {item_id: idx for idx, item_id in enumerate(self.item_ids) if idx}
        object.__setattr__(self, "_idx_of", idx_of)
        if len(idx_of) != rows - 1:
            repeated = sorted({i for i in self.item_ids if list(self.item_ids).count(i) > 1})[:3]
            raise InputError(f"items: item_id {repeated} stands more than once. Keep one row per item.")

    def __len__(self) -> int:
        """N, without the padding row."""
        return len(self.item_ids) - 1

    def index_of(self, item_id: str) -> int:
        """The item_idx of an item_id, or 0 when the catalogue does not hold it."""
        idx_of: dict[str, int] = self._idx_of  # type: ignore[attr-defined]
        return idx_of.get(item_id, 0)

    def texts(self) -> list[str]:
        """(N + 1,) what the sentence encoder reads: title, categories and description in one line."""
        lines = []
        for title, categories, description in zip(self.titles, self.categories, self.descriptions, strict=True):
            lines.append(". ".join(part for part in (title, ", ".join(categories), description) if part))
        return lines
