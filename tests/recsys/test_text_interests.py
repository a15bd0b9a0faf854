"""Texts are told apart by their words, in English and in Chinese, and only with the bundle and encoder learnt from."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from recsys.bundle import read_manifest
from recsys.catalogue import Catalogue
from recsys.encoders import TextEncoder, load_encoder
from recsys.errors import InputError
from recsys.taxonomy import Taxonomy
from recsys.text_interests import FILE, fit_linear_head, load_text_interests, own_texts, save_text_interests
from recsys.text_lora import TuningConfig
from recsys.text_training import FROZEN, TUNED, TextItems, train_text_interests


@pytest.fixture(scope="module")
def worded(bundle):
    """The tiny bundle's core with other items: tea and books, by English or Chinese titles."""
    rng = np.random.default_rng(0)
    words = {"tea": ["green tea", "black tea", "茶", "红茶"], "books": ["a novel", "old book", "书", "红楼梦"]}
    kinds = [("tea", "books")[number % 2] for number in range(200)]
    titles = ["", *(f"{words[kind][rng.integers(4)]} {number}" for number, kind in enumerate(kinds))]
    ids = ["", *(f"i{number}" for number in range(200))]
    return replace(bundle, catalogue=Catalogue(ids, titles, categories=[(), *((kind,) for kind in kinds)]))


@pytest.fixture(scope="module")
def encoder(encoder_folder, tmp_path_factory):
    return TextEncoder(str(encoder_folder), cache=tmp_path_factory.mktemp("vectors"))


@pytest.fixture(scope="module")
def trained(worded, encoder):
    return train_text_interests(worded, encoder, encoder=encoder.fingerprint)


def test_english_and_chinese_are_told_apart(trained, encoder):
    classifier, report = trained.classifier, trained.report
    assert report["scorers"]["head on sentence vectors"]["mean_average_precision"]["value"] > 0.9
    assert report["scorers"]["popularity"]["mean_average_precision"]["value"] < 0.7
    assert set(report["labels"]) == {"books", "tea"}
    json.dumps(report, allow_nan=False)
    for text, interest in (("green tea", "tea"), ("红茶", "tea"), ("old book", "books"), ("红楼梦", "books")):
        ranked = classifier.ranked(encoder([text]), encoder=encoder.fingerprint)
        assert [ranked[0].name, ranked[0].about, ranked[1].about] == [interest, True, False], text


def test_categories_are_no_part_of_the_text(worded):
    texts = own_texts(worded.catalogue)
    assert texts[1] == worded.catalogue.titles[1]
    assert not any("books" in text for text in texts)


def test_parts_share_no_item(worded):
    items = TextItems.of(worded, Taxonomy.of(worded.catalogue.categories))
    assert sorted(np.concatenate(items.parts).tolist()) == list(range(200))
    assert [len(part) for part in items.parts] == [140, 30, 30]


def test_the_head_is_logistic_regression():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 5)).astype(np.float32)
    labels = rng.random((300, 2)) < 1 / (1 + np.exp(-vectors[:, :2] * 2))
    head = fit_linear_head(vectors, labels, penalty=0.01)
    for label in range(2):
        oracle = LogisticRegression(C=1 / (0.01 * 300), tol=1e-8).fit(vectors, labels[:, label])
        np.testing.assert_allclose(head.weight[:, label], oracle.coef_[0], atol=2e-3)
        assert float(head.bias[label]) == pytest.approx(float(oracle.intercept_[0]), abs=2e-3)


def test_saved_and_loaded_it_says_the_same_and_with_others_nothing(trained, copied, bundle, encoder):
    classifier = trained.classifier
    save_text_interests(classifier, copied)
    loaded = load_text_interests(copied, fingerprint=bundle.fingerprint)
    vector = encoder(["green tea"])
    assert loaded.ranked(vector, encoder=encoder.fingerprint) == classifier.ranked(vector, encoder=encoder.fingerprint)
    with pytest.raises(InputError, match="read by encoder other"):
        loaded.ranked(vector, encoder="other")
    with pytest.raises(InputError, match="made for bundle"):
        load_text_interests(copied, fingerprint="another")
    damaged = bytearray((copied / FILE).read_bytes())
    damaged[-5] ^= 1
    (copied / FILE).write_bytes(damaged)
    with pytest.raises(InputError, match="damaged"):
        load_text_interests(copied, fingerprint=bundle.fingerprint)


def test_texts_without_anything_to_tell_are_refused(bundle, encoder):
    bare = Catalogue(["", "a", "b"], ["", "one", "two"], categories=[(), ("x",), ("y",)])
    with pytest.raises(InputError, match="2 items have a title or description"):
        train_text_interests(replace(bundle, catalogue=bare), encoder, encoder=encoder.fingerprint)


@pytest.fixture(scope="module")
def paired(bundle):
    """Items of which neither word tells anything, but both together do: vectors that nobody taught hardly say it."""
    titles, kinds = [""], [()]
    for number in range(160):
        first, second = number % 2, number // 2 % 2
        titles.append(f"{('tea', 'book')[first]} {('old', 'new')[second]} {number % 10}")
        kinds.append(("match" if first == second else "clash",))
    ids = ["", *(f"i{number}" for number in range(160))]
    return replace(bundle, catalogue=Catalogue(ids, titles, categories=kinds))


def tuned_on(bundle, encoder, **how):
    return train_text_interests(
        bundle,
        encoder,
        encoder=encoder.fingerprint,
        to_tune=load_encoder(encoder.folder, device="cpu"),
        tuning=TuningConfig(epochs=10, tokens=16, **how),
    )


@pytest.fixture(scope="module")
def fine_tuned(paired, encoder):
    return tuned_on(paired, encoder, learning_rate=3e-2)


def test_a_tuned_encoder_is_kept_where_validation_likes_it(fine_tuned):
    validation = fine_tuned.report["protocol"]["mean_average_precision_on_validation"]
    assert validation[TUNED] > validation[FROZEN]
    assert fine_tuned.report["protocol"]["kept"] == TUNED
    assert fine_tuned.tuned is not None
    assert list(fine_tuned.report["scorers"]) == [TUNED, FROZEN, "popularity"]
    json.dumps(fine_tuned.report, allow_nan=False)


def test_a_tuned_encoder_that_is_no_better_is_left_out(worded, encoder, trained):
    ruined = tuned_on(worded, encoder, learning_rate=5.0)
    validation = ruined.report["protocol"]["mean_average_precision_on_validation"]
    assert validation[TUNED] <= validation[FROZEN]
    assert (ruined.tuned, ruined.report["protocol"]["kept"]) == (None, FROZEN)
    assert ruined.report["scorers"][FROZEN] == trained.report["scorers"][FROZEN]
    assert ruined.classifier.encoder == encoder.fingerprint


def test_the_tuned_encoder_lies_in_the_bundle_and_reads_for_the_classifier(fine_tuned, copied, bundle, encoder):
    saved = save_text_interests(fine_tuned.classifier, copied, tuned=fine_tuned.tuned)
    loaded = load_text_interests(copied, fingerprint=bundle.fingerprint)
    assert loaded.tuned == saved.tuned == copied / f"text_encoder-{saved.encoder[:16]}"
    reader = TextEncoder(str(loaded.tuned), cache=copied / "vectors")
    for text, kind in (("tea old 3", "match"), ("book old 3", "clash")):
        assert loaded.ranked(reader([text]), encoder=reader.fingerprint)[0].name == kind
    with pytest.raises(InputError, match="read by encoder"):
        loaded.ranked(encoder(["tea old 3"]), encoder=encoder.fingerprint)
    assert f"{loaded.tuned.name}/model.safetensors" in read_manifest(copied)["files"]


@pytest.mark.parametrize("damage", ["one bit", "gone"])
def test_a_damaged_tuned_encoder_is_refused(fine_tuned, copied, bundle, damage):
    folder = save_text_interests(fine_tuned.classifier, copied, tuned=fine_tuned.tuned).tuned
    if damage == "gone":
        shutil.rmtree(folder)
    else:
        content = bytearray((folder / "model.safetensors").read_bytes())
        content[-1] ^= 1
        (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"text_encoder-.*Train it again: recsys interests train-text --tune --bundle"):
        load_text_interests(copied, fingerprint=bundle.fingerprint)


def test_a_later_classifier_takes_the_place_of_both(fine_tuned, trained, copied, bundle):
    save_text_interests(fine_tuned.classifier, copied, tuned=fine_tuned.tuned)
    save_text_interests(trained.classifier, copied)
    assert load_text_interests(copied, fingerprint=bundle.fingerprint).tuned is None
    assert not list(copied.glob("text_encoder*"))
    assert not [name for name in read_manifest(copied)["files"] if name.startswith("text_encoder")]
