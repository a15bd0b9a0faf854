"""What is counted of a history: by hand, the same for a case and for a history that is given, and nothing later."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from recsys.interactions import Interactions
from recsys.interest_baselines import BASELINES
from recsys.interest_features import SELDOM, Trend, interest_features, rhythm
from recsys.interest_pasts import Pasts
from recsys.split import Cases
from recsys.taxonomy import Taxonomy

FILMS = Taxonomy.of([(), ("A",), ("B",), ("A", "B")])
HORIZON_S = 10


def interactions(*users):
    """Users as lists of (item, instant)."""
    rows = [row for user in users for row in user]
    size = len(rows)
    return Interactions(
        user_ids=[f"u{user}" for user in range(len(users))],
        starts=np.cumsum([0, *map(len, users)]),
        item_idx=np.array([item for item, _ in rows], np.int32),
        occurred_at=np.array([at for _, at in rows], np.int64),
        file_row=np.arange(size),
        event=np.zeros(size, np.int16),
        event_names=[""],
        value=np.full(size, np.nan, np.float32),
    )


def case(user, start, stop, at):
    nothing = np.zeros(0, np.int64)
    return Cases(*(np.array([number]) for number in (user, start, stop)), nothing, nothing, np.array([at]))


TABLE = interactions([(2, 1), (1, 5)], [(1, 3), (2, 23), (3, 25), (2, 40), (1, 41)])
"""Asked at 41, the second user has A, B, AB and B behind them: 3.8, 1.8, 1.6 and .1 horizons ago."""


@pytest.fixture
def pasts():
    return Pasts.of_cases(case(1, 2, 6, 41), TABLE, FILMS, horizon_s=HORIZON_S)


def test_weighted_counts_by_hand(pasts):
    counts, total = pasts.counted_by_events(1.0)  # weights 1/8, 1/4, 1/2, 1
    np.testing.assert_allclose(counts, [[1 / 8 + 1 / 4, 1 / 4 + 1 / 4 + 1]])
    np.testing.assert_allclose(total, [15 / 8])
    counts, _ = pasts.counted_by_time(2.0)
    np.testing.assert_allclose(counts[0, 0], 2**-1.9 + 0.5 * 2**-0.8)
    np.testing.assert_allclose(pasts.newest_of_each(pasts.age), [[1.6, 0.1]])


def test_visits_by_hand(pasts):
    """Horizons before the request with anything in them: 3 to 4 with A, 1 to 2 with B and AB, 0 to 1 with B."""
    visits = pasts.visits()
    assert visits.shares.toarray().tolist() == [[1, 0], [1, 1], [0, 1]]
    assert visits.events.tolist() == [1, 2, 1]
    assert visits.events_ago.tolist() == [2, 1, 0]
    counts, total = visits.counted_by_events(np.inf)
    np.testing.assert_allclose(counts / total[:, None], [[2 / 3, 2 / 3]])


def test_the_rhythm_by_hand(pasts):
    """A in two visits, 3.8 and 1.6 horizons ago; B in two as well, but three times: 1.8, 1.6 and .1 ago."""
    came, rate, due = (np.exp(column) for column in rhythm(pasts, pasts.visits()))
    np.testing.assert_allclose(came, [[3, 3]])
    np.testing.assert_allclose(rate, [[2 / 4.8, 2 / 2.8]])
    np.testing.assert_allclose(due, [[2.1 * 2 / 4.3, 0.6 * 2 / 2.3]])
    first = Pasts.of_cases(case(1, 2, 3, 23), TABLE, FILMS, horizon_s=HORIZON_S)  # A alone, 2 horizons ago
    came, rate, due = (np.exp(column) for column in rhythm(first, first.visits()))
    np.testing.assert_allclose(came, [[2, 1]])
    np.testing.assert_allclose(rate, [[1 / 3, SELDOM]])
    np.testing.assert_allclose(due, [[1, 1]])


def test_several_cases_are_counted_as_each_by_itself():
    cases = [case(0, 0, 1, 5), case(1, 2, 3, 23), case(1, 2, 6, 41), case(1, 2, 7, 90)]
    together = Cases(
        *(np.concatenate([getattr(one, name) for one in cases]) for name in ("user_idx", "starts", "stops")),
        np.zeros(0, np.int64),
        np.zeros(0, np.int64),
        np.concatenate([one.requested_at for one in cases]),
    )
    trend = Trend.of(TABLE, FILMS, np.array([0.6, 0.4]), horizon_s=HORIZON_S)

    def features(which):
        pasts = Pasts.of_cases(which, TABLE, FILMS, horizon_s=HORIZON_S)
        return interest_features(pasts, trend, which.requested_at)

    np.testing.assert_allclose(features(together), np.concatenate([features(one) for one in cases]), rtol=1e-6)


def test_a_history_that_is_given_counts_as_a_case_of_the_table(pasts):
    history = interactions([(item, at) for item, at in zip(TABLE.item_idx[2:6], TABLE.occurred_at[2:6], strict=True)])
    given = Pasts.of_history(FILMS.shares_of(history.item_idx), history, 41, horizon_s=HORIZON_S)
    trend = Trend.of(TABLE, FILMS, np.array([0.6, 0.4]), horizon_s=HORIZON_S)
    asked = np.array([41])
    np.testing.assert_allclose(interest_features(given, trend, asked), interest_features(pasts, trend, asked))


def test_nothing_at_or_after_the_request_is_read(pasts):
    """Leak test: whatever happens from the request on, to the user and to all others, changes no number."""
    later = TABLE.occurred_at >= 41
    changed = replace(TABLE, item_idx=np.where(later, 3, TABLE.item_idx).astype(np.int32))
    asked, usual = np.array([41]), np.array([0.6, 0.4])
    before = interest_features(pasts, Trend.of(TABLE, FILMS, usual, horizon_s=HORIZON_S), asked)
    after = interest_features(
        Pasts.of_cases(case(1, 2, 6, 41), changed, FILMS, horizon_s=HORIZON_S),
        Trend.of(changed, FILMS, usual, horizon_s=HORIZON_S),
        asked,
    )
    np.testing.assert_array_equal(before, after)


def test_the_trend_is_that_of_the_steps_before_by_hand():
    """Steps of ten seconds from 1: 1 to 11 holds B, A and A, 21 to 31 B and AB. At 35 three steps are over: the one
    with A, A, B, an empty one, and the one with B and AB; 50 usual events are added."""
    trend = Trend.of(TABLE, FILMS, np.array([0.6, 0.4]), horizon_s=HORIZON_S)
    lately = trend.lately(np.array([5, 35]), cases=2)
    np.testing.assert_allclose(lately[0], [0.6, 0.4])
    np.testing.assert_allclose(lately[1], [(30 + 2.5) / 55, (20 + 2.5) / 55])
    assert trend.lately(None, cases=3).shape == (3, 2)


def test_an_empty_history_and_a_table_without_a_clock_have_numbers():
    usual = np.array([0.5, 0.5])
    none, nothing = np.zeros(0, np.int64), np.zeros(0)
    empty = Pasts(sparse.csr_matrix((0, 2)), none, none, nothing, nothing, none, 1)
    trend = Trend.of(replace(TABLE, occurred_at=None), FILMS, usual, horizon_s=None)
    assert np.isfinite(interest_features(empty, trend, None)).all()
    ordered = replace(TABLE, occurred_at=None)
    pasts = Pasts.of_cases(replace(case(1, 2, 6, 0), requested_at=None), ordered, FILMS, horizon_s=None)
    assert pasts.age.tolist() == [4, 3, 2, 1]
    assert np.isfinite(interest_features(pasts, trend, None)).all()


def test_baselines_by_hand(pasts):
    usual = np.array([0.75, 0.25])

    def score(kind, form):
        return np.exp(BASELINES[kind][form](pasts, usual))

    np.testing.assert_allclose(score("popularity", "share of all events"), [[0.75, 0.25]], rtol=1e-6)
    np.testing.assert_allclose(score("own frequencies", "share of events"), [[2.25 / 5, 2.75 / 5]], rtol=1e-6)
    np.testing.assert_allclose(score("own frequencies", "number of events"), [[2.25, 2.75]], rtol=1e-6)
    np.testing.assert_allclose(score("visits", "share of visits"), [[2.75 / 4, 2.25 / 4]], rtol=1e-6)
