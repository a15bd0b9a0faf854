import numpy as np
import polars as pl
import pytest

from recsys.interactions import read_interactions
from serving.history import Event, before, bundle_rows, extended, merged, new_to


@pytest.fixture
def visits():
    """Ann at 10, 20, 20 and 30; Bob in between."""
    rows = {
        "user_id": ["ann", "bob", "ann", "ann", "ann"],
        "item_id": ["tea", "hat", "ink", "pen", "tea"],
        "occurred_at": [10, 15, 20, 20, 30],
        "event": ["view", "buy", "buy", "view", "view"],
        "value": [1.0, 2.0, None, 4.0, 5.0],
    }
    table, _, _ = read_interactions(pl.DataFrame(rows))
    return table  # item_idx: tea 1, hat 2, ink 3, pen 4


def test_a_stored_history_ends_before_the_request(visits):
    assert before(bundle_rows(visits, "ann"), 31).item_idx.tolist() == [1, 3, 4, 1]
    assert before(bundle_rows(visits, "ann"), 30).item_idx.tolist() == [1, 3, 4]
    assert before(bundle_rows(visits, "ann"), 20).item_idx.tolist() == [1]
    assert before(bundle_rows(visits, "ann"), 10).item_idx.tolist() == []


def test_a_stored_history_has_every_column_of_its_own_rows(visits):
    history = before(bundle_rows(visits, "bob"), 99)
    assert history.user_ids == ["bob"]
    assert history.starts.tolist() == [0, 1]
    assert history.occurred_at.tolist() == [15]
    assert history.event_names[history.event[0]] == "buy"
    assert history.value.tolist() == [2.0]


@pytest.mark.parametrize("nobody", ["cyd", None])
def test_nobody_has_no_history(visits, nobody):
    history = before(bundle_rows(visits, nobody), 99)
    assert len(history) == 0
    assert history.starts.tolist() == [0, 0]


def test_without_a_clock_all_that_is_stored_counts():
    rows = {"user_id": ["ann", "ann"], "item_id": ["tea", "ink"], "position": [1, 2]}
    table, _, _ = read_interactions(pl.DataFrame(rows))
    assert before(bundle_rows(table, "ann"), 0).item_idx.tolist() == [1, 2]


def test_new_events_come_after_stored_ones_in_order_of_time(visits):
    told = [
        Event(item_idx=4, event=0, value=np.nan, occurred_at=12),
        Event(item_idx=3, event=1, value=7.0, occurred_at=11),
        Event(item_idx=2, event=0, value=8.0, occurred_at=11),  # the same instant: told order
    ]
    history = extended(before(bundle_rows(visits, "ann"), 20), told)
    assert history.item_idx.tolist() == [1, 3, 2, 4]  # the stored one first, although it may be newer
    assert history.occurred_at.tolist() == [10, 11, 11, 12]
    assert history.event.tolist() == [0, 1, 0, 0]
    assert history.value[1:3].tolist() == [7.0, 8.0]
    assert np.isnan(history.value[3])
    assert history.starts.tolist() == [0, 4]
    assert np.all(np.diff(history.file_row) > 0)
    assert history.item_idx.dtype == visits.item_idx.dtype


def test_an_event_of_a_request_has_no_place_where_the_table_has_places():
    rows = {"user_id": ["ann"], "item_id": ["tea"], "occurred_at": [1], "lat": [40.0], "lon": [-74.0]}
    table, _, _ = read_interactions(pl.DataFrame(rows))
    told = [Event(item_idx=1, event=0, value=np.nan, occurred_at=2)]
    history = extended(before(bundle_rows(table, "ann"), 2), told)
    assert history.lat[0] == 40.0
    assert np.isnan([history.lat[1], history.lon[1]]).all()


def stored(item_idx, occurred_at, *, event=0, value=np.nan):
    return Event(item_idx=item_idx, event=event, value=value, occurred_at=occurred_at)


def test_stored_events_stand_where_they_happened_after_the_bundles_of_the_same_second(visits):
    added = [stored(4, 30), stored(2, 15), stored(3, 10), stored(1, 40)]
    history = merged(bundle_rows(visits, "ann"), added)
    assert history.occurred_at.tolist() == [10, 10, 15, 20, 20, 30, 30, 40]
    assert history.item_idx.tolist() == [1, 3, 2, 3, 4, 1, 4, 1]
    assert history.starts.tolist() == [0, 8]
    assert merged(bundle_rows(visits, "cyd"), added).item_idx.tolist() == [3, 2, 4, 1]


def test_without_a_clock_stored_events_come_last():
    rows = {"user_id": ["ann", "ann"], "item_id": ["tea", "ink"], "position": [1, 2]}
    table, _, _ = read_interactions(pl.DataFrame(rows))
    added = new_to(bundle_rows(table, "ann"), [stored(1, 9), stored(2, 5)])
    assert merged(bundle_rows(table, "ann"), added).item_idx.tolist() == [1, 2, 2, 1]


def test_what_the_bundle_holds_already_is_not_counted_again(visits):
    """Ann viewed tea (1) at 10 with the value 1, bought ink (3) at 20 with none."""
    same = [stored(1, 10, event=0, value=1.0), stored(3, 20, event=1)]
    other = [
        stored(1, 10, event=1, value=1.0),  # another kind
        stored(1, 10, event=0, value=2.0),  # another value
        stored(1, 11, event=0, value=1.0),  # another second
        stored(2, 10, event=0, value=1.0),  # another item
    ]
    assert new_to(bundle_rows(visits, "ann"), same + other) == other
    assert new_to(bundle_rows(visits, "bob"), same) == same
    assert new_to(bundle_rows(visits, "ann"), []) == []


def test_values_are_compared_as_they_are_kept():
    rows = {"user_id": ["ann"], "item_id": ["tea"], "occurred_at": [1], "value": [0.1]}
    table, _, _ = read_interactions(pl.DataFrame(rows))
    assert float(table.value[0]) != 0.1  # a float32
    assert new_to(bundle_rows(table, "ann"), [stored(1, 1, value=0.1)]) == []


def test_a_place_is_kept_where_the_table_has_places():
    rows = {"user_id": ["ann"], "item_id": ["tea"], "occurred_at": [1], "lat": [40.0], "lon": [-74.0]}
    table, _, _ = read_interactions(pl.DataFrame(rows))
    told = Event(item_idx=1, event=0, value=np.nan, occurred_at=2, lat=51.5, lon=0.25)
    history = extended(bundle_rows(table, "ann"), [told])
    assert history.lat.tolist() == [40.0, 51.5]
    assert history.lon.tolist() == [-74.0, 0.25]
