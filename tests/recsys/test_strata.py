"""Strata: the rules by hand, the known world, and that few events do not shout."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy import stats

from recsys.catalogue import read_catalogue
from recsys.interactions import read_interactions
from recsys.strata import Population, Stratum, decayed_rates, strata
from recsys.taxonomy import Taxonomy
from tests.worlds import DAY_S, drift_world, strata_world

EVEN = Population(share=np.full(4, 0.25), worth=4.0)


def one_hot(interests, of=4):
    return np.eye(of)[np.array(interests)]


def told(interests, when=None, population=EVEN):
    mass = one_hot(interests)
    return strata(decayed_rates(mass, np.arange(len(mass)) if when is None else np.array(when)), population).stratum


def world_strata(interactions, catalogue):
    """(user_id, interest) → stratum at the end."""
    taxonomy = Taxonomy.of(catalogue.categories)
    population = Population.of(interactions, taxonomy)
    found = {}
    for user, user_id in enumerate(interactions.user_ids):
        rows = interactions.of_user(user)
        mass = taxonomy.shares[interactions.item_idx[rows]].toarray().astype(np.float64)
        when = np.arange(len(mass)) if interactions.occurred_at is None else interactions.occurred_at[rows]
        mine = strata(decayed_rates(mass, when), population)
        found |= {(user_id, name): str(mine.stratum[at]) for at, name in enumerate(taxonomy.names) if mass[:, at].any()}
    return found


@pytest.mark.parametrize("clock", [True, False], ids=["clock", "order"])
def test_planted_strata_are_found(clock):
    interactions, catalogue, expected = strata_world(users=40, clock=clock)
    found = world_strata(interactions, catalogue)
    assert found.keys() == expected.keys()
    for stratum in Stratum:
        planted = [key for key, its in expected.items() if its == stratum]
        assert np.mean([found[key] == stratum for key in planted]) >= 0.75, stratum
    assert np.mean([found[key] == its for key, its in expected.items()]) >= 0.92


@pytest.mark.parametrize("bursty", [False, True])
def test_who_stays_is_told_no_change(bursty):
    interactions, catalogue, _ = drift_world(users=150, switches=0, bursty=bursty)
    found = list(world_strata(interactions, catalogue).values())
    assert np.mean([its in ("rising", "fading", "dormant") for its in found]) <= 0.05
    assert found.count("core") >= 150  # the favourite of each


def test_few_events_do_not_shout():
    assert set(told([0])) == {Stratum.EXPLORING}
    assert set(told([0, 0])) == {Stratum.EXPLORING}
    assert told([1, 1, 1, 1, 1, 0, 0])[:2] == (Stratum.EXPLORING, Stratum.CORE)
    assert told([0, 1] * 20)[:3] == (Stratum.CORE, Stratum.CORE, Stratum.EXPLORING)


def test_each_stratum_in_a_history_of_its_own():
    rest = [1, 2, 3]
    assert told([0, 1] * 50)[0] is Stratum.CORE
    assert told(rest * 30 + [0] * 15)[0] is Stratum.RISING
    assert told([0, 0, 0, 1] * 25 + [0, *rest, *rest, 1, 2] * 3)[0] is Stratum.FADING
    assert told([0, 1] * 40 + [1, 2, 3] * 40)[0] is Stratum.DORMANT


def test_counts_by_hand():
    """Half-lives of 1 and 2: weights 1/4, 1/2, 1 and 1/2, 1/√2, 1 of three events one apart.

    Quick: Σw = 1.75, Σw² = 1.3125, so they tell as much as 7/3 events, and each counts 4/3 of its weight.
    """
    rates = decayed_rates(one_hot([0, 1, 0]), np.array([0, 1, 2]), half_lives=(1, 2))
    assert rates.recent_events == pytest.approx(7 / 3)
    assert rates.recent[:2].tolist() == pytest.approx([1.25 * 4 / 3, 0.5 * 4 / 3])
    slow_less_quick = np.array([0.5 - 0.25, 0.5**0.5 - 0.5, 0])
    scale = slow_less_quick.sum() / (slow_less_quick**2).sum()
    assert rates.before_events == pytest.approx(slow_less_quick.sum() * scale)
    assert rates.before[:2].tolist() == pytest.approx([0.25 * scale, (0.5**0.5 - 0.5) * scale])
    assert rates.then[0, 0] == pytest.approx(1)  # at the first event
    assert rates.then_events[-1] == pytest.approx((0.5 + 0.5**0.5 + 1) ** 2 / (0.25 + 0.5 + 1))


def test_posteriors_are_those_that_sampling_gives():
    rates = decayed_rates(one_hot([0, 0, 1, 2, 0, 1, 1, 1]), np.arange(8), half_lives=(2, 6))
    found = strata(rates, EVEN)
    before = 4 * 0.25 + rates.before[1], 4 + rates.before_events
    recent = 2 * before[0] / before[1] + rates.recent[1], 2 + rates.recent_events
    rng = np.random.default_rng(0)
    drawn_before, drawn_recent = (rng.gamma(shape, 1 / rate, 400_000) for shape, rate in (before, recent))
    assert found.rising[1] == pytest.approx((drawn_recent > drawn_before).mean(), abs=0.005)
    assert found.share[1] == pytest.approx(drawn_recent.mean(), abs=0.005)
    assert found.share_before[1] == pytest.approx(drawn_before.mean(), abs=0.005)
    assert found.low[1] == pytest.approx(stats.gamma(recent[0], scale=1 / recent[1]).ppf(0.05))
    assert found.share.sum() == pytest.approx(1)
    assert found.share_before.sum() == pytest.approx(1)


def test_neither_pace_nor_silence_changes_what_is_told():
    interests = np.random.default_rng(0).integers(0, 3, 60)
    slow = np.arange(60) * DAY_S
    assert told(interests, slow) == told(interests, slow // 100) == told(interests, slow + 10**9) == told(interests)
    assert told(interests, np.full(60, 7)) == told(interests)  # all at one instant: the order is left


def table(rows):
    frame = pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row")
    frame = frame.with_columns(position=pl.int_range(pl.len()))
    catalogue, _ = read_catalogue(pl.DataFrame({"item_id": ["a", "b"], "categories": [["A"], ["B"]]}))
    interactions, catalogue, _ = read_interactions(frame, catalogue)
    return interactions, Taxonomy.of(catalogue.categories)


def test_the_population_by_hand():
    """Users aaab and abbb. Shares (1/2, 1/2); half an even share of two is more than ALWAYS_HELD.

    Sums of squares: Σ|w|² = 8; Σ |sums|²/4 = 10/4 + 10/4 = 5; within (8 − 5)/(8 − 2) = 1/2;
    between (5 − 8·1/2)/1 = 1; τ² = (1 − 1/2)/4 = 1/8; worth = (1/2)/(1/8) = 4.
    """
    interactions, taxonomy = table([("u", item) for item in "aaab"] + [("v", item) for item in "abbb"])
    population = Population.of(interactions, taxonomy)
    assert population.share.tolist() == [0.5, 0.5]
    assert population.worth == pytest.approx(4)
    assert population.held_from == 0.1
    assert replace(population, share=np.full(20, 0.05)).held_from == pytest.approx(1 / 40)


def test_the_population_where_nobody_differs_and_where_everybody_does():
    alike = Population.of(*table([(user, item) for user in "uvwx" for item in "abab"]))
    assert alike.worth == 50
    apart = Population.of(*table([("u", "a")] * 9 + [("v", "b")] * 9))
    assert apart.worth == 1
