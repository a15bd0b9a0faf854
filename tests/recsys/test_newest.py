"""The newest event's vector, computed alone, is the one that the tower gives it among all others."""

import pytest
import torch

from recsys.config import Config
from recsys.histories import Histories
from recsys.newest import newest_vectors
from recsys.towers import UserTower
from tests.recsys.test_towers import WIDTH, clockless, histories, padded, shaken


@pytest.fixture
def items():
    torch.manual_seed(2)
    table = torch.nn.functional.normalize(torch.randn(9, WIDTH), dim=-1)
    table[0] = 0
    return table


def timed(block, layers):
    torch.manual_seed(1)
    knobs = {"heads": 2, "history_length": 12, "block": block, "layers": layers}
    config = Config.model_validate({"width": WIDTH, "user_tower": knobs})
    return shaken(UserTower(config, num_events=3, value_edges=torch.tensor([2.0, 4.0])))


TOWERS = {
    "bert": lambda: timed("bert", 2),
    "one layer of bert": lambda: timed("bert", 1),
    "bert without a clock": lambda: clockless("bert"),
    "pre-norm": lambda: timed("pre_norm", 2),
    "one block": lambda: timed("pre_norm", 1),
    "three blocks": lambda: timed("pre_norm", 3),
    "without a clock": lambda: clockless("pre_norm"),
}


@pytest.mark.parametrize("kind", TOWERS)
@pytest.mark.parametrize(("left", "right"), [(0, 0), (0, 2), (2, 0), (1, 1)])
def test_it_is_the_one_among_all_others(items, kind, left, right):
    tower = TOWERS[kind]()
    parts = [
        histories(1, 5),
        padded(histories(1, 3), left=left, right=right),
        padded(histories(1, 1), left=left, right=right),
    ]
    longest = max(part.item_idx.shape[1] for part in parts)
    parts = [padded(part, left=0, right=longest - part.item_idx.shape[1]) for part in parts]
    given = Histories(*(torch.cat([getattr(part, name) for part in parts]) for name in Histories.__dataclass_fields__))
    given.value[0, 1], given.event[0, 2], given.occurred_at[0, 0] = 5.0, 2, 1_600_000_000
    everywhere = tower(given, items[given.item_idx])
    expected = everywhere[torch.arange(3), given.newest]
    assert given.newest.tolist() == [4, left + 2, left]
    assert torch.allclose(newest_vectors(tower, given, items[given.item_idx]), expected, atol=1e-5)
    assert not torch.allclose(expected, everywhere[torch.arange(3), (given.newest - 1).clamp(min=0)], atol=1e-2)
