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
from recsys.checks import CheckReport, Rule, repeated, set_aside
from recsys.errors import InputError
from recsys.instants import UNIT_NAMES, TimeUnit, finer_units, look_like_dates, unix_seconds, year_of
from recsys.tables import Source, Table, blank, names, numbers, read_table

COLUMNS = ("user_id", "item_id", "occurred_at", "position", "event", "value", "lat", "lon")
DAY_S = 86_400
MAX_EVENT_TYPES = np.iinfo(np.int16).max


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
    keep_duplicates: bool = False,
    strict: bool = False,
    quarantine: Path | None = None,
) -> tuple[Interactions, Catalogue, CheckReport]:
    """Read, check, number and sort an interactions table.

    It needs user_id, item_id and occurred_at, or position where there is no clock; event, value, lat and lon are
    taken where they are. Bad rows are left out, counted in the report and written to the quarantine file.

    Args:
        source: A path or a frame.
        catalogue: The items; an interaction with any other is a bad row. Without one, every item seen is an item.
        columns: Our name → the table's name, where they differ; an empty name leaves a column unread.
        time_unit: What one step of a numeric occurred_at is.
        now: Unix seconds, by default the clock's; an event more than a day later is a bad row.
        keep_duplicates: Take rows with the same user, item, instant, event and value as so many interactions, which
            they can be where the clock is coarse, rather than as one row written twice.
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
    rules = [
        Rule([table.theirs("user_id")], "missing", parsed["user_id"].is_null()),
        Rule([table.theirs("item_id")], "missing", parsed["item_id"].is_null()),
        *_order_rules(table, parsed, time_unit, now=int(time.time()) if now is None else now),
        *_item_rules(table, parsed, catalogue),
        *_number_rules(table, parsed),
        *_place_rules(table, parsed),
    ]
    if not keep_duplicates:
        keys = [ours for ours in parsed.columns if ours not in ("lat", "lon")]
        theirs = [table.theirs(ours) for ours in keys]
        rules.append(Rule(theirs, "duplicate of an earlier row", repeated(parsed.select(keys), rules)))
    unread = dict.fromkeys(table.unread(parsed.columns), "")
    if "occurred_at" in parsed.columns and table.has("position"):
        unread[table.theirs("position")] = f"{table.theirs('occurred_at')} gives the order"
    good, report = set_aside(table, rules, unread_columns=unread, strict=strict, quarantine=quarantine)
    kept = parsed.with_row_index("file_row").filter(good)
    if catalogue is None:
        catalogue = Catalogue(item_ids=["", *kept["item_id"].unique(maintain_order=True)])
    return _sort(kept, catalogue), catalogue, report


def _known(columns: Mapping[str, str]) -> Mapping[str, str]:
    for ours, theirs in columns.items():
        if ours not in COLUMNS:
            raise InputError(f"{ours}={theirs}: interactions have no {ours}. They have {', '.join(COLUMNS)}.")
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
            "Add occurred_at=THAT_NAME to the column map, or a column position that counts each user's rows."
        )
    if table.has("event"):
        parsed["event"] = names(table.cells("event")).fill_null("")
    parsed |= {ours: numbers(table.cells(ours)) for ours in ("value", "lat", "lon") if table.has(ours)}
    return pl.DataFrame(parsed)


def _order_rules(table: Table, parsed: pl.DataFrame, time_unit: TimeUnit, *, now: int) -> list[Rule]:
    """What can be wrong with the column that orders the rows."""
    if "position" in parsed.columns:
        theirs, position = [table.theirs("position")], parsed["position"]
        return [
            Rule(theirs, "missing", blank(table.cells("position"))),
            Rule(theirs, "not a number", position.is_null() | position.is_infinite()),
        ]
    theirs, cells, seconds = [table.theirs("occurred_at")], table.cells("occurred_at"), parsed["occurred_at"]
    finer = finer_units(seconds, unit=time_unit)
    _refuse_another_unit(table, seconds, time_unit, finer)
    return [
        Rule(theirs, "missing", blank(cells)),
        Rule(theirs, "not a time", seconds.is_null()),
        *(Rule(theirs, f"looks like {UNIT_NAMES[unit]}", mask) for unit, mask in finer.items()),
        Rule(theirs, "in the future", seconds > now + DAY_S),
    ]


def _refuse_another_unit(
    table: Table, seconds: pl.Series, time_unit: TimeUnit, finer: Mapping[TimeUnit, pl.Series]
) -> None:
    """One odd time is a bad row; when most are odd, the unit is what is wrong."""
    dates = look_like_dates(seconds)
    if time_unit == "s" and _most(dates) and not table.cells("occurred_at").dtype.is_temporal():
        raise InputError(
            f"{_first_odd_time(table, seconds, dates, time_unit)}\n"
            "It looks like a date in digits: write it as 2017-01-01 or 2017-01-01T11:53:26."
        )
    for unit, mask in finer.items():
        if _most(mask):
            raise InputError(
                f"{_first_odd_time(table, seconds, mask, time_unit)}\n"
                f"It looks like {UNIT_NAMES[unit]}: pass --time-unit {unit}."
            )


def _most(mask: pl.Series) -> bool:
    """Whether a mask is true for more than half of the rows it says anything of."""
    return bool(int(mask.sum()) * 2 > mask.count())


def _first_odd_time(table: Table, seconds: pl.Series, odd: pl.Series, time_unit: TimeUnit) -> str:
    row = int(odd.arg_true()[0])
    return (
        f"{table.place}, row {row}: {table.theirs('occurred_at')} is {table.cells('occurred_at')[row]}, "
        f"which is the year {year_of(seconds[row])} in {UNIT_NAMES[time_unit]}."
    )


def _item_rules(table: Table, parsed: pl.DataFrame, catalogue: Catalogue | None) -> list[Rule]:
    if catalogue is None:
        return []
    known = pl.Series(catalogue.item_ids[1:], dtype=pl.String)
    return [Rule([table.theirs("item_id")], "unknown item", ~parsed["item_id"].is_in(known.implode()))]


def _number_rules(table: Table, parsed: pl.DataFrame) -> list[Rule]:
    """What can be wrong with value, lat and lon; a blank cell is unknown, and fine."""
    rules = []
    for ours in ("value", "lat", "lon"):
        if ours in parsed.columns:
            theirs, cells, values = [table.theirs(ours)], table.cells(ours), parsed[ours]
            rules.append(Rule(theirs, "not a number", values.is_null() & ~blank(cells)))
            rules.append(Rule(theirs, "infinite, or too large", values.cast(pl.Float32).is_infinite()))
    return rules


def _place_rules(table: Table, parsed: pl.DataFrame) -> list[Rule]:
    if table.has("lat") != table.has("lon"):
        alone, absent = ("lat", "lon") if table.has("lat") else ("lon", "lat")
        raise InputError(f"{table.place}: there is {table.theirs(alone)} but no {absent}. A place needs both.")
    if not table.has("lat"):
        return []
    lat, lon = table.theirs("lat"), table.theirs("lon")
    return [
        Rule([lat], "outside -90..90", parsed["lat"].abs() > 90),
        Rule([lon], "outside -180..180", parsed["lon"].abs() > 180),
        Rule([lat, lon], "only one of the two", parsed["lat"].is_null() != parsed["lon"].is_null()),
    ]


def _sort(kept: pl.DataFrame, catalogue: Catalogue) -> Interactions:
    """Number the users, items and events of the good rows, and put them in order."""
    users = kept["user_id"].unique(maintain_order=True)
    events = kept["event"] if "event" in kept.columns else pl.repeat("", len(kept), eager=True)
    event_names = events.unique(maintain_order=True)
    if len(event_names) > MAX_EVENT_TYPES:
        raise InputError(f"event holds {len(event_names):,} different values. It names a kind of event, such as buy.")
    user_idx = _numbered(kept["user_id"], users)  # (E,)
    clock = kept["occurred_at"].to_numpy() if "occurred_at" in kept.columns else None
    order = np.lexsort((kept["position"].to_numpy() if clock is None else clock, user_idx))  # stable
    starts = np.zeros(len(users) + 1, dtype=np.int64)
    np.cumsum(np.bincount(user_idx), out=starts[1:])
    return Interactions(
        user_ids=users.to_list(),
        starts=starts,
        item_idx=_numbered(kept["item_id"], pl.Series(catalogue.item_ids, dtype=pl.String))[order].astype(np.int32),
        occurred_at=None if clock is None else clock[order],
        file_row=kept["file_row"].to_numpy()[order].astype(np.int64),
        event=_numbered(events, event_names)[order].astype(np.int16),
        event_names=event_names.to_list(),
        value=_floats(kept, "value", order) if "value" in kept.columns else np.full(len(kept), np.nan, np.float32),
        lat=_floats(kept, "lat", order) if "lat" in kept.columns else None,
        lon=_floats(kept, "lon", order) if "lon" in kept.columns else None,
    )


def _numbered(column: pl.Series, vocabulary: pl.Series) -> npt.NDArray[np.int64]:
    """(E,) where each cell stands in the vocabulary, which holds them all."""
    number_of = pl.DataFrame({"name": vocabulary}).with_row_index("number")
    cells = pl.DataFrame({"name": column})
    return cells.join(number_of, on="name", how="left", maintain_order="left")["number"].to_numpy().astype(np.int64)


def _floats(kept: pl.DataFrame, ours: str, order: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
    return kept[ours].to_numpy()[order].astype(np.float32)
