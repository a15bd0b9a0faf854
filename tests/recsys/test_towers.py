"""The towers: padding, causality, and that everything they are told reaches the vector."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from recsys.config import Config
from recsys.histories import Histories
from recsys.towers import ItemFeatures, ItemTower, UserTower, value_edges

WIDTH = 16


@pytest.fixture(params=["bert", "pre_norm"])
def tower(request):
    torch.manual_seed(1)
    knobs = {"heads": 2, "history_length": 12, "block": request.param}
    config = Config.model_validate({"width": WIDTH, "user_tower": knobs})
    return shaken(UserTower(config, num_events=3, value_edges=torch.tensor([2.0, 4.0])))


def shaken(tower):
    with torch.no_grad():  # biases start at zero, where a missing wire would not be seen
        for weight in tower.parameters():
            weight.add_(0.3 * torch.randn(weight.shape))
    return tower.eval()


@pytest.fixture
def item_vectors():
    torch.manual_seed(2)
    table = torch.nn.functional.normalize(torch.randn(9, WIDTH), dim=-1)
    table[0] = 0
    return table


def histories(batch=2, length=5):
    occurred_at = 1_700_000_000 + torch.arange(length).expand(batch, -1) * 5000
    return Histories(
        item_idx=torch.arange(1, length + 1).expand(batch, -1).clone(),
        event=torch.zeros(batch, length, dtype=torch.int64),
        value=torch.full((batch, length), 3.0),
        occurred_at=occurred_at.clone(),
        asked_at=occurred_at + 5000,
    )


def newest(tower, items, given):
    vectors = tower(given, items[given.item_idx])
    return vectors[torch.arange(len(vectors)), given.newest]


def padded(given, *, left, right):
    def fill(values):
        return torch.nn.functional.pad(values, (left, right))

    return Histories(*(fill(getattr(given, name)) for name in Histories.__dataclass_fields__))


@pytest.mark.parametrize(("left", "right"), [(0, 4), (4, 0), (2, 3)])
def test_padding_on_either_side_changes_no_vector(tower, item_vectors, left, right):
    given = histories()
    bare, wide = newest(tower, item_vectors, given), newest(tower, item_vectors, padded(given, left=left, right=right))
    assert torch.allclose(bare, wide, atol=2e-6)
    assert torch.allclose(bare.norm(dim=-1), torch.ones(2), atol=1e-6)


def test_a_batch_is_its_histories_one_by_one(tower, item_vectors):
    long, short = histories(1, 5), padded(histories(1, 3), left=0, right=2)
    both = Histories(*(torch.cat([getattr(long, n), getattr(short, n)]) for n in Histories.__dataclass_fields__))
    together = newest(tower, item_vectors, both)
    apart = torch.cat([newest(tower, item_vectors, long), newest(tower, item_vectors, histories(1, 3))])
    assert torch.allclose(together, apart, atol=2e-6)


def clockless(block):
    torch.manual_seed(1)
    off = dict.fromkeys(("gaps", "ages", "calendar", "request_time"), False)
    config = Config.model_validate({"width": WIDTH, "user_tower": {"heads": 2, "block": block, **off}})
    return shaken(UserTower(config, num_events=1, value_edges=torch.zeros(0)))


@pytest.mark.parametrize("block", ["bert", "pre_norm"])
def test_without_a_clock_padding_order_and_causality_count_all_the_same(item_vectors, block):
    tower, given = clockless(block), histories()
    bare = newest(tower, item_vectors, given)
    for left, right in ((0, 4), (4, 0)):
        wide = newest(tower, item_vectors, padded(given, left=left, right=right))
        assert torch.allclose(bare, wide, atol=2e-6)
    swapped = given.item_idx.clone()
    swapped[:, [0, 1]] = swapped[:, [1, 0]]
    other = tower(replace(given, item_idx=swapped), item_vectors[swapped])
    assert not torch.allclose(other[:, -1], bare, atol=1e-5)  # the order of old events is heard
    newer = given.item_idx.clone()
    newer[:, 3:] += 1
    before, after = (tower(replace(given, item_idx=item), item_vectors[item]) for item in (given.item_idx, newer))
    assert torch.equal(before[:, :3], after[:, :3])


@pytest.mark.parametrize("column", ["item_idx", "event", "value", "occurred_at", "asked_at"])
def test_no_position_knows_anything_newer(tower, item_vectors, column):
    given = histories()
    changed = getattr(given, column).clone()
    changed[:, 3:] += 1 if column in ("item_idx", "event") else 100_000
    before, after = (tower(h, item_vectors[h.item_idx]) for h in (given, replace(given, **{column: changed})))
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 4], after[:, 4], atol=1e-4)


@pytest.mark.parametrize(
    ("column", "change"),
    [("item_idx", 2), ("event", 1), ("value", 2.0), ("occurred_at", -9_000)],
)
def test_every_column_of_an_old_event_reaches_the_newest_vector(tower, item_vectors, column, change):
    given = histories()
    changed = getattr(given, column).clone()
    changed[:, 0] += change
    other = newest(tower, item_vectors, replace(given, **{column: changed}))
    assert not torch.allclose(newest(tower, item_vectors, given), other, atol=1e-4)


@pytest.mark.parametrize("part", ["ages", "calendar"])
def test_the_request_alone_moves_the_vector_by_age_and_by_calendar(item_vectors, part):
    torch.manual_seed(0)
    knobs = {"heads": 2, "gaps": False, "ages": part == "ages", "calendar": part == "calendar"}
    tower = UserTower(
        Config.model_validate({"width": WIDTH, "user_tower": knobs}), num_events=1, value_edges=torch.zeros(0)
    ).eval()
    given = histories()
    asked_at = given.asked_at.clone()
    asked_at[:, -1] += 7 * 3600
    later = newest(tower, item_vectors, replace(given, asked_at=asked_at))
    assert not torch.allclose(newest(tower, item_vectors, given), later, atol=1e-4)


def test_an_unknown_value_is_a_value_of_its_own(tower, item_vectors):
    given = histories()
    unknown = newest(tower, item_vectors, replace(given, value=torch.full_like(given.value, float("nan"))))
    assert torch.isfinite(unknown).all()
    for value in (1.0, 3.0, 5.0):
        known = newest(tower, item_vectors, replace(given, value=torch.full_like(given.value, value)))
        assert not torch.allclose(known, unknown, atol=1e-4)


def test_ratings_get_a_bucket_each_and_amounts_ten_of_like_size():
    assert value_edges(np.array([5, 1, 2, 2, 3, 4], np.float32)).tolist() == [1, 2, 3, 4]
    assert len(value_edges(np.linspace(0, 1, 1000).astype(np.float32))) == 10
    assert len(value_edges(np.array([np.nan, np.nan], np.float32))) == 0


def item_tower(**knobs):
    torch.manual_seed(0)
    config = Config.model_validate({"item_tower": knobs}).item_tower
    return ItemTower(config, width=WIDTH, num_items=4, text_width=6, num_categories=3, num_numbers=1)


def features():
    torch.manual_seed(5)
    return ItemFeatures(
        text_vectors=torch.randn(5, 6),
        categories=torch.tensor([[0, 0], [1, 0], [2, 3], [3, 2], [0, 0]]),
        numbers=torch.tensor([[0.0, 0.0], [1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0], [0.0, 0.0]]),
    )


def test_item_vectors_are_unit_and_every_source_moves_them():
    tower = item_tower().eval()
    ids = torch.arange(5)
    vectors = tower(features(), ids)
    assert torch.allclose(vectors.norm(dim=-1)[1:], torch.ones(4), atol=1e-6)
    for name in ("text_vectors", "categories", "numbers"):
        changed = getattr(features(), name).clone()
        changed[1] = changed[1] + 1
        other = tower(replace(features(), **{name: changed}), ids)
        assert not torch.allclose(other[1], vectors[1], atol=1e-4), name
        assert torch.equal(other[2:], vectors[2:])
    assert not torch.allclose(tower(features(), torch.tensor([0, 0, 2, 3, 4]))[1], vectors[1], atol=1e-4)


def test_the_order_of_categories_does_not_matter():
    tower = item_tower(text=False, item_id=False, numbers=False).eval()
    vectors = tower(features(), torch.arange(5))
    assert torch.allclose(vectors[2], vectors[3], atol=1e-6)


def test_id_dropout_hides_ids_in_training_only():
    tower = item_tower(id_dropout=0.3, text=False, categories=False, numbers=False)
    given, ids = features(), torch.arange(5)
    torch.manual_seed(0)
    hidden = torch.stack([(tower.train()(given, ids)[1:] == 0).all(1) for _ in range(500)])
    assert 0.25 < hidden.float().mean().item() < 0.35
    assert not (tower.eval()(given, ids)[1:] == 0).all(1).any()
