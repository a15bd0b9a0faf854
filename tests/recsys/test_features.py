"""From the items table to tensors: numbers by hand, what is unknown, and what only a later catalogue brings."""

import numpy as np
import pytest

from recsys.catalogue import Catalogue
from recsys.encoders import TextEncoder
from recsys.features import Vocabulary, item_features

NAN = float("nan")
CATALOGUE = Catalogue(
    item_ids=["", "tea", "ink", "cup"],
    titles=["", "红茶", "Ink", ""],
    categories=[(), ("drink", "hot"), (), ("hot",)],
    numbers={
        "price": np.array([NAN, 1, 3, NAN], np.float32),
        "always 7": np.array([NAN, 7, 7, 7], np.float32),
        "never": np.full(4, NAN, np.float32),
    },
    vectors=np.array([[0, 0], [3, 4], [0, 0], [0, 2]], np.float32),
)


def test_the_vocabulary_by_hand():
    vocabulary = Vocabulary.of(CATALOGUE)
    assert vocabulary.categories == ("drink", "hot")
    assert vocabulary.numbers == {"price": (2.0, 1.0), "always 7": (7.0, 1.0)}  # no spread is no division by zero


def test_features_by_hand():
    features = item_features(CATALOGUE, Vocabulary.of(CATALOGUE), None)
    assert features.categories.tolist() == [[0, 0], [1, 2], [0, 0], [2, 0]]
    # price, known, always 7, known
    assert features.numbers.tolist() == [[0, 0, 0, 0], [-1, 1, 0, 1], [1, 1, 0, 1], [0, 0, 0, 1]]
    np.testing.assert_allclose(features.text_vectors, [[0, 0], [0.6, 0.8], [0, 0], [0, 1]], rtol=1e-6)


def test_text_vectors_stand_before_ready_made_ones(encoder_folder, tmp_path):
    encoder = TextEncoder(str(encoder_folder), cache=tmp_path)
    features = item_features(CATALOGUE, Vocabulary.of(CATALOGUE), encoder)
    assert features.text_vectors.shape == (4, 66)
    np.testing.assert_array_equal(features.text_vectors[:, :64], encoder(["", "红茶. drink, hot", "Ink", "hot"]))
    np.testing.assert_allclose(features.text_vectors[:, 64:], [[0, 0], [0.6, 0.8], [0, 0], [0, 1]], rtol=1e-6)


def test_a_later_catalogue_is_read_by_the_old_vocabulary():
    later = Catalogue(
        item_ids=["", "gin"], categories=[(), ("cold", "drink")], numbers={"proof": np.array([NAN, 40], np.float32)}
    )
    features = item_features(later, Vocabulary.of(CATALOGUE), None)
    assert features.categories.tolist() == [[0], [1]]  # cold was not known
    assert features.numbers.tolist() == [[0, 0, 0, 0]] * 2  # nor proof; and neither price nor always 7 is given
    assert features.text_vectors.shape == (2, 0)


def test_a_catalogue_of_names_alone():
    plain = Catalogue(item_ids=["", "a", "b"])
    features = item_features(plain, Vocabulary.of(plain), None)
    assert [tuple(part.shape) for part in (features.text_vectors, features.categories, features.numbers)] == [
        (3, 0),
        (3, 1),
        (3, 0),
    ]


@pytest.mark.parametrize("scale", [1e-3, 1e6])
def test_standardised_numbers_have_no_scale(scale):
    values = np.concatenate([[NAN], np.random.default_rng(0).normal(5, 2, 500)]).astype(np.float32)
    one, other = (
        Catalogue(
            item_ids=[str(row) if row else "" for row in range(501)], numbers={"x": (values * by).astype(np.float32)}
        )
        for by in (1, scale)
    )
    numbers = [item_features(items, Vocabulary.of(items), None).numbers for items in (one, other)]
    np.testing.assert_allclose(numbers[0], numbers[1], atol=1e-4)
    assert numbers[0][1:, 0].mean().abs() < 1e-5
    assert abs(numbers[0][1:, 0].std(unbiased=False) - 1) < 1e-5
