"""Both splits by hand on tables with ties in time, and what must hold on any table."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.audit import audit_split
from recsys.config import SplitConfig
from recsys.errors import InputError
from recsys.interactions import read_interactions
from recsys.split import leave_one_out, make_split, temporal, thinned, without_request_time


def table(rows, order="occurred_at"):
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", order], orient="row")
    interactions, _, _ = read_interactions(frame, keep_duplicates=True)
    return interactions


# File rows 2, 3 and 8 share an instant, and so do 1 and 7: the file's order decides.
TIED = [
    ("a", "i1", 100),
    ("b", "i1", 100),
    ("a", "i2", 200),
    ("a", "i3", 200),
    ("b", "i2", 50),
    ("a", "i4", 150),
    ("c", "i5", 300),
    ("b", "i3", 100),
    ("a", "i5", 200),
]
# For the shares 0.75 and 0.75² the cutoffs are the 10th and the 8th of the 13 instants: 45 and 40.
TIMED = [
    *(("a", f"i{t}", t) for t in (10, 20, 30, 40, 50)),
    ("b", "i15", 15),
    ("b", "i25", 25),
    ("b", "i35", 35),
    ("b", "first", 45),
    ("b", "second", 45),
    ("c", "i41", 41),
    ("c", "i47", 47),
    ("d", "i12", 12),
]


def file_rows(interactions, cases):
    """Per case: the user, the file rows of the history, those of the targets."""
    told = []
    for case, user in enumerate(cases.user_idx):
        history = interactions.file_row[cases.starts[case] : cases.stops[case]]
        targets = interactions.file_row[cases.target_rows[cases.target_cases == case]]
        told.append((interactions.user_ids[user], history.tolist(), targets.tolist()))
    return told


def test_leave_one_out_by_hand():
    interactions = table(TIED)
    split = leave_one_out(interactions)
    assert split.train.file_row.tolist() == [0, 5, 2, 4, 6]
    assert split.train.starts.tolist() == [0, 3, 4, 5]
    assert file_rows(interactions, split.validation) == [("a", [0, 5, 2], [3]), ("b", [4], [1])]
    assert file_rows(interactions, split.test) == [("a", [0, 5, 2, 3], [8]), ("b", [4, 1], [7])]
    assert split.test.requested_at.tolist() == [200, 100]
    assert split.validation.requested_at.tolist() == [200, 100]


@pytest.mark.parametrize(
    ("targets", "test"),
    [
        ("next", [("a", [0, 1, 2, 3], [4]), ("b", [5, 6, 7], [8]), ("c", [10], [11])]),
        ("last", [("a", [0, 1, 2, 3], [4]), ("b", [5, 6, 7, 8], [9]), ("c", [10], [11])]),
        ("all", [("a", [0, 1, 2, 3], [4]), ("b", [5, 6, 7], [8, 9]), ("c", [10], [11])]),
    ],
)
def test_temporal_by_hand(targets, test):
    interactions = table(TIMED)
    split = temporal(interactions, SplitConfig(kind="temporal", cutoff_quantile=0.75, targets=targets))
    assert (split.protocol["validation_cutoff"], split.protocol["test_cutoff"]) == (40, 45)
    assert split.train.file_row.tolist() == [0, 1, 2, 5, 6, 7, 12]
    assert file_rows(interactions, split.validation) == [("a", [0, 1, 2], [3])]  # c has no history yet
    assert file_rows(interactions, split.test) == test
    assert split.test.requested_at.tolist() == [50, 45, 47]


def test_without_request_time_the_newest_known_event_stands_in():
    interactions = table(TIMED)
    split = temporal(interactions, SplitConfig(kind="temporal", cutoff_quantile=0.75))
    assert without_request_time(split.test, interactions).requested_at.tolist() == [40, 35, 41]
    positions = table(TIED, order="position")
    cases = leave_one_out(positions).test
    assert cases.requested_at is None
    assert without_request_time(cases, positions) is cases


def test_consecutive_cases_keep_their_targets():
    interactions = table(TIMED)
    test = temporal(interactions, SplitConfig(kind="temporal", cutoff_quantile=0.75, targets="all")).test
    assert file_rows(interactions, test[1:]) == [("b", [5, 6, 7], [8, 9]), ("c", [10], [11])]
    rows, cases = test[1:].history_rows()
    assert interactions.file_row[rows].tolist() == [5, 6, 7, 10]
    assert cases.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("rows", "config", "lacking"),
    [
        ([("a", "x", 1), ("a", "y", 2), ("b", "x", 3)], SplitConfig(kind="leave-one-out"), "test case"),
        ([("a", i, 1) for i in "xyz"], SplitConfig(kind="leave-one-out"), "user with two training interactions"),
        ([("a", i, 7) for i in "xyz"], SplitConfig(kind="temporal"), "user with two training interactions"),
        (
            [("a", "x", 1), ("a", "y", 2), ("b", "x", 3), ("c", "x", 4)],
            SplitConfig(kind="temporal", cutoff_quantile=0.9),
            "test case",
        ),
    ],
)
def test_a_split_that_leaves_nothing_is_refused(rows, config, lacking):
    with pytest.raises(InputError, match=f"the {config.kind} split of {len(rows)} interactions leaves no {lacking}"):
        make_split(table(rows), config)


events = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("uvwxyz"), st.integers(0, 12)), min_size=4, max_size=40
)
configs = st.one_of(
    st.just(SplitConfig(kind="leave-one-out")),
    st.builds(
        SplitConfig,
        kind=st.just("temporal"),
        cutoff_quantile=st.floats(0.3, 0.95),
        targets=st.sampled_from(["next", "last", "all"]),
    ),
)


@settings(max_examples=150, deadline=None)
@given(events, configs)
def test_nothing_at_or_after_a_target_is_known(rows, config):
    interactions = table(rows)
    try:
        split = make_split(interactions, config)
    except InputError:
        return
    audit_split(split)
    instant = {row: (time, row) for row, (_, _, time) in enumerate(rows)}  # the table's order, from the file itself
    owner = [user for user, _, _ in rows]
    trained = set(split.train.file_row.tolist())
    for cases in (split.validation, split.test):
        for user, history, targets in file_rows(interactions, cases):
            assert targets
            assert history
            assert {owner[row] for row in history + targets} == {user}
            assert max(instant[row] for row in history) < min(instant[row] for row in targets)
            assert not trained & set(targets)
            first = min(instant[row] for row in targets)
            assert all(instant[row] < first for row in trained if owner[row] == user)
    if config.kind == "temporal":
        assert split.train.occurred_at.max() < split.protocol["validation_cutoff"]
    validation, test = (set(np.unique(cases.target_rows)) for cases in (split.validation, split.test))
    assert not validation & test


def test_thinned_cases_keep_their_targets_and_reach_from_the_first_user_to_the_last():
    world = table([(f"u{user:02}", f"i{at}", 100 * at + user) for at in range(9) for user in range(23)])
    cases = temporal(world, SplitConfig(kind="temporal", cutoff_quantile=0.5, targets="all")).test
    some = thinned(cases, -(-len(cases) // 3))
    assert len(some) > 5
    assert some.user_idx.tolist() == cases.user_idx[::3].tolist()
    for case, whole in enumerate(range(0, len(cases), 3)):
        theirs = cases.target_rows[cases.target_cases == whole]
        assert some.target_rows[some.target_cases == case].tolist() == theirs.tolist()
    assert len(thinned(cases, 1000)) == len(cases)
    assert thinned(cases, len(cases)).target_rows.tolist() == cases.target_rows.tolist()
