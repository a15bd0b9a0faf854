import math
from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.instants import finer_units, unix_seconds, year_of

NOON = 1_483_272_000  # 2017-01-01T12:00:00Z, from `date -u -d @1483272000`


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2017-01-01T12:00:00Z", NOON),
        ("2017-01-01 12:00:00", NOON),
        ("2017-01-01t12:00:00z", NOON),
        ("2017-01-01 12:00:00 UTC", NOON),
        ("2017-01-01T20:00:00+08:00", NOON),
        ("2017-01-01T06:30:00-0530", NOON),
        ("2017-01-01T20:00+08", NOON),
        ("  2017-01-01T12:00:00.999Z ", NOON),
        ("2017-01-01T12:00:00,5", NOON),
        ("2017-01-01", NOON - 12 * 3600),
        ("1969-12-31T23:59:58Z", -2),
        ("1969-12-31T23:59:58.5Z", -2),
        ("1483272000", NOON),
        ("1483272000.75", NOON),
        ("-1.5", -2),
        ("1.483272e9", NOON),
    ],
)
def test_text_that_tells_a_time(text, seconds):
    assert unix_seconds(pl.Series([text]), unit="s").to_list() == [seconds]


@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "",
        " ",
        "2017-02-30",
        "2017-13-01",
        "2017-01-01T25:00:00",
        "01/02/2017",
        "17-01-01",
        "inf",
        "nan",
        "1e30",
    ],
)
def test_text_that_tells_none(text):
    assert unix_seconds(pl.Series([text]), unit="s").to_list() == [None]


def test_one_column_may_mix_every_kind_of_text():
    cells = pl.Series(["1483272000", None, "2017-01-01", "2017-01-01T20:00:00+08:00", "soon"])
    assert unix_seconds(cells, unit="s").to_list() == [NOON, None, NOON - 43_200, NOON, None]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Shanghai", "America/New_York"])
def test_datetimes_of_every_unit_and_zone(unit, zone):
    instants = pl.Series([datetime(2017, 1, 1, 12), datetime(1969, 12, 31, 23, 59, 58, 500_000)]).dt.cast_time_unit(
        unit
    )
    if zone:
        instants = instants.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    assert unix_seconds(instants, unit="s").to_list() == [NOON, -2]


def test_dates_are_midnights_and_truth_is_no_time():
    assert unix_seconds(pl.Series([date(1970, 1, 2), None]), unit="s").to_list() == [86_400, None]
    assert unix_seconds(pl.Series([True]), unit="s").to_list() == [None]


@pytest.mark.parametrize(("unit", "per_second"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_numbers_in_every_unit_round_down(unit, per_second):
    ticks = [NOON * per_second, NOON * per_second + per_second - 1, -1, -per_second]
    assert unix_seconds(pl.Series(ticks), unit=unit).to_list() == [NOON, NOON, -1, -1]
    # As text too, where a detour over floats would round the last nanosecond up.
    assert unix_seconds(pl.Series(map(str, ticks)), unit=unit).to_list() == [NOON, NOON, -1, -1]


def test_numbers_that_fit_no_integer_are_no_times():
    assert unix_seconds(pl.Series([math.nan, math.inf, 1e300, 1.5]), unit="s").to_list() == [None, None, None, 1]
    assert unix_seconds(pl.Series([2**64 - 1], dtype=pl.UInt64), unit="s").to_list() == [None]


@given(
    st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29)),
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from(["T", " "]),
)
def test_iso_text_agrees_with_python(instant, offset_minutes, separator):
    instant = instant.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    whole_seconds = (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    assert unix_seconds(pl.Series([instant.isoformat(separator)]), unit="s").to_list() == [whole_seconds]


def test_what_is_past_year_10000_looks_like_a_finer_unit():
    seconds = pl.Series([NOON, NOON * 10**3, -NOON * 10**3, NOON * 10**6, NOON * 10**9, 253_402_300_799, None])
    masks = finer_units(seconds, unit="s")
    assert masks["ms"].to_list() == [False, True, True, False, False, False, None]
    assert masks["us"].to_list() == [False, False, False, True, False, False, None]
    assert masks["ns"].to_list() == [False, False, False, False, True, False, None]
    assert list(finer_units(seconds, unit="us")) == ["ns"]
    assert finer_units(seconds, unit="ns") == {}


def test_years_far_away():
    assert [year_of(s) for s in (0, -1, 253_402_300_799, 253_402_300_800)] == [1970, 1969, 9999, 10_000]
