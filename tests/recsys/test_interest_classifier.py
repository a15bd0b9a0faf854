"""The classifier finds what only time and the newest item tell, is kept with its bundle, and refused with another."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from recsys import interest_classifier, interest_evidence
from recsys.errors import InputError
from recsys.interest_cases import labels_of
from recsys.interest_classifier import FILE, InterestForecast, load_classifier, save_classifier
from recsys.interest_evidence import EvidenceReader
from recsys.interest_head import Evidence, HeadConfig, fit_head, lean_on_best_count
from recsys.interest_report import interest_report
from recsys.interest_training import train_interest_classifier
from recsys.interests import interests_of
from recsys.label_metrics import mean_average_precision
from tests.worlds import turning_world

QUICK = HeadConfig(passes=1, fewest_steps=200, checks=8)


@pytest.fixture(scope="module")
def turning(tmp_path_factory, train_tiny):
    """The bundle of a world in which the newest item and the time since settle what comes next, and its folder."""
    folder = tmp_path_factory.mktemp("turning") / "bundle"
    overrides = ("split.kind=temporal", "split.cutoff_quantile=0.8", "train.epochs=25", "train.exclude_seen=false")
    return train_tiny(turning_world(), folder, *overrides), folder


@pytest.fixture(scope="module")
def trained(turning):
    return train_interest_classifier(turning[0], horizon_s=1800, config=QUICK)


def test_it_finds_what_counts_cannot_tell(turning, trained):
    report = interest_report(turning[0], trained)
    scorers = report["scorers"]
    assert scorers["classifier"]["mean_average_precision"]["value"] > 0.95
    assert max(one["mean_average_precision"]["value"] for name, one in scorers.items() if name != "classifier") < 0.6
    assert scorers["classifier"]["macro_f1"]["value"] > 0.8
    assert scorers["classifier"]["expected_calibration_error"]["value"] < 0.05
    json.dumps(report, allow_nan=False)
    figure = report["over_best_baseline"]["mean_average_precision"]
    assert 0.5 < figure["low"] <= figure["value"] <= figure["high"]
    assert set(report["labels"]) == set("ABCD")
    assert sum(report["groups"][group]["cases"] for group in ("drift low", "drift high")) == len(trained.cases.test)


def test_what_comes_later_changes_no_evidence(turning, trained):
    """Leak test: with every item at or after a request another one, all that is known of the case is the same."""
    bundle, _ = turning
    reader, cases = trained.reader, trained.cases.validation
    case = int(cases.requested_at.argmin())
    one, table = cases[case : case + 1], bundle.interactions
    late = table.occurred_at >= one.requested_at[0]
    changed = replace(bundle, interactions=replace(table, item_idx=np.where(late, 1, table.item_idx)))
    other = EvidenceReader.of(changed, reader.taxonomy, trained.classifier.usual, horizon_s=reader.horizon_s)
    expected, found = reader.of_cases(one), other.of_cases(one)
    for ours, theirs in zip(found.tensors, expected.tensors, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_cases_that_are_counted_in_parts_are_those_that_are_counted_at_once(trained, monkeypatch):
    expected = trained.reader.of_cases(trained.cases.test)
    monkeypatch.setattr(interest_evidence, "COUNTED_AT_ONCE", 7)
    found = trained.reader.of_cases(trained.cases.test)
    assert found.features.dtype == torch.float16
    for ours, theirs in zip(found.tensors, expected.tensors, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=1e-4)  # half precision may round the other way


def test_saved_and_loaded_it_says_the_same(turning, trained):
    bundle, folder = turning
    save_classifier(trained.classifier, folder)
    loaded = load_classifier(folder, fingerprint=bundle.fingerprint)
    evidence = trained.reader.of_cases(trained.cases.test)
    np.testing.assert_array_equal(loaded.probabilities(evidence), trained.classifier.probabilities(evidence))
    assert (loaded.names, loaded.horizon_s) == (("A", "B", "C", "D"), 1800)


def test_what_is_told_of_a_user_is_what_a_case_of_theirs_gets(turning, trained):
    bundle, _ = turning
    forecast = InterestForecast.of(bundle, trained.reader.taxonomy, trained.classifier)
    cases = trained.cases.test[:1]
    user, asked = int(cases.user_idx[0]), int(cases.requested_at[0])
    told = interests_of(bundle, bundle.interactions.user_ids[user], at=asked, forecast=forecast)
    probabilities = trained.classifier.probabilities(trained.reader.of_cases(cases))[0]
    assert told.horizon == "30 minutes"
    assert [one.name for one in told.expected] == [forecast.classifier.names[at] for at in np.argsort(-probabilities)]
    np.testing.assert_allclose([one.probability for one in told.expected], np.sort(probabilities)[::-1], atol=1e-6)
    assert labels_of(cases, bundle.interactions, trained.reader.taxonomy)[0][probabilities.argmax()]


def test_another_bundles_an_older_or_a_damaged_file_is_refused(turning, trained, tmp_path, monkeypatch):
    bundle, folder = turning
    save_classifier(trained.classifier, folder)
    copy = shutil.copytree(folder, tmp_path / "copy")
    with pytest.raises(InputError, match="made for bundle"):
        load_classifier(copy, fingerprint="another")
    damaged = bytearray((copy / FILE).read_bytes())
    damaged[-5] ^= 1
    (copy / FILE).write_bytes(damaged)
    with pytest.raises(InputError, match="damaged"):
        load_classifier(copy, fingerprint=bundle.fingerprint)
    with monkeypatch.context() as older:
        older.setattr(interest_classifier, "LAYOUT", 1)
        save_classifier(trained.classifier, copy)
    with pytest.raises(InputError, match=r"reads format 3.*interests train"):
        load_classifier(copy, fingerprint=bundle.fingerprint)
    (copy / FILE).unlink()
    assert load_classifier(copy, fingerprint=bundle.fingerprint) is None


def test_without_a_clock_it_asks_for_the_next_event(bundle):
    trained = train_interest_classifier(bundle, config=HeadConfig(passes=1, fewest_steps=40, checks=2))
    assert trained.cases.horizon_s is None
    assert InterestForecast.of(bundle, trained.reader.taxonomy, trained.classifier).horizon == "the next event"


def made_up(rng, cases=600):
    """Three interests; the first feature tells of them, the second is noise."""
    features = rng.normal(size=(cases, 3, 2)).astype(np.float32)
    labels = rng.random((cases, 3)) < 1 / (1 + np.exp(-2 * features[:, :, 0]))
    return Evidence(torch.from_numpy(features), torch.from_numpy(features[:, :, 0]), torch.zeros(cases, 4)), labels


def test_a_seed_gives_the_same_head_and_leaves_chance_elsewhere_alone():
    rng = np.random.default_rng(0)
    (evidence, labels), (validation, wanted) = made_up(rng), made_up(rng)

    def judge(logits):
        return mean_average_precision(logits, wanted)

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, curve = fit_head(evidence, labels, np.arange(len(labels)), validation, judge, QUICK)
    assert torch.equal(torch.rand(3), expected)
    second, _ = fit_head(evidence, labels, np.arange(len(labels)), validation, judge, QUICK)
    np.testing.assert_array_equal(first.logits(validation), second.logits(validation))
    assert judge(first.logits(validation)) == max(curve)


def test_what_an_interest_makes_of_its_company_is_found():
    """The second interest follows the first one's count, of which its own features say nothing."""
    rng = np.random.default_rng(2)

    def cases(number):
        features = rng.normal(size=(number, 3, 2)).astype(np.float32)
        labels = rng.random((number, 3)) < 1 / (1 + np.exp(-2 * features[:, [0, 0, 2], 0]))
        return Evidence(torch.from_numpy(features), torch.from_numpy(features[:, :, 0]), torch.zeros(number, 4)), labels

    (evidence, labels), (validation, wanted) = cases(2_000), cases(1_000)

    def judge(logits):
        return mean_average_precision(logits[:, 1:2], wanted[:, 1:2])

    config = HeadConfig(passes=1, fewest_steps=400)
    head, _ = fit_head(evidence, labels, np.arange(len(labels)), validation, judge, config)
    best = judge(np.asarray(validation.features[:, [0, 0, 2], 0]))
    assert judge(head.logits(validation)) > 0.9 * best > 1.3 * wanted[:, 1].mean()


def test_company_that_only_fits_its_own_cases_is_not_listened_to():
    """Noise: forty interests fit two hundred answers well enough, and say nothing of other users."""
    rng = np.random.default_rng(3)
    habits = torch.from_numpy(rng.normal(size=(200, 40)).astype(np.float32))
    labels = rng.random((200, 40)) < 0.3
    evidence = Evidence(torch.zeros(200, 40, 1), habits, torch.zeros(200, 4))
    head, _ = fit_head(evidence, labels, np.arange(200), evidence, lambda logits: 0.0, QUICK)
    said = head.company(habits).abs()
    with torch.inference_mode():
        heard = float((head(evidence, said) - head(evidence, -said)).mean())
    assert abs(heard) < 0.5  # 2.0 where it learns from what its own cases fit


def test_leaning_on_a_count_never_ranks_validation_worse():
    rng = np.random.default_rng(1)
    (evidence, labels), (validation, wanted) = made_up(rng, cases=40), made_up(rng)

    def judge(logits):
        return mean_average_precision(logits, wanted)

    head, _ = fit_head(evidence, rng.permuted(labels), np.arange(len(labels)), validation, lambda logits: 0.0, QUICK)
    leaning = lean_on_best_count(head, validation, judge)
    assert judge(leaning.logits(validation)) > judge(head.logits(validation)) + 0.05
    added = leaning.logits(validation) - head.logits(validation)
    assert np.corrcoef(added.ravel(), validation.features[:, :, 0].numpy().ravel())[0, 1] == pytest.approx(
        1.0, abs=1e-4
    )
