"""Networks learnt from lists: they find what decides, and bend only where bending pays."""

import pytest
import torch

from recsys.listwise import EMPTY, FOLDS, ListwiseNets, fit_listwise

LISTS, CANDIDATES, KINDS = 400, 12, 4


@pytest.fixture
def chance():
    return torch.Generator().manual_seed(0)


def lists(chance, worth):
    """Lists in which the candidate that is worth most, give or take, was chosen."""
    evidence = torch.randn(LISTS, CANDIDATES, KINDS, generator=chance)
    noise = -torch.rand(LISTS, CANDIDATES, generator=chance).log().neg().log()
    return evidence, torch.zeros(LISTS, CANDIDATES, dtype=torch.bool), (worth(evidence) + noise).argmax(1)


def found(scores, chosen):
    return float((scores.argmax(1) == chosen).float().mean())


def test_a_straight_rule_is_found_straight(chance):
    evidence, empty, chosen = lists(chance, lambda told: 3 * told[..., 1] - told[..., 2])
    learnt = fit_listwise(evidence, empty, chosen, seed=0)
    nets, unseen = learnt.nets, learnt.unseen
    weights = (nets.straight / nets.straight[:, 1:2]).mean(0)
    assert weights.tolist() == pytest.approx([0, 1, -1 / 3, 0], abs=0.1)
    assert found(unseen, chosen) > 0.6


def test_a_bent_rule_is_found(chance):
    def worth(told):
        return -3 * told[..., 1] ** 2

    evidence, empty, chosen = lists(chance, worth)
    learnt = fit_listwise(evidence, empty, chosen, seed=0)
    assert learnt.nets.out.any()
    assert found(learnt.unseen, chosen) > 0.7 * found(worth(evidence), chosen)  # a straight one does as well as chance


def test_where_nothing_is_to_be_learnt_but_the_first_kind_it_stays(chance):
    evidence, empty, chosen = lists(chance, lambda told: 2 * told[..., 0])
    evidence, empty, chosen = evidence[:60], empty[:60], chosen[:60]
    nets = fit_listwise(evidence, empty, chosen, seed=0).nets
    assert not nets.out.any()
    assert (nets.straight[:, 1:].abs() < 0.3 * nets.straight[:, :1]).all()


def test_a_group_that_tells_nothing_is_left_out_and_one_that_tells_stays(chance):
    left_out = []
    for _ in range(3):  # noise may seem to tell something now and then
        evidence, empty, chosen = lists(chance, lambda told: told[..., 0] + 2 * told[..., 2])
        learnt = fit_listwise(evidence, empty, chosen, seed=0, optional={"idle": [1, 3], "telling": [2]})
        left_out.append(learnt.left_out)
        assert learnt.columns == ([0, 2] if learnt.left_out else [0, 1, 2, 3])
        assert found(learnt.nets.scores(evidence[..., learnt.columns]), chosen) > 0.5
    assert left_out.count(("idle",)) >= 2
    assert not any("telling" in groups for groups in left_out)


def test_unseen_scores_come_from_the_network_that_has_not_seen_the_list(chance):
    evidence, empty, chosen = lists(chance, lambda told: told[..., 1])
    learnt = fit_listwise(evidence, empty, chosen, seed=0)
    each = learnt.nets.each(evidence)  # (K, L, C)
    same = torch.isclose(each, learnt.unseen, atol=1e-5).all(2)
    assert (same.sum(0) == 1).all()
    assert same.sum(1).tolist() == [LISTS // FOLDS] * FOLDS


def test_empty_places_neither_teach_nor_score(chance):
    evidence, empty, chosen = lists(chance, lambda told: 3 * told[..., 1])
    empty[:, -3:] = True
    chosen = chosen.clamp(max=CANDIDATES - 4)
    wild = evidence.clone()
    wild[:, -3:] = 1e6
    learnt, other = (fit_listwise(told, empty, chosen, seed=0) for told in (evidence, wild))
    assert torch.equal(learnt.nets.straight, other.nets.straight)
    assert (learnt.unseen[:, -3:] == EMPTY).all()


def test_tensors_there_and_back(chance):
    nets = fit_listwise(*lists(chance, lambda told: told[..., 1]), seed=0).nets
    again = ListwiseNets.from_tensors(nets.tensors())
    evidence = torch.randn(5, KINDS, generator=chance)
    assert torch.equal(again.scores(evidence), nets.scores(evidence))
