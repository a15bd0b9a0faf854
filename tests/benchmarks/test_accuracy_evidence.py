from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.accuracy.evidence import EVERYTHING, LEFT_OUT, fixed_weights, summary
from recsys.config import PriorConfig
from recsys.evidence import Evidence
from recsys.histories import case_histories
from recsys.prior import TransitionPrior
from recsys.split import leave_one_out
from recsys.taxonomy import Taxonomy
from recsys.transitions import TransitionCounter
from tests.worlds import fashion_world


@pytest.mark.parametrize("variant", [name for name in LEFT_OUT if name != EVERYTHING])
def test_without_some_evidence_the_rest_is_measured_as_before(variant):
    interactions, catalogue = fashion_world()
    split = leave_one_out(interactions)
    counter = TransitionCounter.of(split.train, PriorConfig(), num_items=len(catalogue))
    prior = TransitionPrior(counter, 0.07, weight=0.5, floor=0.01)
    whole = Evidence.of(split.train, Taxonomy.of(catalogue.categories), prior, returns=False)
    part = replace(whole, left_out=LEFT_OUT[variant])
    histories = case_histories(interactions, split.validation[:5], length=20)
    candidates = torch.arange(1, 9).expand(5, -1)
    asked = torch.zeros(5, 8), candidates, histories, torch.eye(len(catalogue) + 1)
    stays = [place for place, name in enumerate(whole.names) if name in part.names]
    assert set(part.names) == set(whole.names) - set(LEFT_OUT[variant])
    assert torch.equal(part.measure(*asked), whole.measure(*asked)[..., stays])


def test_fixed_weights_halve_every_half_life():
    interactions, _ = fashion_world(users=3, events=6, items=40)
    item_vectors = np.random.default_rng(0).normal(size=(41, 8)).astype(np.float32)
    tower = SimpleNamespace(history_length=4)
    bundle = SimpleNamespace(
        interactions=interactions, item_vectors=item_vectors, config=SimpleNamespace(user_tower=tower)
    )
    cases = leave_one_out(interactions).test
    oldest_first = item_vectors[interactions.item_idx[1:5]]  # four events before the first user's last
    query = (np.array([1, 2, 4, 8])[:, None] * oldest_first).sum(0)
    expected = item_vectors @ (query / np.linalg.norm(query))
    assert fixed_weights(bundle, 1.0)(cases)[0].numpy() == pytest.approx(expected, abs=1e-5)
    assert fixed_weights(bundle, 3.0)(cases)[0].numpy() != pytest.approx(expected, abs=1e-3)


def test_a_kind_that_brings_much_to_some_users_is_seen_with_them():
    moved = np.arange(200) < 100
    whole = np.ones(200)
    told = summary({EVERYTHING: whole, "less": np.where(moved, 0.5, 1.0)}, {"moved": moved, "nobody": whole < 0})
    assert told["less"]["all"]["ndcg@10"] == 0.75
    assert told["less"]["moved"] == {"ndcg@10": 0.5, "p": pytest.approx(1 / 10_001)}
    assert told["less"]["nobody"] == {"ndcg@10": None, "p": None}
    assert told[EVERYTHING]["moved"] == {"ndcg@10": 1.0, "p": None}
