"""Every leak planted by hand is named; an honest run passes; and held-out rows change nothing that is learnt."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from recsys.audit import LeakError, audit_counts, audit_split, rows_fingerprint
from recsys.baselines import item_cosines, popularity, recent_popularity
from recsys.batches import BatchMaker
from recsys.bundle import load_bundle, save_bundle
from recsys.config import SplitConfig, settle
from recsys.histories import training_windows
from recsys.report import Protocol, evaluate_bundle
from recsys.run import repeat_share, run_training
from recsys.split import keep, make_split
from recsys.train import item_counts
from recsys.transitions import TransitionCounter

LEAVE_ONE_OUT = SplitConfig(kind="leave-one-out")
TEMPORAL = SplitConfig(kind="temporal", cutoff_quantile=0.8)
BOTH = pytest.mark.parametrize("config", [LEAVE_ONE_OUT, TEMPORAL], ids=lambda config: config.kind)


@pytest.fixture(scope="module")
def world(interleaved):
    return interleaved()


def trained_on_also(split, row):
    """The split with one more row of the table among the training rows."""
    kept = np.isin(split.interactions.file_row, split.train.file_row)
    kept[row] = True
    return replace(split, train=keep(split.interactions, kept))


@BOTH
def test_an_honest_split_passes(world, config):
    split = make_split(world[0], config)
    audit_split(split)
    audit_counts(split, item_counts(split.train, num_items=20), what="item counts")


@BOTH
@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_history_one_row_too_long(world, config, part):
    split = make_split(world[0], config)
    cases = getattr(split, part)
    stops = cases.stops.copy()
    stops[3] += 1
    user, target = world[0].user_ids[cases.user_idx[3]], cases.target_rows[cases.target_cases == 3][0]
    with pytest.raises(LeakError, match=rf"{part}, user {user}: .*the target is row {target} "):
        audit_split(replace(split, **{part: replace(cases, stops=stops)}))


@BOTH
@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_target_left_in_training(world, config, part):
    split = make_split(world[0], config)
    cases = getattr(split, part)
    row = cases.target_rows[cases.target_cases == 2][0]
    user = world[0].user_ids[cases.user_idx[2]]
    message = rf"user {user}: .*\(file row {world[0].file_row[row]}\) is among the training rows"
    with pytest.raises(LeakError, match=message):
        audit_split(trained_on_also(split, row))


def test_a_row_after_the_target_left_in_training(interleaved):
    split = make_split(interleaved(events=9)[0], TEMPORAL)
    ends = split.interactions.starts[1:][split.test.user_idx]
    later = ends[split.test.target_rows < ends - 1][0] - 1
    assert later not in split.test.target_rows  # nobody asks for it, and it is as unknown
    with pytest.raises(LeakError, match="is among the training rows"):
        audit_split(trained_on_also(split, later))


def test_another_users_row_after_the_cutoff_left_in_training(interleaved):
    everyone, _ = interleaved()
    interactions = keep(everyone, np.arange(len(everyone)) >= 5)  # of the first user, only the last event
    split = make_split(interactions, TEMPORAL)
    asked = np.union1d(split.test.user_idx, split.validation.user_idx)
    late = interactions.occurred_at >= split.protocol["validation_cutoff"]
    row = np.flatnonzero(late & ~np.isin(interactions.user_idx, asked))[0]  # of a user who is never asked
    with pytest.raises(LeakError, match=rf"training: file row {interactions.file_row[row]} happened at"):
        audit_split(trained_on_also(split, row))


def test_a_validation_target_after_the_test_cutoff(world):
    split = make_split(world[0], TEMPORAL)
    with pytest.raises(LeakError, match=r"validation: file row \d+ happened at \d+, the test_cutoff is \d+"):
        audit_split(replace(split, validation=split.test))


@pytest.mark.parametrize("cutoff", ["validation_cutoff", "test_cutoff"])
def test_the_cutoff_itself_is_late(world, cutoff):
    split = make_split(world[0], TEMPORAL)
    newest = {
        "validation_cutoff": split.train.occurred_at.max(),
        "test_cutoff": world[0].occurred_at[split.validation.target_rows].max(),
    }
    audit_split(replace(split, protocol=split.protocol | {cutoff: newest[cutoff] + 1}))
    with pytest.raises(LeakError, match=rf"happened at {newest[cutoff]}, the {cutoff} is {newest[cutoff]} \(1 such"):
        audit_split(replace(split, protocol=split.protocol | {cutoff: newest[cutoff]}))


def test_a_target_asked_twice(world):
    split = make_split(world[0], LEAVE_ONE_OUT)
    with pytest.raises(LeakError, match="both a validation and a test target"):
        audit_split(replace(split, validation=split.test))


def test_another_users_history(world):
    split = make_split(world[0], LEAVE_ONE_OUT)
    starts = split.test.starts.copy()
    starts[1] -= 1
    with pytest.raises(LeakError, match=rf"test, user {world[0].user_ids[1]}: the history is rows {starts[1]} to"):
        audit_split(replace(split, test=replace(split.test, starts=starts)))


@pytest.mark.parametrize("swapped", [0, 3], ids=["inside a history", "at the target"])
def test_ties_broken_against_file_order(interleaved, swapped):
    interactions, _ = interleaved(users=10)
    first = int(interactions.starts[4]) + swapped
    occurred_at, file_row = interactions.occurred_at.copy(), interactions.file_row.copy()
    occurred_at[first + 1] = occurred_at[first]
    tied = replace(interactions, occurred_at=occurred_at)
    audit_split(make_split(tied, LEAVE_ONE_OUT))
    file_row[[first, first + 1]] = file_row[[first + 1, first]]
    with pytest.raises(
        LeakError, match=rf"user u4: file row {file_row[first]} stands before file row {file_row[first + 1]}"
    ):
        audit_split(make_split(replace(tied, file_row=file_row), LEAVE_ONE_OUT))


def test_counts_of_the_whole_table(world):
    split = make_split(world[0], LEAVE_ONE_OUT)
    counts = item_counts(split.interactions, num_items=20)
    item = np.flatnonzero(counts != item_counts(split.train, num_items=20))[0]
    with pytest.raises(LeakError, match=rf"log_q: item_idx {item} was counted {counts[item]} times, the training rows"):
        audit_counts(split, counts, what="log_q")


def refused(bundle, folder, message):
    save_bundle(bundle, folder)
    with pytest.raises(LeakError, match=message):
        evaluate_bundle(load_bundle(folder), Protocol(), seed=0)


def test_a_bundle_that_counted_the_whole_table(bundle, tmp_path):
    counts = item_counts(bundle.interactions, num_items=len(bundle.catalogue)).tolist()
    leaking = replace(bundle, training=bundle.training | {"item_counts": counts})
    refused(leaking, tmp_path / "b", "item counts of the bundle: item_idx 1 was counted")


def test_a_prior_that_counted_the_whole_table(bundle, tmp_path):
    counter = TransitionCounter.of(bundle.interactions, bundle.config.prior, num_items=len(bundle.catalogue))
    leaking = replace(bundle, prior=replace(bundle.prior, counter=counter))
    refused(leaking, tmp_path / "b", "the prior's transition counts are not those of the training rows")


def test_a_bundle_whose_interactions_were_edited(bundle, tmp_path):
    item_idx = bundle.interactions.item_idx.copy()
    item_idx[0] = item_idx[0] % len(bundle.catalogue) + 1
    edited = replace(bundle, interactions=replace(bundle.interactions, item_idx=item_idx))
    refused(edited, tmp_path / "b", "not trained on the training part of its own split")


def test_a_bundle_trained_on_its_validation_rows(bundle, tmp_path):
    split = make_split(bundle.interactions, bundle.config.split)
    leaking = trained_on_also(split, split.validation.target_rows[0]).train
    training = bundle.training | {"trained_on": rows_fingerprint(leaking)}
    refused(replace(bundle, training=training), tmp_path / "b", "not trained on the training part")


@pytest.fixture(scope="module", params=[LEAVE_ONE_OUT, TEMPORAL], ids=lambda config: config.kind)
def twice(request, tiny_config, interleaved, tmp_path_factory):
    """A run, and the run on the same table with another item in every held-out row, one the user already had."""
    interactions, catalogue = interleaved(users=60, events=8, items=25)
    train = {"epochs": 1, "loss": "sampled", "negatives": 16}
    config = tiny_config.model_copy(
        update={"split": request.param, "train": tiny_config.train.model_copy(update=train)}
    )
    split = make_split(interactions, request.param)
    held_out = ~np.isin(interactions.file_row, split.train.file_row)
    item_idx = interactions.item_idx.copy()
    item_idx[held_out] = item_idx[interactions.starts[interactions.user_idx[held_out]]]
    assert (item_idx != interactions.item_idx).sum() > 50
    other = replace(interactions, item_idx=item_idx)
    folder = tmp_path_factory.mktemp("twice")
    return [
        (make_split(table, request.param), run_training(table, catalogue, config, folder / name))
        for name, table in (("honest", interactions), ("other", other))
    ]


def test_held_out_items_change_no_weight_and_no_vector(twice):
    (_, first), (_, second) = twice
    weights, others = first.model.state_dict(), second.model.state_dict()
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert np.array_equal(first.item_vectors, second.item_vectors)
    assert [epoch["loss"] for epoch in first.training["curve"]] == [epoch["loss"] for epoch in second.training["curve"]]


def test_held_out_items_change_no_knob_and_no_count(twice):
    (_, first), (_, second) = twice
    assert first.config == second.config
    assert first.vocabulary == second.vocabulary
    for key in ("item_counts", "trained_on"):
        assert first.training[key] == second.training[key]
    assert (first.prior.counter.counts != second.prior.counter.counts).nnz == 0


def test_held_out_items_change_no_sampling(twice):
    made = []
    for split, bundle in twice:
        windows = training_windows(split.train, length=50)
        counts = np.array(bundle.training["item_counts"])
        maker = BatchMaker(split.train, windows, counts, bundle.config.train, request_time=True)
        made.append((maker.share, maker.make(np.arange(8), rng=np.random.default_rng(0))))
    assert np.array_equal(made[0][0], made[1][0])
    for name in ("item_idx", "positives", "negatives", "log_q"):
        assert torch.equal(getattr(made[0][1], name), getattr(made[1][1], name))
    assert torch.equal(made[0][1].excluded[:], made[1][1].excluded[:])


def test_held_out_items_change_no_baseline(twice):
    (honest, _), (other, _) = twice
    cases = honest.test
    for make in (popularity, lambda train, num_items: recent_popularity(train, num_items=num_items, days=3)):
        assert torch.equal(make(honest.train, num_items=25)(cases), make(other.train, num_items=25)(cases))
    assert (item_cosines(honest.train, num_items=25) != item_cosines(other.train, num_items=25)).nnz == 0


def test_the_world_above_would_have_caught_a_knob_set_by_held_out_rows(twice):
    (honest, bundle), (other, _) = twice
    shares = [repeat_share(split.interactions) for split in (honest, other)]
    of_whole_tables = [
        settle(
            bundle.config.model_copy(update={"train": bundle.config.train.model_copy(update={"exclude_seen": None})}),
            has_clock=True,
            repeat_share=share,
            num_items=25,
            num_interactions=400,
        ).train.exclude_seen
        for share in shares
    ]
    assert of_whole_tables == [True, False]
