import pytest

from benchmarks.accuracy.scoring import LENGTHS, STAGES, measured
from benchmarks.accuracy.tables import scoring_table
from recsys.config import read_config
from recsys.errors import InputError
from recsys.run import run_training
from tests.worlds import chain_world

TINY = ("item_tower.text=false", "width=16", "train.epochs=1", "train.tracker=none", "split.kind=leave-one-out")


def bundle_of(world, folder):
    return run_training(*world, read_config(overrides=TINY), folder)


def test_every_stage_is_measured_for_every_length(tmp_path):
    found = measured(bundle_of(chain_world(users=300, events=12), tmp_path / "b"))
    assert list(found["milliseconds"]) == [str(length) for length in LENGTHS]
    for taken in found["milliseconds"].values():
        assert list(taken) == list(STAGES)
        assert min(taken.values()) > 0
    lines = scoring_table({"chain": found}).splitlines()
    assert len(lines) == 2 + len(LENGTHS)
    assert lines[2].startswith("| chain | 10 | ")


def test_a_bundle_that_scores_nothing_is_refused(tmp_path):
    bundle = bundle_of(chain_world(users=30), tmp_path / "b")
    with pytest.raises(InputError, match="has no reranker"):
        measured(bundle)
