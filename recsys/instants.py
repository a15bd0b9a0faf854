"""Unix seconds from whatever a table calls a time: datetimes, ISO 8601, numbers, or all of them in one column.

R rows.
"""

from typing import Literal, TypeAlias

import numpy as np
import polars as pl

TimeUnit: TypeAlias = Literal["s", "ms", "us", "ns"]
"""What one step of a number is."""

UNIT_NAMES: dict[TimeUnit, str] = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
FINER_AND_FINER = tuple(UNIT_NAMES)
YEAR_10000 = 253_402_300_800
"""Unix seconds. No calendar date reaches it, but every time since 1978 does when milliseconds are read as seconds."""

ISO_8601 = (
    r"^\s*(?<date>\d{4}-\d{2}-\d{2})"
    r"(?:[T ](?<clock>\d{2}:\d{2})(?::(?<second>\d{2})(?:[.,]\d+)?)?)?"
    r"\s*(?<zone>[Zz]|UTC|[+-]\d{2}(?::?\d{2})?)?\s*$"
)


def unix_seconds(column: pl.Series, *, unit: TimeUnit) -> pl.Series:
    """(R,) Int64 seconds UTC, rounded down; null where a cell holds no time. A time without a zone is taken as UTC.

    Example:
        >>> times = pl.Series(["1970-01-01T08:00:01+08:00", "61", "yesterday"])
        >>> unix_seconds(times, unit="s").to_list()
        [1, 61, None]
    """
    if column.dtype == pl.Date:
        column = column.cast(pl.Datetime("ms"))
    if isinstance(column.dtype, pl.Datetime):
        seconds: pl.Series = column.dt.epoch("s")
        return seconds
    if column.dtype == pl.String:
        return _first_of(_from_numbers(column.str.strip_chars(), unit), _from_iso_8601(column))
    return _from_numbers(column, unit)


def finer_unit(seconds: pl.Series, *, unit: TimeUnit) -> dict[TimeUnit, pl.Series]:
    """Which times, read in ``unit``, lie past year 10000 and look like a finer unit: unit → (R,) mask."""
    size = seconds.cast(pl.Float64).abs()
    finer = FINER_AND_FINER[FINER_AND_FINER.index(unit) + 1 :]
    masks = {}
    for step, name in enumerate(finer):
        too_large = size >= YEAR_10000 * 1000**step
        last = step + 1 == len(finer)
        masks[name] = too_large if last else too_large & (size < YEAR_10000 * 1000 ** (step + 1))
    return masks


def year_of(seconds: int) -> int:
    """The calendar year of an instant, however far away.

    Example:
        >>> year_of(0), year_of(1_300_000_000_000)
        (1970, 43165)
    """
    return int(np.datetime64(seconds, "s").astype("datetime64[Y]").astype(int)) + 1970


def _from_numbers(column: pl.Series, unit: TimeUnit) -> pl.Series:
    per_second: int = 1000 ** FINER_AND_FINER.index(unit)
    whole = column.cast(pl.Int64, strict=False)
    if column.dtype.is_integer():
        return whole // per_second
    fraction = (column.cast(pl.Float64, strict=False) / per_second).floor().cast(pl.Int64, strict=False)
    return fraction if column.dtype.is_float() else _first_of(whole // per_second, fraction)


def _from_iso_8601(column: pl.Series) -> pl.Series:
    # Taken apart by hand: one column may mix zones, fractions and bare dates, and a format string allows only one.
    parts = column.str.extract_groups(ISO_8601).struct
    clock = parts.field("clock").fill_null("00:00") + ":" + parts.field("second").fill_null("00")
    local = (parts.field("date") + " " + clock).str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, time_unit="ms")
    zone = parts.field("zone").fill_null("Z").str.replace_all(":", "")
    hours = zone.str.slice(0, 3).cast(pl.Int64, strict=False)  # null for Z and UTC
    minutes = (zone.str.slice(0, 1) + zone.str.slice(3, 2)).cast(pl.Int64, strict=False)
    return local.dt.epoch("s") - hours.fill_null(0) * 3600 - minutes.fill_null(0) * 60


def _first_of(preferred: pl.Series, otherwise: pl.Series) -> pl.Series:
    return preferred.zip_with(preferred.is_not_null(), otherwise)
