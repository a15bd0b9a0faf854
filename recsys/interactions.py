"""Checked interactions: every user's events, oldest first, as flat arrays.

Order is the table's order everywhere: by time (or position), and rows that share an instant keep the file's order.
E interactions, U users, R rows of the table, good and bad.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.catalogue import Catalogue
from recsys.checks import CheckReport, Rule, apply_rules
from recsys.errors import InputError
from recsys.instants import UNIT_NAMES, TimeUnit, finer_unit, unix_seconds, year_of
from recsys.tables import Source, Table, names, numbers, read_table

COLUMNS = ("user_id", "item_id", "occurred_at", "position", "event", "value", "lat", "lon")
DAY_S = 86_400


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

    def of_user(self, user_idx: int) -> slice:
        """The rows of one user, oldest first."""
        return slice(int(self.starts[user_idx]), int(self.starts[user_idx + 1]))

    def user_index(self, user_id: str) -> int | None:
        """The user_idx of a user_id, or None when nobody of that name has done anything."""
        return self._user_idx_of.get(user_id)

    @cached_property
    def _user_idx_of(self) -> dict[str, int]:
        return {user_id: user_idx for user_idx, user_id in enumerate(self.user_ids)}


def read_interactions(
    source: Source,
    catalogue: Catalogue | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    time_unit: TimeUnit = "s",
    now: int | None = None,
    strict: bool = False,
    quarantine: Path | None = None,
) -> tuple[Interactions, Catalogue, CheckReport]:
    """Read, check, number and sort an interactions table.

    It needs user_id, item_id and occurred_at, or position where there is no clock; event, value, lat and lon are
    taken where they are. Bad rows are left out, counted in the report and written to the quarantine file.

    Args:
        source: A path or a frame.
        catalogue: The items; an interaction with any other is a bad row. Without one, every item seen is an item.
        columns: Our name → the table's name, where they differ.
        time_unit: What one step of a numeric occurred_at is.
        now: Unix seconds; an event more than a day later is a bad row.
        strict: Refuse a table with any bad row.
        quarantine: Where the bad rows go (.parquet or .csv), if there are any.

    Returns:
        The interactions, the catalogue their item_idx refers to, and what was found.

    Raises:
        InputError: The table cannot be read, lacks a column, tells its times in another unit, or no row is left.

    Example:
        >>> visits = pl.DataFrame({"uid": [7, 7, 8], "item_id": ["tea", "ink", None], "position": [2, 1, 1]})
        >>> interactions, catalogue, report = read_interactions(visits, columns={"user_id": "uid"})
        >>> [catalogue.item_ids[idx] for idx in interactions.item_idx]
        ['ink', 'tea']
        >>> print(report)
        the polars table: 2 of 3 rows kept
          item_id: missing in 1 row (row 2: nothing)
    """
    table = read_table(source, columns=_known(columns or {}), text=COLUMNS)
    parsed = _parse(table, time_unit)
    unknown_item = _unknown(parsed["item_id"], catalogue)
    rules = [
        _missing(table, "user_id", parsed),
        _missing(table, "item_id", parsed),
        *_order_rules(table, parsed, time_unit, now=int(time.time()) if now is None else now),
        Rule(table.theirs("item_id"), "unknown item", unknown_item),
        *_number_rules(table, parsed),
    ]
    rules.append(Rule(table.theirs("user_id"), "duplicate of an earlier row", _repeated(parsed, rules)))
    unused = table.unused(COLUMNS) + _position_beside_a_clock(table)
    kept, report = apply_rules(table, rules, unused_columns=unused, strict=strict, quarantine=quarantine)
    good = parsed.filter(pl.Series(kept))
    if catalogue is None:
        catalogue = Catalogue(item_ids=["", *good["item_id"].unique(maintain_order=True)])
    return _sorted_interactions(good, catalogue), catalogue, report


def _known(columns: Mapping[str, str]) -> Mapping[str, str]:
    for ours in columns:
        if ours not in COLUMNS:
            raise InputError(f"--column {ours}=…: interactions have no {ours}. They have {', '.join(COLUMNS)}.")
    return columns


def _parse(table: Table, time_unit: TimeUnit) -> pl.DataFrame:
    """(R,) our columns in our types, null where a cell does not hold what it should."""
    parsed = {"user_id": names(table.cells("user_id")), "item_id": names(table.cells("item_id"))}
    if table.has("occurred_at"):
        parsed["occurred_at"] = unix_seconds(table.cells("occurred_at"), unit=time_unit)
    elif table.has("position"):
        parsed["position"] = numbers(table.cells("position"))
    else:
        raise InputError(
            f"{table.place}: there is neither occurred_at nor position. Found: {', '.join(table.frame.columns)}.\n"
            "Name the time with --column occurred_at=THAT_NAME, or add a position column that counts each user's rows."
        )
    if table.has("event"):
        parsed["event"] = names(table.cells("event")).fill_null("")
    parsed |= {ours: numbers(table.cells(ours)) for ours in ("value", "lat", "lon") if table.has(ours)}
    return pl.DataFrame(parsed).with_row_index("file_row")


def _missing(table: Table, ours: str, parsed: pl.DataFrame) -> Rule:
    return Rule(table.theirs(ours), "missing", parsed[ours].is_null())


def _order_rules(table: Table, parsed: pl.DataFrame, time_unit: TimeUnit, *, now: int) -> list[Rule]:
    """What can be wrong with the column that orders the rows."""
    ours = "occurred_at" if "occurred_at" in parsed.columns else "position"
    theirs, cells, order = table.theirs(ours), table.cells(ours), parsed[ours]
    rules = [Rule(theirs, "missing", names(cells).is_null())]
    if ours == "position":
        return [*rules, Rule(theirs, "not a number", ~order.is_finite().fill_null(False))]
    rules.append(Rule(theirs, "not a time", order.is_null()))
    for unit, mask in finer_unit(order, unit=time_unit).items():
        if mask.sum() * 2 > order.count():
            raise InputError(_wrong_unit(table, order, mask, time_unit, looks_like=unit))
        rules.append(Rule(theirs, f"looks like {UNIT_NAMES[unit]}", mask))
    return [*rules, Rule(theirs, "in the future", order > now + DAY_S)]


def _wrong_unit(table: Table, seconds: pl.Series, mask: pl.Series, unit: TimeUnit, *, looks_like: TimeUnit) -> str:
    row = int(mask.fill_null(False).arg_max() or 0)
    value = table.cells("occurred_at")[row]
    return (
        f"{table.place}, row {row}: {table.theirs('occurred_at')} is {value}, "
        f"which is the year {year_of(seconds[row])} in {UNIT_NAMES[unit]}.\n"
        f"It looks like {UNIT_NAMES[looks_like]}: pass --time-unit {looks_like}."
    )


def _unknown(item_id: pl.Series, catalogue: Catalogue | None) -> pl.Series:
    if catalogue is None:
        return pl.repeat(False, len(item_id), eager=True)
    return ~item_id.is_in(pl.Series(catalogue.item_ids[1:], dtype=pl.String).implode())


def _number_rules(table: Table, parsed: pl.DataFrame) -> list[Rule]:
    """What can be wrong with value, lat and lon; an empty cell is unknown, and fine."""
    rules = []
    for ours, limit in (("value", None), ("lat", 90), ("lon", 180)):
        if ours not in parsed.columns:
            continue
        theirs, parsed_cells = table.theirs(ours), parsed[ours]
        rules.append(Rule(theirs, "not a number", parsed_cells.is_null() & names(table.cells(ours)).is_not_null()))
        rules.append(Rule(theirs, "not finite", parsed_cells.cast(pl.Float32).is_infinite()))
        if limit:
            rules.append(Rule(theirs, f"outside -{limit}..{limit}", parsed_cells.abs() > limit))
    return rules


def _repeated(parsed: pl.DataFrame, rules: Sequence[Rule]) -> pl.Series:
    """(R,) rows that say again what an earlier good row said: same user, item, instant, event and value."""
    bad = np.logical_or.reduce([rule.broken.fill_null(False).to_numpy() for rule in rules])
    keys = [name for name in parsed.columns if name not in ("file_row", "lat", "lon")]
    first = parsed.select(pl.struct(*keys, pl.Series("bad", bad)).is_first_distinct()).to_series()
    return ~first & ~pl.Series(bad)


def _position_beside_a_clock(table: Table) -> tuple[str, ...]:
    if table.has("occurred_at") and table.has("position"):
        return (f"{table.theirs('position')} (occurred_at gives the order)",)
    return ()


def _sorted_interactions(good: pl.DataFrame, catalogue: Catalogue) -> Interactions:
    user_ids = good["user_id"].unique(maintain_order=True)
    user_idx = _numbered(good["user_id"], user_ids)  # (E,)
    order_column = good["occurred_at"] if "occurred_at" in good.columns else good["position"]
    order = np.lexsort((order_column.to_numpy(), user_idx))  # stable: ties keep the file's order
    event_names = good["event"].unique(maintain_order=True) if "event" in good.columns else pl.Series([""])
    events = good["event"] if "event" in good.columns else pl.repeat("", len(good), eager=True)
    starts = np.zeros(len(user_ids) + 1, dtype=np.int64)
    np.cumsum(np.bincount(user_idx, minlength=len(user_ids)), out=starts[1:])

    def sorted_floats(name: str) -> npt.NDArray[np.float32] | None:
        return good[name].to_numpy()[order].astype(np.float32) if name in good.columns else None

    value = sorted_floats("value")
    return Interactions(
        user_ids=user_ids.to_list(),
        starts=starts,
        item_idx=_numbered(good["item_id"], pl.Series(catalogue.item_ids, dtype=pl.String))[order].astype(np.int32),
        occurred_at=order_column.to_numpy()[order] if "occurred_at" in good.columns else None,
        file_row=good["file_row"].to_numpy()[order].astype(np.int64),
        event=_numbered(events, event_names)[order].astype(np.int16),
        event_names=event_names.to_list(),
        value=np.full(len(good), np.nan, dtype=np.float32) if value is None else value,
        lat=sorted_floats("lat"),
        lon=sorted_floats("lon"),
    )


def _numbered(column: pl.Series, vocabulary: pl.Series) -> npt.NDArray[np.int64]:
    """Where each cell stands in the vocabulary, which holds them all."""
    number_of = pl.DataFrame({"name": vocabulary}).with_row_index("number")
    cells = pl.DataFrame({"name": column})
    return cells.join(number_of, on="name", how="left", maintain_order="left")["number"].to_numpy().astype(np.int64)
