from dataclasses import fields

import numpy as np
import pytest
import torch

from benchmarks.accuracy.evidence import EVERYTHING, LEFT_OUT, Without, summary
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
    part = Without(**{one.name: getattr(whole, one.name) for one in fields(whole)}, left_out=LEFT_OUT[variant])
    histories = case_histories(interactions, split.validation[:5], length=20)
    candidates = torch.arange(1, 9).expand(5, -1)
    asked = torch.zeros(5, 8), candidates, histories, torch.eye(len(catalogue) + 1)
    stays = [place for place, name in enumerate(whole.names) if name in part.names]
    assert set(part.names) == set(whole.names) - set(LEFT_OUT[variant])
    assert torch.equal(part.measure(*asked), whole.measure(*asked)[..., stays])


def test_a_kind_that_brings_much_to_some_users_is_seen_with_them():
    moved = np.arange(200) < 100
    whole = np.ones(200)
    told = summary({EVERYTHING: whole, "less": np.where(moved, 0.5, 1.0)}, {"moved": moved, "nobody": whole < 0})
    assert told["less"]["all"]["ndcg@10"] == 0.75
    assert told["less"]["moved"] == {"ndcg@10": 0.5, "p": pytest.approx(1 / 10_001)}
    assert told["less"]["nobody"] == {"ndcg@10": None, "p": None}
    assert told[EVERYTHING]["moved"] == {"ndcg@10": 1.0, "p": None}
