"""What is asked, and that no window or history reaches where it must not."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from recsys.audit import LeakError
from recsys.catalogue import read_catalogue
from recsys.config import SplitConfig
from recsys.errors import InputError
from recsys.interactions import read_interactions
from recsys.interest_cases import (
    InterestCases,
    audit_interest_cases,
    cases_between,
    horizon_name,
    labels_of,
    settle_horizon,
    split_interest_cases,
)
from recsys.split import make_split
from recsys.taxonomy import Taxonomy
from tests.worlds import chain_world

DAY_S = 86_400
START = 1_600_000_000


def table(*instants, items=("a", "b", "ab")):
    """One user per list of instants, who takes the items in turn."""
    rows = [
        (f"u{user}", items[turn % len(items)], START + instant)
        for user, mine in enumerate(instants)
        for turn, instant in enumerate(mine)
    ]
    catalogue, _ = read_catalogue(pl.DataFrame({"item_id": ["a", "b", "ab"], "categories": ["A", "B", "A|B"]}))
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "occurred_at"], orient="row")
    interactions, catalogue, _ = read_interactions(frame, catalogue)
    return interactions, Taxonomy.of(catalogue.categories)


def asked(cases):
    return [(int(at) - START, int(stop)) for at, stop in zip(cases.requested_at, cases.stops, strict=True)]


def test_windows_begin_where_a_user_comes_and_do_not_overlap():
    """Asked at 10, whose window holds 10, 10 and 19, and at 20; 0 has no history, the window of 45 no end."""
    interactions, _ = table([0, 10, 10, 19, 20, 45])
    cases = cases_between(interactions, None, START + 50, horizon_s=10, stride_s=10)
    assert asked(cases) == [(10, 1), (20, 4)]
    assert cases.target_rows.tolist() == [1, 2, 3, 4]
    assert cases.target_cases.tolist() == [0, 0, 0, 1]


def test_a_shorter_stride_asks_more_often():
    interactions, _ = table([0, 10, 13, 19, 20, 45])
    cases = cases_between(interactions, None, START + 50, horizon_s=10, stride_s=5)
    assert asked(cases) == [(10, 1), (19, 3)]
    assert cases.target_rows.tolist() == [1, 2, 3, 3, 4]


def test_a_part_begins_with_what_the_part_before_leaves_known():
    interactions, _ = table([0, 10, 30], [30, 40])
    assert asked(cases_between(interactions, START + 20, START + 60, horizon_s=10, stride_s=10)) == [(30, 2), (40, 4)]


def test_labels_by_hand():
    interactions, taxonomy = table([0, 10, 12, 30, 31])  # a, then b and ab, then a and b
    cases = cases_between(interactions, None, START + 50, horizon_s=10, stride_s=10)
    assert labels_of(cases, interactions, taxonomy).tolist() == [[True, True], [True, True]]
    short = cases_between(interactions, None, START + 50, horizon_s=1, stride_s=1)
    assert labels_of(short, interactions, taxonomy).tolist() == [
        [False, True],
        [True, True],
        [True, False],
        [False, True],
    ]


@pytest.fixture
def split(interleaved):
    interactions, _ = interleaved(users=40, events=12)
    return make_split(interactions, SplitConfig(kind="temporal", cutoff_quantile=0.7))


def test_no_window_reaches_past_its_cutoff(split):
    found = split_interest_cases(split, 50 * 3600)
    when = split.interactions.occurred_at
    first, last = split.protocol["validation_cutoff"], split.protocol["test_cutoff"]
    assert len(found.train) > 20
    assert when[found.train.target_rows].max() < first
    assert found.train.requested_at.max() + 50 * 3600 <= first
    assert found.validation.requested_at.min() >= first
    assert found.validation.requested_at.max() + 50 * 3600 <= last
    assert found.test.requested_at.min() >= last
    known = np.isin(split.interactions.file_row[found.train.target_rows], split.train.file_row)
    assert known.all()


def late_windows(found):
    return found.validation


def history_up_to_the_request(found):
    return replace(found.train, stops=found.train.stops + 1)


def targets_of_others(found):
    return replace(found.train, user_idx=found.train.user_idx[::-1].copy())


def a_target_before_its_request(found):
    return replace(found.train, target_rows=found.train.target_rows - 1)


def a_target_after_its_window(found):
    whose = found.train.target_cases == 0
    newest = found.train.target_rows[whose].max()
    return replace(found.train, target_rows=np.where(whose, newest + 1, found.train.target_rows))


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (late_windows, "the window leaves the time from"),
        (history_up_to_the_request, "the history reaches up to the request"),
        (targets_of_others, "a target is outside the window, or another user's"),
        (a_target_before_its_request, "a target is outside the window, or another user's"),
        (a_target_after_its_window, "a target is outside the window, or another user's"),
    ],
)
def test_the_audit_finds_every_leak(split, broken, fault):
    found = split_interest_cases(split, 50 * 3600)
    with pytest.raises(LeakError, match=f"training case .*{fault}"):
        audit_interest_cases(split, InterestCases(broken(found), found.validation, found.test, found.horizon_s))


def test_leave_one_out_asks_for_the_next_event_and_trains_on_no_held_out_row():
    split = make_split(chain_world(users=20)[0], SplitConfig(kind="leave-one-out"))
    assert settle_horizon(split) is None
    found = split_interest_cases(split, None)
    held = np.concatenate([split.validation.target_rows, split.test.target_rows])
    assert not np.isin(found.train.target_rows, held).any()
    assert len(found.train) == len(split.train) - 20
    assert (found.train.stops == found.train.target_rows).all()
    assert found.test is split.test
    with pytest.raises(InputError, match="only the next event can be asked for"):
        split_interest_cases(split, DAY_S)


def test_the_horizon_is_what_a_usual_user_comes_a_few_times_in():
    """Everyone comes daily: five times take five days, of all spans nearest to a week by ratio; but the cutoffs stand
    nine days apart, so that a fourth of that allows no more than a day."""
    interactions, _ = table(*[[day * DAY_S + user for day in range(100)] for user in range(5)])
    assert settle_horizon(make_split(interactions, SplitConfig(kind="temporal"))) == DAY_S
    wide = make_split(interactions, SplitConfig(kind="temporal", cutoff_quantile=0.5))
    assert horizon_name(settle_horizon(wide)) == "1 day"
    assert (
        settle_horizon(
            make_split(
                table(*[[20 * DAY_S * n + u for n in range(60)] for u in range(5)])[0],
                SplitConfig(kind="temporal", cutoff_quantile=0.5),
            )
        )
        == 28 * DAY_S
    )


def test_a_horizon_too_long_for_the_table_is_refused(split):
    with pytest.raises(InputError, match="horizon 1,000 days: no training case"):
        split_interest_cases(split, 1000 * DAY_S)
    with pytest.raises(InputError, match="asks by time"):
        split_interest_cases(split, None)
