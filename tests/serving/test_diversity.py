import numpy as np
import pytest

from serving.diversity import diversified, price
from serving.wishes import Diversity

NONE = [()] * 6


def unit(degrees):
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_the_choice_by_hand():
    """Scores 10, 8, 4, 0 are 1, .8, .4, 0; the second is at 0° from the first, the third at 90°, the last at 180°.

    At strength ½: first 1. Then .4 − .5 · 1 = −.1; .2 − 0 = .2; 0 − .5 · (−1) = .5: the last. Of the others, the
    nearest choices are at 0° (−.1) and at 90° (.2).
    """
    scores = np.array([10, 8, 4, 0], np.float32)
    chosen = diversified(scores, unit([0, 0, 90, 180]), NONE[:4], k=3, wish=Diversity(strength=0.5))
    assert chosen.tolist() == [0, 3, 2]
    told = price(scores, unit([0, 0, 90, 180]), chosen, k=3)
    assert told.score_given_up == pytest.approx((10 + 8 + 4) / 3 - (10 + 0 + 4) / 3)
    assert told.replaced == 1
    assert told.alikeness_before == pytest.approx((1 + 1 + 0) / 3, abs=1e-6)  # each to its nearest
    assert told.alikeness_after == pytest.approx(0, abs=1e-6)


def test_without_strength_the_ranking_stays_and_costs_nothing():
    scores = np.array([9, 7, 6, 5, 1, 0], np.float32)
    vectors = unit([0, 1, 2, 90, 180, 270])
    chosen = diversified(scores, vectors, NONE, k=4, wish=Diversity(strength=0.0))
    assert chosen.tolist() == [0, 1, 2, 3]
    told = price(scores, vectors, chosen, k=4)
    assert (told.score_given_up, told.replaced) == (0.0, 0)
    assert told.alikeness_before == told.alikeness_after


def test_more_strength_costs_more_and_brings_less_alike():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = np.sort(vectors @ vectors[0])[::-1].astype(np.float32)
    vectors = vectors[np.argsort(-(vectors @ vectors[0]))]
    prices = []
    for strength in (0.0, 0.2, 0.5, 0.8):
        chosen = diversified(scores, vectors, [()] * 200, k=10, wish=Diversity(strength=strength))
        assert len(set(chosen.tolist())) == 10
        prices.append(price(scores, vectors, chosen, k=10))
    given_up = [one.score_given_up for one in prices]
    alike = [one.alikeness_after for one in prices]
    assert given_up == sorted(given_up)
    assert given_up[-1] > given_up[0]
    assert alike == sorted(alike, reverse=True)
    assert alike[-1] < alike[0]


def test_a_full_category_is_passed_over_even_for_an_item_of_two():
    scores = np.array([6, 5, 4, 3, 2, 1], np.float32)
    kinds = [("a",), ("a", "b"), ("a",), ("b",), ("c",), ()]
    wish = Diversity(strength=0.0, max_per_category=1)
    assert diversified(scores, unit(np.arange(6)), kinds, k=6, wish=wish).tolist() == [0, 3, 4, 5]
    two = Diversity(strength=0.0, max_per_category=2)
    assert diversified(scores, unit(np.arange(6)), kinds, k=4, wish=two).tolist() == [0, 1, 3, 4]


def test_nothing_to_choose_from():
    nothing = np.zeros(0, np.float32)
    chosen = diversified(nothing, np.zeros((0, 2), np.float32), [], k=3, wish=Diversity())
    assert chosen.tolist() == []
    assert price(nothing, np.zeros((0, 2), np.float32), chosen, k=3).score_given_up == 0.0


def test_equal_scores_are_chosen_by_unlikeness_alone():
    scores = np.full(3, 7.0, np.float32)
    assert diversified(scores, unit([0, 5, 180]), NONE[:3], k=2, wish=Diversity(strength=0.5)).tolist() == [0, 2]
