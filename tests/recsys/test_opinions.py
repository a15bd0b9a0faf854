"""Opinions: the second towers judge what the first retrieved, both also by what was lately, and those that pay stay."""

import json
from dataclasses import replace

import pytest
import torch

import recsys.train
from recsys.bundle import SECOND_TOWER, load_bundle, save_bundle
from recsys.card import model_card
from recsys.embed import embed_histories, read_histories
from recsys.errors import InputError
from recsys.histories import Histories, case_histories, newest_events, stacked
from recsys.opinions import LATELY, Opinions, second_config
from recsys.run import bundle_split, reranker_evidence
from recsys.towers import TwoTower
from recsys.train import train_epoch
from tests.worlds import chain_world, fashion_world


@pytest.fixture(scope="module")
def folder(train_tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("second") / "bundle"
    train_tiny(chain_world(users=300, events=12), folder, "train.epochs=4")
    return folder


@pytest.fixture(scope="module")
def chained(folder):
    return load_bundle(folder)


@pytest.fixture(scope="module")
def evidence(chained):
    return reranker_evidence(chained, bundle_split(chained))


def asked(bundle, *, cases=40):
    split = bundle_split(bundle)
    length = bundle.config.user_tower.history_length
    return case_histories(split.interactions, split.test[:cases], length=length, request_time=True)


def hourly(item_idx):
    """Histories of one event an hour."""
    nothing, when = torch.zeros_like(item_idx), torch.arange(item_idx.shape[1]).expand_as(item_idx) * 3600
    return Histories(item_idx, nothing, nothing.float(), when, when)


def fit_again(evidence, candidates, histories, item_vectors):
    measured = evidence.measure(torch.zeros(candidates.shape), candidates, histories, item_vectors)
    return measured[..., evidence.names.index("fit_again")]


def test_the_reranker_reads_what_the_second_towers_make_of_the_candidates(chained, evidence):
    histories, second = asked(chained), chained.second_tower
    candidates = torch.randint(1, len(second.item_vectors), (40, 7), generator=torch.Generator().manual_seed(1))
    users = embed_histories(TwoTower(chained.model.item_tower, second.user_tower), second.item_vectors, histories)
    expected = (users[:, None] * second.item_vectors[candidates]).sum(2)
    found = fit_again(evidence, candidates, histories, torch.from_numpy(chained.item_vectors))
    assert torch.allclose(found, expected, atol=1e-5)


def test_they_are_of_the_other_architecture_and_of_another_chance(chained):
    assert chained.config.user_tower.block == "pre_norm"
    assert chained.model.user_tower.bert is None
    assert chained.second_tower.user_tower.bert is not None
    other = second_config(chained.config)
    assert other.seed != chained.config.seed
    assert second_config(other).user_tower.block == "pre_norm"
    ours, theirs = torch.from_numpy(chained.item_vectors)[1:], chained.second_tower.item_vectors[1:]
    assert (ours * theirs).sum(1).abs().mean() < 0.5  # spaces of their own
    assert torch.allclose(theirs.norm(dim=1), torch.ones(len(theirs)))


def test_they_know_the_chain_as_well(chained):
    """Were their vectors mixed up with the first towers', they would rank by chance."""
    split = bundle_split(chained)
    histories = asked(chained, cases=300)
    users = read_histories(chained.second_tower.user_tower, chained.second_tower.item_vectors, histories)
    scores = users @ chained.second_tower.item_vectors[1:].T
    scores.scatter_(1, (histories.item_idx - 1).clamp(min=0), -1.0)
    best = scores.topk(3).indices.numpy() + 1
    wanted = split.interactions.item_idx[split.test[:300].first_targets()]
    assert (best == wanted[:, None]).any(1).mean() > 0.4


def test_they_read_events_that_the_other_evidence_does_not(chained, evidence):
    """That is about the newest fifty; a tower is about all that it was trained on."""
    items = torch.from_numpy(chained.item_vectors)
    rows = torch.randint(1, len(items), (2, 80), generator=torch.Generator().manual_seed(2))
    rows[1, 20:] = rows[0, 20:]
    candidates = torch.arange(1, 6).expand(2, -1)
    found = evidence.measure(torch.zeros(2, 5), candidates, hourly(rows), items)
    differs = dict(zip(evidence.names, (found[0] - found[1]).abs().amax(0).tolist(), strict=True))
    assert differs.pop("fit_again") > 1e-4
    assert max(differs.values()) < 1e-5


def test_a_batch_is_read_as_each_alone(chained):
    tower, items = chained.second_tower.user_tower, chained.second_tower.item_vectors
    histories = asked(chained)
    short = [newest_events(histories[torch.tensor([row])], length) for row, length in enumerate([3, 9, 1, 11, 5])]
    together = read_histories(tower, items, stacked(short))
    alone = torch.cat([read_histories(tower, items, one) for one in short])
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.allclose(together.norm(dim=1), torch.ones(5))


def test_of_items_that_came_later_the_first_towers_opinion_counts_twice(chained, evidence):
    items = torch.from_numpy(chained.item_vectors)
    more, new = torch.cat([items, items[3:4]]), len(items)
    candidates = torch.tensor([[3, new, 5]]).expand(40, -1)
    first = torch.rand(40, 3, generator=torch.Generator().manual_seed(4))
    column = evidence.names.index("fit_again")
    found = evidence.measure(first, candidates, asked(chained), more)[..., column]
    assert torch.equal(found[:, 1], first[:, 1])
    assert torch.equal(found[:, [0, 2]], fit_again(evidence, candidates[:, [0, 2]], asked(chained), items))


def test_what_is_not_known_of_a_history_is_not_mistaken_for_something_else(chained, evidence):
    """A number past the catalogue is a new item, not the last one, and a history of such alone says nothing here."""
    items = torch.from_numpy(chained.item_vectors)
    more = torch.cat([items, items[[4, 9]]])
    candidates, first = torch.arange(1, 9)[None], torch.rand(1, 8)
    column = evidence.names.index("fit_again")

    def judged(*history):
        return evidence.measure(first, candidates, hourly(torch.tensor([history])), more)[0, :, column]

    one, other, last = judged(7, len(items)), judged(7, len(items) + 1), judged(7, len(items) - 1)
    assert torch.equal(one, other)
    assert not torch.allclose(one, last, atol=1e-3)
    assert not torch.allclose(one, judged(7), atol=1e-3)  # that something happened is known
    assert torch.equal(judged(len(items), len(items) + 1), first[0])


def test_lately_is_what_a_tower_makes_of_the_newest_events_alone(chained, evidence):
    items, second = torch.from_numpy(chained.item_vectors), chained.second_tower
    rows = torch.randint(1, len(items), (3, LATELY + 5), generator=torch.Generator().manual_seed(5))
    rows[1, LATELY:] = 0  # as many as are read anyway
    rows[2, LATELY + 1 :] = 0  # one more
    candidates, first = torch.arange(1, 9).expand(3, -1), torch.rand(3, 8)
    histories = hourly(rows)
    opinions = Opinions(chained.model.user_tower, second)

    def judged(first, candidates, histories):
        return opinions.of(opinions.read(evidence.names, histories, items), first, candidates, items)

    found = judged(first, candidates, histories)
    assert torch.equal(found["fit_lately"][1], first[1])
    assert torch.equal(found["fit_again_lately"][1], found["fit_again"][1])
    for row, length in ((0, LATELY + 5), (2, LATELY + 1)):
        newest = hourly(rows[row : row + 1, length - LATELY : length])
        newest = replace(newest, occurred_at=newest.occurred_at + (length - LATELY) * 3600)
        newest = replace(newest, asked_at=newest.occurred_at)
        users = read_histories(opinions.user_tower, items, newest)
        assert torch.allclose(found["fit_lately"][row], (items[1:9] @ users[0]), atol=1e-5)
        again = judged(first[:1], candidates[:1], newest)["fit_again"]
        assert torch.allclose(found["fit_again_lately"][row], again[0], atol=1e-5)
        assert not torch.allclose(found["fit_again_lately"][row], found["fit_again"][row], atol=1e-3)


def test_nobody_is_read_from_nothing(chained, evidence):
    nothing = hourly(torch.zeros(2, 3, dtype=torch.int64))
    assert not read_histories(chained.second_tower.user_tower, chained.second_tower.item_vectors, nothing).any()
    first = torch.rand(2, 4)
    opinions, items = Opinions(chained.model.user_tower, chained.second_tower), torch.from_numpy(chained.item_vectors)
    found = opinions.of(opinions.read(opinions.names, nothing, items), first, torch.arange(1, 5).expand(2, -1), items)
    assert all(torch.equal(opinion, first) for opinion in found.values())


def test_what_was_read_before_is_not_read_again(chained, evidence):
    """Candidates come and go; what is read of the user stays."""
    items, histories = torch.from_numpy(chained.item_vectors), asked(chained)
    candidates, first = torch.arange(1, 9).expand(40, -1), torch.rand(40, 8)
    users = evidence.read(histories, items)
    given = evidence.measure(first, candidates, histories, items, users=users)
    assert torch.equal(given, evidence.measure(first, candidates, histories, items))
    other = evidence.measure(first, candidates, histories, items, users=users.flip(0))
    differs = (given - other).abs().amax((0, 1)) > 1e-3
    assert {name for name, one in zip(evidence.names, differs, strict=True) if one} == {"fit_again", "fit_again_lately"}
    assert not evidence.without(["second towers"]).read(histories, items).any()  # nobody asked


def test_there_and_back(chained, tmp_path):
    fingerprint = save_bundle(chained, tmp_path / "again")
    again = load_bundle(tmp_path / "again")
    assert again.fingerprint == fingerprint == chained.fingerprint
    one, other = (bundle.second_tower for bundle in (chained, again))
    assert torch.equal(one.read(asked(chained)), other.read(asked(chained)))
    assert torch.equal(one.item_vectors, other.item_vectors)
    assert again.reranker.evidence.opinions.second is again.second_tower
    assert save_bundle(replace(chained, second_tower=None), tmp_path / "without") != fingerprint


def test_killed_on_the_way_they_go_on_from_there(train_tiny, chained, tmp_path, monkeypatch):
    calls = 0

    def until_killed(*asked):
        nonlocal calls
        calls += 1
        if calls == 6:  # the first towers are done, the second have had one epoch
            raise KeyboardInterrupt
        return train_epoch(*asked)

    monkeypatch.setattr(recsys.train, "train_epoch", until_killed)
    world = chain_world(users=300, events=12)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(world, tmp_path / "b", "train.epochs=4")
    bundle = train_tiny(world, tmp_path / "b", "train.epochs=4")
    assert calls == 6 + 3
    whole = chained.second_tower.tensors()
    assert all(torch.equal(weight, whole[name]) for name, weight in bundle.second_tower.tensors().items())
    assert torch.equal(bundle.reranker.nets.straight, chained.reranker.nets.straight)


@pytest.mark.parametrize("damage", ["a byte", "gone"])
def test_a_damaged_one_is_refused_by_name(chained, tmp_path, damage):
    save_bundle(chained, tmp_path / "b")
    path = tmp_path / "b" / SECOND_TOWER
    if damage == "gone":
        path.unlink()
    else:
        raw = bytearray(path.read_bytes())
        raw[-1] ^= 1
        path.write_bytes(raw)
    with pytest.raises(InputError, match=SECOND_TOWER):
        load_bundle(tmp_path / "b")


@pytest.mark.parametrize("knob", ["rerank.second_tower=false", "rerank.enabled=false", "prior.enabled=false"])
def test_none_is_trained_where_none_is_wanted(train_tiny, tmp_path, knob):
    bundle = train_tiny(fashion_world(), tmp_path / "b", "train.epochs=1", knob)
    assert bundle.second_tower is None
    assert not (tmp_path / "b" / SECOND_TOWER).exists()
    assert bundle.reranker is None or "fit_again" not in bundle.reranker.evidence.names


def test_none_is_trained_where_no_reranker_could_be_learnt(train_tiny, tmp_path):
    assert train_tiny(chain_world(users=100), tmp_path / "b", "train.epochs=1").second_tower is None


def test_the_card_says_whether_it_pays(chained):
    """Here the chain is all there is to know, and a second reader knows it no better."""
    pays = "fit_again" in chained.reranker.evidence.names
    stays, _, idle = model_card(chained, None).partition("left out")
    assert ("second towers" in stays, "second towers" in idle) == (pays, not pays)


def test_its_curve_is_kept_beside_the_first(folder):
    training = json.loads((folder / "training.json").read_text())
    assert len(training["second_curve"]) == len(training["curve"]) == 4
    assert training["second_curve"] != training["curve"]
