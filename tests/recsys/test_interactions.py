from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.catalogue import Catalogue
from recsys.errors import InputError
from recsys.interactions import read_interactions

NOW = 1_700_000_000
DAY_S = 86_400
SHOP = Catalogue(item_ids=["", "tea", "ink", "pen"])


def visits(**columns):
    """Three good rows: ann tea, bob ink, ann pen, each a minute after the other; columns replace or add to them."""
    good = {
        "user_id": ["ann", "bob", "ann"],
        "item_id": ["tea", "ink", "pen"],
        "occurred_at": [NOW, NOW + 60, NOW + 120],
    }
    return pl.DataFrame({name: cells for name, cells in (good | columns).items() if cells is not None}, strict=False)


def read(frame, catalogue=SHOP, **options):
    return read_interactions(frame, catalogue, **({"now": NOW + 120} | options))


def problems(report):
    """Problem, column, and the rows at fault, of which there are at most three each."""
    return [(finding.problem, finding.column, [row for row, _ in finding.examples]) for finding in report.findings]


def test_users_are_numbered_by_first_appearance_and_their_events_sorted():
    interactions, catalogue, report = read(
        pl.DataFrame(
            {
                "user_id": ["bob", "ann", "bob", "ann", "bob"],
                "item_id": ["pen", "tea", "ink", "ink", "tea"],
                "occurred_at": [30, 20, 10, 10, 30],
                "event": ["view", "buy", "view", None, "buy"],
                "value": [1, 2, 3, None, 5],
                "lat": [1.5, None, -90.0, 0.0, 2.5],
                "lon": [180.0, None, 3.5, 0.0, 4.5],
            }
        )
    )
    assert catalogue is SHOP
    assert report.ok
    assert interactions.user_ids == ["bob", "ann"]
    assert interactions.starts.tolist() == [0, 3, 5]
    assert interactions.file_row.tolist() == [2, 0, 4, 3, 1]  # bob's two at 30 keep the file's order
    assert interactions.item_idx.tolist() == [2, 3, 1, 2, 1]
    assert interactions.occurred_at.tolist() == [10, 30, 30, 10, 20]
    assert interactions.event_names == ["view", "buy", ""]
    assert interactions.event.tolist() == [0, 0, 1, 2, 1]
    np.testing.assert_array_equal(interactions.value, np.float32([3, 1, 5, np.nan, 2]))
    np.testing.assert_array_equal(interactions.lat, np.float32([-90, 1.5, 2.5, 0, np.nan]))
    np.testing.assert_array_equal(interactions.lon, np.float32([3.5, 180, 4.5, 0, np.nan]))
    assert interactions.user_idx.tolist() == [0, 0, 0, 1, 1]
    assert interactions.of_user(1) == slice(3, 5)
    assert (interactions.user_index("ann"), interactions.user_index("eve")) == (1, None)
    assert [array.dtype for array in (interactions.item_idx, interactions.occurred_at, interactions.event)] == [
        np.int32,
        np.int64,
        np.int16,
    ]


def test_what_a_table_does_not_tell():
    interactions, _, _ = read(visits())
    assert interactions.event_names == [""]
    assert interactions.event.tolist() == [0, 0, 0]
    assert np.isnan(interactions.value).all()
    assert interactions.lat is None
    assert interactions.lon is None


def test_without_an_items_table_the_items_seen_are_the_catalogue():
    interactions, catalogue, report = read(visits(item_id=["pen", None, "tea"]), catalogue=None)
    assert catalogue.item_ids == ["", "pen", "tea"]
    assert interactions.item_idx.tolist() == [1, 2]
    assert problems(report) == [("missing", "item_id", [1])]


def test_position_orders_where_there_is_no_clock():
    interactions, _, report = read(visits(occurred_at=None, position=["10", "1", "9.5"]))
    assert interactions.occurred_at is None
    assert interactions.file_row.tolist() == [2, 0, 1]  # as numbers: 9.5 before 10
    assert report.ok


def test_a_position_beside_a_clock_is_not_read_and_the_report_says_so():
    interactions, _, report = read(visits(position=[3, 2, 1], file_row=["a", "b", "c"]))
    assert interactions.file_row.tolist() == [0, 2, 1]
    assert report.unread_columns == {"position": "occurred_at gives the order", "file_row": ""}
    order_only, _, _ = read(visits(position=[3, 2, 1]), columns={"occurred_at": ""})
    assert order_only.occurred_at is None
    assert order_only.file_row.tolist() == [2, 0, 1]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-3, 3)), min_size=1, max_size=60), st.booleans())
def test_order_is_what_a_stable_sort_gives(rows, by_clock):
    users, times = zip(*rows, strict=True)
    frame = pl.DataFrame(
        {
            "user_id": users,
            "item_id": "tea",
            "occurred_at" if by_clock else "position": times,
            "value": range(len(rows)),
        }
    )
    interactions, _, _ = read(frame)
    first_seen = list(dict.fromkeys(users))
    expected = sorted(range(len(rows)), key=lambda row: (first_seen.index(users[row]), times[row]))
    assert interactions.file_row.tolist() == expected
    assert interactions.value.tolist() == expected
    assert [interactions.user_ids[user] for user in interactions.user_idx] == [users[row] for row in expected]


def test_every_bad_row_is_counted_under_its_own_name():
    good = ("ann", "tea", "0", "buy", "1", "0", "0")
    bad = {
        ("missing", "user_id"): (" ", "tea", "0", "buy", "1", "0", "0"),
        ("missing", "item_id"): ("ann", "", "0", "buy", "1", "0", "0"),
        ("missing", "occurred_at"): ("ann", "tea", "", "buy", "1", "0", "0"),
        ("not a time", "occurred_at"): ("ann", "tea", "soon", "buy", "1", "0", "0"),
        ("looks like milliseconds", "occurred_at"): ("ann", "tea", "1300000000000", "buy", "1", "0", "0"),
        ("looks like microseconds", "occurred_at"): ("ann", "tea", "1300000000000000", "buy", "1", "0", "0"),
        ("looks like nanoseconds", "occurred_at"): ("ann", "tea", "1300000000000000000", "buy", "1", "0", "0"),
        ("in the future", "occurred_at"): ("ann", "tea", "2099-01-01", "buy", "1", "0", "0"),
        ("unknown item", "item_id"): ("ann", "hat", "0", "buy", "1", "0", "0"),
        ("not a number", "value"): ("ann", "tea", "0", "buy", "much", "0", "0"),
        ("infinite, or too large", "value"): ("ann", "tea", "0", "buy", "1e39", "0", "0"),
        ("not a number", "lat"): ("ann", "tea", "0", "buy", "1", "north", "0"),
        ("infinite, or too large", "lat"): ("ann", "tea", "0", "buy", "1", "inf", "0"),
        ("not a number", "lon"): ("ann", "tea", "0", "buy", "1", "0", "east"),
        ("infinite, or too large", "lon"): ("ann", "tea", "0", "buy", "1", "0", "-inf"),
        ("outside -90..90", "lat"): ("ann", "tea", "0", "buy", "1", "-90.1", "0"),
        ("outside -180..180", "lon"): ("ann", "tea", "0", "buy", "1", "0", "-180.1"),
        ("only one of the two", "lat, lon"): ("ann", "tea", "0", "buy", "1", "0", ""),
        ("duplicate of an earlier row", "user_id, item_id, occurred_at, event, value"): good,
    }
    names = ("user_id", "item_id", "occurred_at", "event", "value", "lat", "lon")
    frame = pl.DataFrame([good, *bad.values()], schema=names, orient="row")
    interactions, _, report = read(frame)
    expected = [(problem, column, [row]) for row, (problem, column) in enumerate(bad, start=1)]
    assert problems(report) == expected
    assert interactions.file_row.tolist() == [0]


def test_a_duplicate_agrees_in_all_that_happened():
    frame = pl.DataFrame(
        [
            ("ann", "tea", 5, "buy", 1.0),
            ("ann", "tea", 5, "buy", 1.0),
            ("bob", "tea", 5, "buy", 1.0),
            ("ann", "ink", 5, "buy", 1.0),
            ("ann", "tea", 6, "buy", 1.0),
            ("ann", "tea", 5, "view", 1.0),
            ("ann", "tea", 5, "buy", None),
            ("ann", "tea", 5, "buy", None),
        ],
        schema=["user_id", "item_id", "occurred_at", "event", "value"],
        orient="row",
    )
    assert problems(read(frame)[2])[0][2] == [1, 7]
    interactions, _, report = read(frame, keep_duplicates=True)
    assert report.ok
    assert len(interactions) == 8


def test_a_duplicate_tells_the_same_instant_in_other_words():
    frame = visits(item_id="tea", user_id="ann", occurred_at=["1970-01-01T08:00:00+08:00", "0", "1970-01-01"])
    assert problems(read(frame)[2])[0][2] == [1, 2]


@pytest.mark.parametrize(("late_s", "kept"), [(DAY_S, 3), (DAY_S + 1, 2)])
def test_a_clock_may_run_a_day_ahead_but_no_more(late_s, kept):
    _, _, report = read(visits(occurred_at=[0, 1, NOW + late_s]), now=NOW)
    assert report.rows_kept == kept


def test_the_future_begins_at_the_clock_unless_told():
    tomorrow_s = datetime.now().timestamp() + 2 * DAY_S
    _, _, report = read_interactions(visits(occurred_at=[0, 1, tomorrow_s]), SHOP)
    assert problems(report) == [("in the future", "occurred_at", [2])]


def test_events_before_1970_are_events():
    interactions, _, report = read(visits(occurred_at=["1969-12-31T23:59:59Z", "-86400", "1900-01-01"]))
    assert report.ok
    assert interactions.occurred_at.tolist() == [-2_208_988_800, -1, -86_400]


def test_times_mostly_in_milliseconds_are_refused_with_the_remedy():
    frame = visits(when=["0", "1300000000000", "1300000000001"], occurred_at=None)
    with pytest.raises(InputError) as caught:
        read(frame, columns={"occurred_at": "when"})
    assert str(caught.value) == (
        "the polars table, row 1: when is 1300000000000, which is the year 43165 in seconds.\n"
        "It looks like milliseconds: pass --time-unit ms."
    )


@pytest.mark.parametrize(("unit", "per_second"), [("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_the_unit_that_the_error_names_is_the_one_that_works(unit, per_second):
    frame = visits(occurred_at=[(NOW - s) * per_second for s in (2, 1, 3)])
    with pytest.raises(InputError, match=f"--time-unit {unit}"):
        read(frame)
    assert read(frame, time_unit=unit)[0].occurred_at.tolist() == [NOW - 3, NOW - 2, NOW - 1]


@pytest.mark.parametrize(
    "dates", [[20170101, 20171231, 20180228], ["20170101115326", "20171231000000", "20180228235959"]]
)
def test_dates_in_digits_are_refused(dates):
    with pytest.raises(InputError, match=r"row 0: occurred_at is 20170101.*\n.*date in digits"):
        read(visits(occurred_at=dates))


def test_numbers_whose_digits_are_no_dates_are_seconds():
    assert read(visits(occurred_at=[20171301, 20171232, 20171200]))[2].ok


def test_a_unit_is_wrong_only_where_most_times_are_odd():
    _, _, report = read(visits(occurred_at=[NOW * 1000, None, NOW]))
    assert problems(report) == [("missing", "occurred_at", [1]), ("looks like milliseconds", "occurred_at", [0])]


def test_a_real_august_1970_is_no_date_in_digits():
    august = [datetime(1970, 1, 1) + timedelta(seconds=s) for s in (20170101, 20171231, 20180228)]
    assert read(visits(occurred_at=august))[2].ok


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_datetimes_need_no_unit(unit):
    times = pl.Series([datetime(2020, 1, 1) + timedelta(minutes=m) for m in range(3)])
    zoned = times.dt.cast_time_unit(unit).dt.replace_time_zone("Asia/Shanghai")
    interactions, _, _ = read(visits(occurred_at=zoned))
    assert interactions.occurred_at.tolist() == [1577808000, 1577808120, 1577808060]  # 2019-12-31T16:00Z: ann, ann, bob


def test_pandas_gaps_are_missing_and_whole_floats_are_ids():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "user_id": [1.0, None, 2.0],
            "item_id": ["tea", "ink", "pen"],
            "occurred_at": [pandas.Timestamp("2020-01-01"), pandas.Timestamp("2020-01-01"), pandas.NaT],
            "value": [float("nan"), 1.0, 2.0],
        }
    )
    before = frame.copy()
    interactions, _, report = read(frame)
    assert problems(report) == [("missing", "user_id", [1]), ("missing", "occurred_at", [2])]
    assert interactions.user_ids == ["1"]
    assert np.isnan(interactions.value).all()
    pandas.testing.assert_frame_equal(frame, before)


def test_a_chinese_csv_from_a_spreadsheet(tmp_path):
    path = tmp_path / "订单.csv"
    path.write_bytes("\ufeff用户,商品,时间,动作\n007,茶,2023-11-01 08:00:00+08:00,购买\n张三,墨,昨天,浏览\n".encode())
    columns = {"user_id": "用户", "item_id": "商品", "occurred_at": "时间", "event": "动作"}
    interactions, catalogue, report = read(path, catalogue=None, columns=columns, quarantine=tmp_path / "隔离.csv")
    assert interactions.user_ids == ["007"]
    assert catalogue.item_ids == ["", "茶"]
    assert interactions.event_names == ["购买"]
    assert problems(report) == [("not a time", "时间", [1])]
    assert (tmp_path / "隔离.csv").read_text().splitlines() == [
        "row,column,problem,用户,商品,时间,动作",
        "1,时间,not a time,张三,墨,昨天,浏览",
    ]


def test_whole_numbers_and_text_meet_in_one_vocabulary():
    shop = Catalogue(item_ids=["", "7", "9"])
    interactions, _, report = read(visits(item_id=[9, 7, 8]), catalogue=shop)
    assert interactions.item_idx.tolist() == [2, 1]
    assert problems(report) == [("unknown item", "item_id", [2])]


def test_doors():
    def refused(frame, words, **options):
        with pytest.raises(InputError, match=words):
            read(frame, **options)

    refused(visits(user_id=None), "no column user_id")
    refused(visits(occurred_at=None), "neither occurred_at nor position")
    refused(visits(), "interactions have no title", columns={"title": "name"})
    refused(visits(item_id="hat"), "unknown item in 3 rows(.|\n)*No row is left")
    refused(visits(item_id=["tea", "hat", "ink"]), "row 1: hat", strict=True)
    refused(visits(lat=[1, 2, 3]), "there is lat but no lon")
    refused(visits(user_id=[["a"], ["b"], ["c"]]), "user_id holds List")
    many = pl.DataFrame({"user_id": "ann", "item_id": "tea", "position": range(33_000)})
    refused(many.with_columns(event=pl.col("position").cast(pl.String)), "event holds 33,000 different values")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ann", "bob", "", None]),
            st.sampled_from(["tea", "ink", "hat", None]),
            st.sampled_from(["1", "2", "soon", "2099-01-01", None]),
            st.sampled_from(["1", "much", None]),
        ),
        min_size=1,
    )
)
def test_every_row_is_kept_or_counted(rows):
    frame = pl.DataFrame(
        rows, schema=dict.fromkeys(["user_id", "item_id", "occurred_at", "value"], pl.String), orient="row"
    )
    try:
        interactions, _, report = read(frame)
    except InputError as nothing_left:
        assert "No row is left" in str(nothing_left)  # noqa: PT017 - one of two good ends
    else:
        assert len(interactions) == report.rows_kept == len(set(interactions.file_row.tolist()))
        assert report.rows_kept + sum(finding.count for finding in report.findings) == len(rows)
