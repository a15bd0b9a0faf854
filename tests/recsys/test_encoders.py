"""Sentence encoders: texts of any language are read once, and anew where the memory of them was damaged."""

import shutil

import numpy as np
import pytest

from recsys.encoders import TextEncoder

TEXTS = ["film 1", "红楼梦", "", "tea. 茶书", "film 1"]


@pytest.fixture
def counting(encoder_folder, tmp_path, monkeypatch):
    """Makes encoders on one cache, and counts the texts that reach a model."""
    read = []
    whole = TextEncoder._read
    monkeypatch.setattr(TextEncoder, "_read", lambda self, texts: read.extend(texts) or whole(self, texts))
    return (lambda folder=encoder_folder: TextEncoder(str(folder), cache=tmp_path / "cache")), read


def test_vectors_are_unit_rows_and_an_empty_text_is_zero(counting):
    make, _ = counting
    vectors = make()(TEXTS)
    assert vectors.shape == (5, 64)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 0, 1, 1], rtol=1e-5)
    np.testing.assert_array_equal(vectors[0], vectors[4])


def test_vectors_are_the_models_own_in_the_order_given(counting):
    make, _ = counting
    encoder = make()
    texts = ["a much longer text about tea and films", "b", "middling text", "红楼梦 电影"]
    expected = np.stack([encoder.model.encode(text, normalize_embeddings=True) for text in texts])
    np.testing.assert_allclose(encoder(texts), expected, atol=1e-5)


def test_chinese_texts_differ(counting):
    make, _ = counting
    one, other, english = make()(["红楼梦", "电影 茶", "film"])
    assert one @ other < 0.999
    assert one @ english < 0.999


def test_no_text_is_read_twice(counting):
    make, read = counting
    encoder = make()
    first = encoder(TEXTS)
    assert sorted(read) == sorted({"film 1", "红楼梦", "tea. 茶书"})  # once each, the empty one not at all
    encoder(TEXTS)
    again = make()
    np.testing.assert_array_equal(again(TEXTS), first)
    assert len(read) == 3
    assert again._model is None  # it was not even loaded
    np.testing.assert_array_equal(again(["new", "film 1"])[1], first[0])
    assert read[3:] == ["new"]


@pytest.mark.parametrize("damage", ["truncated", "overwritten", "one bit", "empty", "something else"])
def test_a_damaged_cache_is_read_again(counting, tmp_path, damage):
    make, read = counting
    first = make()(TEXTS)
    (path,) = (tmp_path / "cache").iterdir()
    content = bytearray(path.read_bytes())
    if damage == "one bit":
        content[-len(content) // 2] ^= 4
    path.write_bytes(
        {
            "truncated": content[:-30],
            "overwritten": bytes(len(content)),
            "one bit": content,
            "empty": b"",
            "something else": b"PK\x03\x04 no archive",
        }[damage]
    )
    np.testing.assert_allclose(make()(TEXTS), first, atol=1e-6)
    assert len(read) == 6
    make()(TEXTS)
    assert len(read) == 6  # and is whole again


def test_another_pooling_of_the_same_weights_shares_no_cache(counting, encoder_folder, tmp_path):
    make, read = counting
    mean = make()(TEXTS)
    first_token = shutil.copytree(encoder_folder, tmp_path / "cls")
    config = first_token / "1_Pooling" / "config.json"
    config.write_text(config.read_text().replace('"mean"', '"cls"'))
    assert '"cls"' in config.read_text()
    assert np.abs(make(first_token)(TEXTS) - mean).max() > 0.01
    assert len(read) == 6
