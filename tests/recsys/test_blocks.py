"""Rotary positions: products tell the distance in steps and nothing else."""

import torch

from recsys.blocks import rotation, turned


def test_products_of_turned_vectors_depend_on_the_distance_alone():
    torch.manual_seed(0)
    query, key = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)

    def product(at, before):
        turns = [rotation(torch.tensor([[step]]), 8) for step in (at, before)]
        return float((turned(query, turns[0]) * turned(key, turns[1])).sum())

    assert abs(product(9, 4) - product(105, 100)) < 1e-4
    assert abs(product(9, 4) - product(9, 5)) > 1e-2
    assert abs(product(4, 9) - product(9, 4)) > 1e-2


def test_the_first_pair_turns_by_one_radian_a_step():
    # A pair is the same place of both halves: (1, 0) turned by two radians is (cos 2, sin 2).
    vector = torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 1, 1, 4)
    found = turned(vector, rotation(torch.tensor([[2]]), 4)).flatten()
    wanted = torch.tensor([torch.cos(torch.tensor(2.0)), 0.0, torch.sin(torch.tensor(2.0)), 0.0])
    assert torch.allclose(found, wanted, atol=1e-6)
