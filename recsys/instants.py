"""Unix seconds from whatever a table calls a time: datetimes, ISO 8601, numbers, or all of them in one column.

R rows.
"""

from typing import Literal, TypeAlias

import numpy as np
import polars as pl

TimeUnit: TypeAlias = Literal["s", "ms", "us", "ns"]
"""What one step of a number is."""

UNIT_NAMES: dict[TimeUnit, str] = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
UNITS = tuple(UNIT_NAMES)  # each a thousandth of the one before
YEAR_10000 = 253_402_300_800
"""Unix seconds. No calendar date reaches it, but every time since 1978 does when milliseconds are read as seconds."""

ISO_8601 = (
    r"^(?<date>\d{4}-\d{2}-\d{2})"
    r"(?:[Tt ](?<clock>\d{2}:\d{2})(?::(?<second>\d{2})(?:[.,]\d+)?)?)?"
    r"\s*(?<zone>[Zz]|UTC|[+-]\d{2}(?::?\d{2})?)?$"
)


def unix_seconds(cells: pl.Series, *, unit: TimeUnit) -> pl.Series:
    """(R,) Int64 seconds UTC, rounded down; null where a cell holds no time. A time without a zone is taken as UTC.

    Example:
        >>> times = pl.Series(["1970-01-01T08:00:01+08:00", "61", "yesterday"])
        >>> unix_seconds(times, unit="s").to_list()
        [1, 61, None]
    """
    if cells.dtype.is_numeric():
        return _from_numbers(cells, unit)
    if cells.dtype == pl.Date:
        cells = cells.cast(pl.Datetime("ms"))
    if isinstance(cells.dtype, pl.Datetime):
        return cells.dt.epoch("s")
    text = cells.cast(pl.String).str.strip_chars()
    return _first_of(_from_digits(text, unit), _from_iso_8601(text))


def finer_units(seconds: pl.Series, *, unit: TimeUnit) -> dict[TimeUnit, pl.Series]:
    """Which times, read in ``unit``, lie past year 10000 and so look like a finer unit: unit → (R,) mask.

    Example:
        >>> read_as_seconds = pl.Series([1_300_000_000, 1_300_000_000_000])
        >>> finer_units(read_as_seconds, unit="s")["ms"].to_list()
        [False, True]
    """
    size = seconds.cast(pl.Float64).abs()
    thousands = (size / YEAR_10000).log(1000).floor()  # 0: a thousand times too large or somewhat more, 1: a million, …
    finer = UNITS[UNITS.index(unit) + 1 :]
    return {name: thousands >= step if name == finer[-1] else thousands == step for step, name in enumerate(finer)}


def look_like_dates(seconds: pl.Series) -> pl.Series:
    """(R,) which numbers are dates written in digits: 20170101, or 20170101115326.

    Example:
        >>> look_like_dates(pl.Series([20170101, 20170101115326, 20171301, 1483228800])).to_list()
        [True, True, False, False]
    """
    digits = seconds.zip_with(seconds < 100_000_000, seconds // 1_000_000)
    year, month, day = digits // 10_000, digits // 100 % 100, digits % 100
    return year.is_between(1900, 2100) & month.is_between(1, 12) & day.is_between(1, 31)


def year_of(seconds: int) -> int:
    """The calendar year of an instant, however far away.

    Example:
        >>> year_of(-1), year_of(1_300_000_000_000)
        (1969, 43165)
    """
    return 1970 + int(np.datetime64(seconds, "s").astype("datetime64[Y]").astype(int))


def _from_numbers(cells: pl.Series, unit: TimeUnit) -> pl.Series:
    per_second: int = 1000 ** UNITS.index(unit)
    if cells.dtype.is_integer():
        return cells.cast(pl.Int64, strict=False) // per_second
    return (cells.cast(pl.Float64) / per_second).floor().cast(pl.Int64, strict=False)


def _from_digits(text: pl.Series, unit: TimeUnit) -> pl.Series:
    """Whole numbers by way of integers, since nanoseconds do not fit a float; the others by way of floats."""
    whole, broken = text.cast(pl.Int64, strict=False), text.cast(pl.Float64, strict=False)
    return _first_of(_from_numbers(whole, unit), _from_numbers(broken, unit))


def _from_iso_8601(text: pl.Series) -> pl.Series:
    # Taken apart by hand: one column may mix zones, fractions and bare dates, and a format string allows only one.
    parts = text.str.extract_groups(ISO_8601).struct
    clock = parts.field("clock").fill_null("00:00") + ":" + parts.field("second").fill_null("00")
    local = (parts.field("date") + " " + clock).str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, time_unit="ms")
    zone = parts.field("zone").fill_null("Z").str.replace_all(":", "")
    hours = zone.str.slice(0, 3).cast(pl.Int64, strict=False)  # null for Z and UTC
    minutes = (zone.str.slice(0, 1) + zone.str.slice(3, 2)).cast(pl.Int64, strict=False)  # signed like the hours
    return local.dt.epoch("s") - hours.fill_null(0) * 3600 - minutes.fill_null(0) * 60


def _first_of(preferred: pl.Series, otherwise: pl.Series) -> pl.Series:
    return preferred.zip_with(preferred.is_not_null(), otherwise)
