"""Texts are told apart by their words, in English and in Chinese, and only with the bundle and encoder learnt from."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from recsys.catalogue import Catalogue
from recsys.encoders import TextEncoder
from recsys.errors import InputError
from recsys.taxonomy import Taxonomy
from recsys.text_interests import FILE, fit_linear_head, load_text_interests, own_texts, save_text_interests
from recsys.text_training import TextItems, train_text_interests


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
    classifier, report = trained
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
    classifier, _ = trained
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
