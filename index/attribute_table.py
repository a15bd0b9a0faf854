"""The attributes of one block of rows: a bitmap of rows for each category, a column for each number.

Rows are appended and never changed. A reader passes the rows it may see, so one that came before an append is not
disturbed by it.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from index import bitmaps
from index.bitmaps import Slots
from index.filters import Attributes, Filter, SlotsOf, as_ids

Column = npt.NDArray[np.float64]


class AttributeTable:
    """Bitmaps and columns over the rows of a block."""

    def __init__(
        self, rows: int = 0, rows_of: dict[str, BitMap] | None = None, columns: dict[str, Column] | None = None
    ) -> None:
        self.rows = rows
        self.rows_of = {} if rows_of is None else rows_of
        self.columns = {} if columns is None else columns

    def append(self, attributes: Attributes, rows: int) -> None:
        """Add the attributes of ``rows`` further rows."""
        start, self.rows = self.rows, self.rows + rows
        for row, categories in enumerate(attributes.categories, start):
            for category in categories:
                self.rows_of.setdefault(category, BitMap()).add(row)
        for name in {*self.columns, *attributes.numbers}:
            self.columns[name] = column = _with_room(self.columns.get(name), self.rows)
            if name in attributes.numbers:
                column[start : self.rows] = attributes.numbers[name]

    def eligible(self, condition: Filter, visible: BitMap, slots_of: SlotsOf) -> BitMap:
        """The visible rows that a filter lets through."""
        rows = visible
        if condition.allow is not None:
            rows = rows & bitmaps.of_slots(slots_of(as_ids(condition.allow)), self.rows)
        if len(condition.deny):
            rows = rows - bitmaps.of_slots(slots_of(as_ids(condition.deny)), self.rows)
        if condition.any_of:
            rows = rows & BitMap.union(*map(self._rows_with, condition.any_of))
        for category in condition.all_of:
            rows = rows & self._rows_with(category)
        for category in condition.none_of:
            rows = rows - self._rows_with(category)
        for name, (low, high) in condition.ranges.items():
            rows = rows & self._rows_between(name, low, high)
        return rows

    def _rows_with(self, category: str) -> BitMap:
        return self.rows_of.get(category, BitMap())

    def _rows_between(self, name: str, low: float | None, high: float | None) -> BitMap:
        if name not in self.columns:
            return BitMap()
        column = self.columns[name]
        return bitmaps.of_mask(
            (column >= (-np.inf if low is None else low)) & (column <= (np.inf if high is None else high))
        )

    def of_rows(self, slots: Slots) -> Attributes:
        """The attributes of some rows, each named once, in the order given: what ``append`` took."""
        categories: list[list[str]] = [[] for _ in slots]
        wanted = bitmaps.of_slots(slots, self.rows)
        place_of = np.empty(self.rows, dtype=np.int64)
        place_of[slots] = np.arange(len(slots))
        for category, rows in self.rows_of.items():
            for place in place_of[bitmaps.slots_of(rows & wanted)].tolist():
                categories[place].append(category)
        return Attributes(categories, {name: column[slots] for name, column in self.columns.items()})

    @classmethod
    def gathered(cls, sources: Sequence[tuple[Self, Slots, Slots]], rows: int) -> Self:
        """A table of ``rows`` made of rows of others: each source gives (table, its rows, where they come to lie)."""
        rows_of: dict[str, BitMap] = {}
        columns: dict[str, Column] = {}
        for table, taken, placed in sources:
            size = table.rows
            place_of = np.full(size, -1, dtype=np.int64)
            place_of[taken] = placed
            for category, old in list(table.rows_of.items()):
                places = place_of[bitmaps.slots_of(old & bitmaps.of_range(size))]
                new = bitmaps.of_slots(places[places >= 0], rows)
                if new:
                    rows_of[category] = rows_of.get(category, BitMap()) | new
            for name, column in list(table.columns.items()):
                columns.setdefault(name, np.full(rows, np.nan))[placed] = column[taken]
        return cls(rows, rows_of, columns)


def write(table: AttributeTable, path: Path) -> None:
    """Write what ``read`` reads."""
    bodies = [rows.serialize() for rows in table.rows_of.values()]
    np.savez(
        path,
        rows=np.int64(table.rows),
        categories=_texts(table.rows_of),
        bitmap_ends=np.cumsum([len(body) for body in bodies], dtype=np.int64),
        bitmaps=np.frombuffer(b"".join(bodies), dtype=np.uint8),
        names=_texts(table.columns),
        columns=np.array([column[: table.rows] for column in table.columns.values()], dtype=np.float64),
    )


def read(path: Path) -> AttributeTable:
    """The table that ``write`` wrote."""
    with np.load(path, allow_pickle=False) as saved:
        bodies = np.split(saved["bitmaps"], saved["bitmap_ends"])[:-1]
        return AttributeTable(
            rows=int(saved["rows"]),
            rows_of={
                name: BitMap.deserialize(body.tobytes())
                for name, body in zip(_named(saved["categories"]), bodies, strict=True)
            },
            columns=dict(zip(_named(saved["names"]), saved["columns"], strict=True)),
        )


def _texts(names: Iterable[str]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(json.dumps(list(names)).encode(), dtype=np.uint8)


def _named(texts: npt.NDArray[np.uint8]) -> list[str]:
    names: list[str] = json.loads(texts.tobytes())
    return names


def _with_room(column: Column | None, rows: int) -> Column:
    if column is not None and len(column) >= rows:
        return column
    grown = np.full(max(rows, 2 * len(column) if column is not None else 0), np.nan)
    if column is not None:
        grown[: len(column)] = column
    return grown
