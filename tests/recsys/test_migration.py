"""Changes: planted switches are found at their dates, and seldom anything else."""

import numpy as np
import pytest

from recsys.drift import user_rng
from recsys.migration import differing, find_breaks, window_bounds
from recsys.taxonomy import Taxonomy
from tests.worlds import drift_world


def found_and_planted(**kwargs):
    """Per user: the places found, the places planted, the events of a window, and all instants."""
    interactions, catalogue, planted = drift_world(**kwargs)
    taxonomy = Taxonomy.of(catalogue.categories)
    told = []
    for user, user_id in enumerate(interactions.user_ids):
        rows = interactions.of_user(user)
        mass = taxonomy.shares[interactions.item_idx[rows]].toarray()
        when = None if interactions.occurred_at is None else interactions.occurred_at[rows]
        breaks = find_breaks(mass, when, rng=user_rng(user_id, seed=0))
        assert all(0.0 < one.p_value < 0.02 for one in breaks)
        window = int(np.diff(window_bounds(len(mass))).max())
        told.append(([one.place for one in breaks], planted[user_id], window))
    return told


def matched(found, planted, window):
    """Planted places with a found one within a window, each found one used once, and by how many events it is off."""
    left, off = list(found), []
    for place in planted:
        nearest = min(left, key=lambda one: abs(one - place), default=None)
        if nearest is not None and abs(nearest - place) <= window:
            left.remove(nearest)
            off.append(abs(nearest - place))
    return off


@pytest.mark.parametrize(
    "kind",
    [
        {"switches": 1},
        {"switches": 1, "bursty": True},
        {"switches": 2},
        {"switches": 2, "clock": False},
        {"switches": 2, "bursty": True},
    ],
    ids=lambda kind: "+".join(f"{name} {value}" for name, value in kind.items()),
)
def test_planted_switches_are_found_at_their_dates(kind):
    told = found_and_planted(users=40, seed=5, **kind)
    off = [matched(*one) for one in told]
    hits = sum(map(len, off))
    assert hits / sum(len(planted) for _, planted, _ in told) >= 0.9  # recall
    assert hits / sum(len(found) for found, _, _ in told) >= 0.9  # precision
    errors = [error for mine in off for error in mine]
    assert np.median(errors) <= 2  # events; a window has eight and more


@pytest.mark.parametrize(
    "kind", [{}, {"bursty": True}, {"bursty": True, "moods": True}], ids=lambda kind: "+".join(kind) or "even"
)
def test_who_stays_is_told_no_change(kind):
    told = found_and_planted(users=200, switches=0, seed=6, **kind)
    assert np.mean([bool(found) for found, _, _ in told]) <= 0.05


def test_a_change_and_back_is_two():
    rng = np.random.default_rng(0)
    interests = np.concatenate([rng.choice(3, 60, p=p) for p in ([0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1])])
    breaks = find_breaks(np.eye(3, dtype=np.float32)[interests], None, rng=np.random.default_rng(1))
    assert [one.place for one in breaks] == [pytest.approx(60, abs=4), pytest.approx(120, abs=4)]


def test_shares_that_differ_by_chance_alone_are_not_named():
    """10 of 20 against 16 of 20: a difference of .3, an error of √(.25/20 + .16/20) = .143, so 2.1 errors; 15: 1.7."""
    half = np.eye(2)[[0] * 10 + [1] * 10]
    more, rather_more = np.eye(2)[[0] * 16 + [1] * 4], np.eye(2)[[0] * 15 + [1] * 5]
    assert differing(half, more).tolist() == [True, True]
    assert differing(half, rather_more).tolist() == [False, False]


@pytest.mark.parametrize("events", [1, 2, 7, 8, 15, 16, 96, 97, 1_999])
def test_windows_share_the_events_evenly(events):
    sizes = np.diff(window_bounds(events))
    assert sizes.sum() == events
    assert len(sizes) <= 12
    assert sizes.max() - sizes.min() <= 1
    assert len(sizes) == 1 or sizes.min() >= 8
