"""Drift: the contrast against slow loops, p-values that keep their promise, and groups that see no future."""

from dataclasses import replace

import numpy as np
import pytest

from recsys.config import SplitConfig
from recsys.drift import (
    LEAST_EVENTS,
    case_drifts,
    contrasts,
    drift_groups,
    instants,
    measure_drift,
    paired_contrasts,
    scaled_mass,
    sharpest_cut,
    sharpest_pair,
    shuffled_whole,
)
from recsys.migration import find_breaks
from recsys.split import leave_one_out, make_split
from recsys.taxonomy import Taxonomy
from tests.worlds import chain_world, drift_world


def world_drifts(**kwargs):
    interactions, catalogue, _ = drift_world(**kwargs)
    cases = leave_one_out(interactions).test
    return case_drifts(interactions, Taxonomy.of(catalogue.categories), cases, seed=0)


def test_the_contrast_is_pearsons_statistic_of_the_two_parts():
    """Every cut by a slow loop: a·b/(a + b) · Σ (p − q)² / (π + 1/H); what was met less than three times is one."""
    rng = np.random.default_rng(0)
    mass = rng.dirichlet([3, 3, 0.2, 3, 0.2], 23).astype(np.float32)
    assert (mass.sum(0) >= 3).tolist() == [True, True, False, True, False]
    curve = contrasts(scaled_mass(mass))
    apart = np.stack([mass[:, 0], mass[:, 1], mass[:, 3], mass[:, 2] + mass[:, 4]], axis=1)
    for place, contrast in enumerate(curve, start=LEAST_EVENTS):
        p, q = apart[:place].mean(0), apart[place:].mean(0)
        slow = sum((p - q) ** 2 / (apart.mean(0) + 1 / 23))
        assert contrast == pytest.approx(slow * place * (23 - place) / 23, rel=1e-3)
    assert len(curve) == 23 - 2 * LEAST_EVENTS + 1


def test_the_contrast_of_two_cuts_is_pearsons_statistic_of_the_three_parts():
    """Every pair of cuts by a slow loop: Σ over parts of size · Σ (p − m)² / (m + 1/H), m the shares of all."""
    mass = np.random.default_rng(3).dirichlet([3, 3, 2], 24).astype(np.float32)
    places = np.array([5, 6, 9, 14, 19])
    differences, first, last = paired_contrasts(scaled_mass(mass), places)
    assert list(zip(first, last, strict=True)) == [(5, 14), (5, 19), (6, 14), (6, 19), (9, 14), (9, 19), (14, 19)]
    apart = np.column_stack([mass, np.zeros(24)])  # what is rare is empty
    whole = apart.mean(0)
    for contrast, one, two in zip(differences, first, last, strict=True):
        parts = (apart[:one], apart[one:two], apart[two:])
        slow = sum(len(part) * ((part.mean(0) - whole) ** 2 / (whole + 1 / 24)).sum() for part in parts)
        assert contrast == pytest.approx(slow, rel=1e-3)


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"clock": False},
        {"bursty": True},
        {"bursty": True, "moods": True},
    ],
    ids=lambda kind: "+".join(kind) or "even",
)
def test_who_stays_is_taken_for_a_mover_as_rarely_as_the_p_value_says(kind):
    p_values = np.array([drift.p_value for drift in world_drifts(users=250, switches=0, seed=11, **kind)])
    for level in (0.05, 0.2):
        allowed = level + 2.5 * np.sqrt(level * (1 - level) / 250)
        assert (p_values < level).mean() <= allowed
    if "moods" not in kind:  # visits that are shuffled as a whole may tell less, never more
        assert (p_values < 0.5).mean() >= 0.35


def test_who_moves_scores_high():
    stays = np.array([drift.score for drift in world_drifts(users=40, switches=0)])
    moves = np.array([drift.score for drift in world_drifts(users=30, switches=1)])
    assert abs(np.median(stays)) < 1
    assert np.quantile(moves, 0.1) > 5


def test_the_cut_is_at_the_planted_place_and_never_within_an_instant():
    mass = np.eye(2, dtype=np.float32)[[0] * 20 + [1] * 20]
    drift = measure_drift(mass, np.arange(40), rng=np.random.default_rng(0))
    assert drift.cuts == (20,)
    assert drift.p_value == 1 / 500
    in_threes = np.arange(40) // 3  # 18, 19, 20 are of one instant
    assert sharpest_cut(scaled_mass(mass), in_threes) in ((18,), (21,))
    assert sharpest_cut(scaled_mass(mass), np.zeros(40, np.int64)) == ()


def test_there_and_back_is_one_drift_with_two_cuts():
    """One cut hardly parts it, whatever the order of whole visits; two do."""
    visit = np.repeat(np.arange(21), 6)
    away = (visit >= 7) & (visit < 14)
    mass = np.eye(2, dtype=np.float32)[away.astype(np.int64)]
    drift = measure_drift(mass, visit, rng=np.random.default_rng(0))
    assert drift.cuts == (42, 84)
    assert drift.p_value == 1 / 500
    assert contrasts(scaled_mass(mass)).max() < 0.3 * paired_contrasts(scaled_mass(mass), np.array([42, 84]))[0][0]
    in_halves = (np.arange(126) >= 60).astype(np.int64)
    assert sharpest_pair(scaled_mass(mass), in_halves) == ()  # one place is no pair


def test_an_order_that_shuffling_cannot_change_is_no_evidence():
    mass = np.eye(2, dtype=np.float32)[[0] * 20 + [1] * 20]
    two_instants = (np.arange(40) >= 20).astype(np.int64)
    drift = measure_drift(mass, two_instants, rng=np.random.default_rng(0))
    assert drift.p_value == 1


@pytest.mark.parametrize("mass", [np.zeros((0, 3)), np.eye(3)[[0, 1, 2]], np.eye(3)[[1] * 30]])
def test_too_little_to_tell_is_no_drift(mass):
    drift = measure_drift(mass.astype(np.float32), np.arange(len(mass)), rng=np.random.default_rng(0))
    assert (drift.score, drift.p_value) == (0.0, 1.0)


def test_visits_are_whole_where_they_have_moods():
    rng = np.random.default_rng(0)
    visit = np.repeat(np.arange(12), 6)
    times = visit * 86_400 + np.tile(np.arange(6) * 30, 12)
    moody = np.eye(4, dtype=np.float32)[rng.integers(0, 4, 12)[visit]]
    even = np.eye(4, dtype=np.float32)[np.tile([0, 1, 2, 3, 0, 1], 12)]
    np.testing.assert_array_equal(shuffled_whole(moody, times), visit)
    np.testing.assert_array_equal(shuffled_whole(even, times), np.arange(72))
    np.testing.assert_array_equal(shuffled_whole(moody, None), np.arange(72))
    np.testing.assert_array_equal(shuffled_whole(moody[:6], times[:6]), np.arange(6))  # one visit: moods cannot show
    assert instants(np.array([3, 3, 4, 9, 9]), events=5).tolist() == [0, 0, 1, 2, 2]


def test_drift_reads_nothing_at_or_after_the_case():
    """Whatever happens at or after the cutoff, to whom and when: the same users are said to have moved."""
    interactions, catalogue, _ = drift_world(users=40, switches=1, seed=3)
    taxonomy = Taxonomy.of(catalogue.categories)
    cases = make_split(interactions, SplitConfig(kind="temporal", cutoff_quantile=0.7)).test
    groups = drift_groups(interactions, taxonomy, cases, seed=0)
    assert 5 < groups["drift high"].sum() < len(cases)
    np.testing.assert_array_equal(groups["drift low"], ~groups["drift high"])
    rng = np.random.default_rng(0)
    late = interactions.occurred_at >= cases.requested_at.min()
    assert 0.2 < late.mean() < 0.4
    other = replace(
        interactions,
        item_idx=np.where(late, rng.integers(1, len(catalogue) + 1, len(interactions)), interactions.item_idx),
        occurred_at=interactions.occurred_at + late * 10**6,
    )
    drifts = case_drifts(interactions, taxonomy, cases, seed=0)
    assert drifts == case_drifts(other, taxonomy, cases, seed=0)
    before = np.where(late, interactions.item_idx, rng.integers(1, len(catalogue) + 1, len(interactions)))
    assert drifts != case_drifts(replace(interactions, item_idx=before), taxonomy, cases, seed=0)


def test_what_is_said_of_a_user_depends_on_nobody_else():
    interactions, catalogue, _ = drift_world(users=12, switches=1)
    taxonomy, cases = Taxonomy.of(catalogue.categories), leave_one_out(interactions).test
    every = case_drifts(interactions, taxonomy, cases, seed=0)
    assert every[5:7] == case_drifts(interactions, taxonomy, cases[5:7], seed=0)


def test_items_of_no_interest_are_passed_over():
    interactions, _ = chain_world(users=20)
    nothing = Taxonomy.of([()] * 31)
    drifts = case_drifts(interactions, nothing, leave_one_out(interactions).test, seed=0)
    assert {drift.p_value for drift in drifts} == {1.0}


def test_long_histories_are_told_in_little_memory(monkeypatch):
    mass = np.eye(5, dtype=np.float32)[np.random.default_rng(0).integers(0, 5, 200)]
    whole = np.arange(200)
    at_once = measure_drift(mass, whole, rng=np.random.default_rng(0))
    monkeypatch.setattr("recsys.drift.NUMBERS_AT_ONCE", 1)
    assert measure_drift(mass, whole, rng=np.random.default_rng(0)) == at_once
    assert find_breaks(mass, None, rng=np.random.default_rng(0)) == []
