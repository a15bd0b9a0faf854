"""The things that can be recommended, numbered once for every room of the house.

Row number = item_idx = index id; row 0 is padding. N items fill rows 1..N. V: width of a ready-made vector.
R rows of the table, good and bad.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.checks import CheckReport, Rule, repeated, set_aside
from recsys.errors import InputError
from recsys.tables import Source, Table, blank, names, numbers, read_table

COLUMNS = ("item_id", "title", "description", "categories", "vector")
CATEGORY_SEPARATOR = "|"
NUMBER_PREFIX = "number:"
"""In a saved catalogue; keeps a number that is called title apart from the titles."""


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
        if len(self._idx_of) != rows - 1:
            repeated_ids = [item_id for item_id, count in Counter(self.item_ids).items() if count > 1][:3]
            raise InputError(f"items: item_id {repeated_ids} stands more than once. Keep one row per item.")

    def __len__(self) -> int:
        """N, without the padding row."""
        return len(self.item_ids) - 1

    def index_of(self, item_id: str) -> int:
        """The item_idx of an item_id, or 0 when the catalogue does not hold it."""
        return self._idx_of.get(item_id, 0)

    @cached_property
    def _idx_of(self) -> dict[str, int]:
        return {item_id: idx for idx, item_id in enumerate(self.item_ids) if idx}

    def texts(self) -> list[str]:
        """(N + 1,) what the sentence encoder reads: title, categories and description in one line."""
        lines = []
        for title, categories, description in zip(self.titles, self.categories, self.descriptions, strict=True):
            lines.append(". ".join(part for part in (title, ", ".join(categories), description) if part))
        return lines

    def to_frame(self) -> pl.DataFrame:
        """(N + 1,) the catalogue as a table, padding row first, so that row number = item_idx."""
        text = {"item_id": self.item_ids, "title": self.titles, "description": self.descriptions}
        columns = [pl.Series(name, list(cells), dtype=pl.String) for name, cells in text.items()]
        columns.append(pl.Series("categories", list(map(list, self.categories)), dtype=pl.List(pl.String)))
        columns += [pl.Series(NUMBER_PREFIX + name, values, dtype=pl.Float32) for name, values in self.numbers.items()]
        if self.vectors is not None:
            columns.append(pl.Series("vector", self.vectors, dtype=pl.Array(pl.Float32, self.vectors.shape[1])))
        return pl.DataFrame(columns)

    def save(self, path: Path) -> None:
        """Write the catalogue as Parquet; :func:`load_catalogue` gives back the same, bit for bit."""
        self.to_frame().write_parquet(path)


def load_catalogue(path: Path) -> Catalogue:
    """The catalogue that :meth:`Catalogue.save` wrote."""
    frame = pl.read_parquet(path)
    numeric = [name for name in frame.columns if name.startswith(NUMBER_PREFIX)]
    return Catalogue(
        item_ids=frame["item_id"].to_list(),
        titles=frame["title"].to_list(),
        descriptions=frame["description"].to_list(),
        categories=[tuple(categories) for categories in frame["categories"].to_list()],
        numbers={name.removeprefix(NUMBER_PREFIX): frame[name].to_numpy() for name in numeric},
        vectors=frame["vector"].to_numpy() if "vector" in frame.columns else None,
    )


def read_catalogue(
    source: Source,
    *,
    columns: Mapping[str, str] | None = None,
    strict: bool = False,
    quarantine: Path | None = None,
) -> tuple[Catalogue, CheckReport]:
    """Read, check and number an items table.

    It needs item_id; title, description, categories (a list, or text split at ``|``), vector (a list of numbers) and
    every numeric or boolean column are taken where they are. Of rows that share an item_id the first counts.

    Args:
        source: A path or a frame.
        columns: Our name → the table's name, where they differ; an empty name leaves a column unread.
        strict: Refuse a table with any bad row.
        quarantine: Where the bad rows go (.parquet or .csv), if there are any.

    Returns:
        The catalogue, items in the table's order, and what was found.

    Raises:
        InputError: The table cannot be read, lacks item_id, or no row is left.

    Example:
        >>> films = pl.DataFrame({"item_id": [1, 2], "title": ["Heat", "Ran"], "categories": ["Crime|Drama", "War"]})
        >>> catalogue, report = read_catalogue(films)
        >>> catalogue.texts(), report.ok
        (['', 'Heat. Crime, Drama', 'Ran. War'], True)
    """
    table = read_table(source, columns=columns, text=COLUMNS)
    item_ids = names(table.cells("item_id"))
    values = {ours: numbers(table.cells(ours)).cast(pl.Float32) for ours in _numeric_columns(table)}
    vectors = _lists_of_floats(table) if table.has("vector") else None
    theirs = [table.theirs("item_id")]
    rules = [
        Rule(theirs, "missing", item_ids.is_null()),
        *(
            Rule([table.theirs(ours)], "infinite, or too large", column.is_infinite())
            for ours, column in values.items()
        ),
        *(_vector_rules([table.theirs("vector")], vectors) if vectors is not None else ()),
    ]
    rules.append(Rule(theirs, "duplicate of an earlier row", repeated(item_ids.to_frame(), rules)))
    unread = {name: _why_unread(table.frame[name]) for name in table.unread([*COLUMNS, *values])}
    good, report = set_aside(table, rules, unread_columns=unread, strict=strict, quarantine=quarantine)
    catalogue = Catalogue(
        item_ids=["", *item_ids.filter(good)],
        titles=["", *_texts(table, "title").filter(good)],
        descriptions=["", *_texts(table, "description").filter(good)],
        categories=[(), *_categories(table, good)],
        numbers={ours: _padded(column.filter(good)) for ours, column in values.items()},
        vectors=None if vectors is None else _matrix(vectors.filter(good)),
    )
    return catalogue, report


def _numeric_columns(table: Table) -> list[str]:
    """Our names of the columns that hold numbers or truth values, and that the column map lets be read."""
    ours_of = {theirs: ours for ours, theirs in table.columns.items()}
    numeric = [column.name for column in table.frame if column.dtype.is_numeric() or column.dtype == pl.Boolean]
    named = {theirs: ours_of.get(theirs, theirs) for theirs in numeric}
    return [ours for theirs, ours in named.items() if ours not in COLUMNS and table.theirs(ours) == theirs]


def _why_unread(column: pl.Series) -> str:
    """What an unread column holds; a few odd cells are often all that makes a column of numbers text."""
    if column.dtype != pl.String:
        return str(column.dtype)
    filled = ~blank(column)
    odd = filled & numbers(column).is_null()
    if not odd.any():
        return "text, though every cell is a number" if filled.any() else "empty"
    if odd.sum() * 2 < filled.sum():
        row = int(odd.arg_true()[0])
        return f"text, since row {row} holds {column[row]}"
    return "text"


def _lists_of_floats(table: Table) -> pl.Series:
    """(R,) the vectors as lists of Float32, null where there is none."""
    column = table.column("vector")
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    known = isinstance(column.dtype, pl.List) and column.dtype.inner.is_numeric()
    if not known and column.dtype != pl.Null:
        raise InputError(
            f"{table.place}: column {column.name} holds {column.dtype}. "
            "Give a list of numbers in each row, for which a file must be .parquet or .jsonl."
        )
    return column.cast(pl.List(pl.Float32))


def _vector_rules(theirs: Sequence[str], vectors: pl.Series) -> list[Rule]:
    finite = vectors.list.eval(pl.element().is_finite().fill_null(False)).list.all()
    width = vectors.list.len()
    usual = _usual_width(vectors)
    return [Rule(theirs, f"not {usual} numbers", width != usual), Rule(theirs, "not all finite", ~finite)]


def _usual_width(vectors: pl.Series) -> int:
    """The width most vectors have; the larger of two that are equally common."""
    widths = vectors.list.len().drop_nulls().mode()
    return int(widths.to_numpy().max(initial=0))


def _texts(table: Table, ours: str) -> pl.Series:
    """(R,) a text column, empty where there is none."""
    if not table.has(ours):
        return pl.repeat("", len(table.frame), eager=True)
    return table.cells(ours).cast(pl.String).fill_null("")


def _categories(table: Table, good: pl.Series) -> list[tuple[str, ...]]:
    """(N,) the categories of the good rows, without blanks and repeats."""
    if not table.has("categories"):
        return [()] * int(good.sum())
    column = table.column("categories").filter(good)
    if not column.dtype.is_nested():
        column = column.cast(pl.String).str.split(CATEGORY_SEPARATOR)
    if not (isinstance(column.dtype, pl.List) and not column.dtype.inner.is_nested()):
        raise InputError(
            f"{table.place}: column {column.name} holds {column.dtype}. "
            f"Give a list of texts in each row, or one text with {CATEGORY_SEPARATOR} between the categories."
        )
    stripped = column.cast(pl.List(pl.String)).list.eval(pl.element().str.strip_chars())
    return [tuple(dict.fromkeys(filter(None, cell or ()))) for cell in stripped.to_list()]


def _padded(column: pl.Series) -> npt.NDArray[np.float32]:
    """(N + 1,) with NaN for the padding row and every unknown value."""
    return np.concatenate([[np.nan], column.to_numpy()]).astype(np.float32)


def _matrix(vectors: pl.Series) -> npt.NDArray[np.float32] | None:
    """(N + 1, V) with zeros for the padding row and every unknown vector; None where none is known."""
    known, width = vectors.drop_nulls(), _usual_width(vectors)
    if not width:
        return None
    matrix = np.zeros((len(vectors) + 1, width), dtype=np.float32)
    matrix[1:][vectors.is_not_null().to_numpy()] = known.explode().to_numpy().reshape(-1, width)
    return matrix
