"""Interests from categories, and discovered ones in a catalogue whose clusters are known."""

import json

import numpy as np
import pytest

from recsys.catalogue import Catalogue
from recsys.taxonomy import Taxonomy, discover_interests

SHELVES = {
    "fruit": ["apple", "pear", "plum", "ripe", "orchard"],
    "tools": ["bolt", "screw", "nail", "steel", "drill"],
    "strings": ["violin", "cello", "sonata", "bow", "quartet"],
    "茶": ["绿茶", "红茶", "乌龙茶", "茶壶", "普洱茶"],
}


def shop(*, items=30, seed=0):
    """A catalogue without categories, vectors of its texts, and the shelf of every item: words in a bag, by hand."""
    rng = np.random.default_rng(seed)
    words = [word for shelf in SHELVES.values() for word in shelf] + ["new", "best", "新品"]
    titles, vectors, shelf_of = [""], [np.zeros(len(words))], [""]
    for shelf, own in SHELVES.items():
        for _ in range(items):
            chosen = [*rng.choice(own, 3, replace=False), rng.choice(words[-3:])]
            titles.append(" ".join(chosen))
            vectors.append(np.isin(words, own) * 1.0 + np.isin(words, chosen))
            shelf_of.append(shelf)
    catalogue = Catalogue(item_ids=["", *(f"i{n}" for n in range(len(titles) - 1))], titles=titles)
    return catalogue, np.array(vectors, dtype=np.float32), shelf_of


def test_known_clusters_are_found_and_named_by_their_words():
    catalogue, vectors, shelf_of = shop()
    interests = discover_interests(catalogue, vectors, seed=0)
    assert interests[0] == ()
    name_of = {
        shelf: {names for names, its in zip(interests, shelf_of, strict=True) if its == shelf} for shelf in SHELVES
    }
    assert all(len(names) == 1 for names in name_of.values())  # every item of a shelf has the same single interest
    assert len({name for names in name_of.values() for name in names}) == len(SHELVES)
    for shelf, words in SHELVES.items():
        ((name,),) = name_of[shelf]
        terms = name.split(", ")
        assert len(terms) == 3
        assert set(terms) <= set(words), (shelf, name)


def test_the_same_seed_discovers_the_same():
    catalogue, vectors, _ = shop()
    assert discover_interests(catalogue, vectors, seed=4) == discover_interests(catalogue, vectors, seed=4)


def test_an_item_between_two_clusters_is_of_both():
    catalogue, vectors, shelf_of = shop()
    first, other = shelf_of.index("fruit"), shelf_of.index("tools")
    vectors[first] = vectors[[row for row, shelf in enumerate(shelf_of) if shelf == "tools"]].mean(0) * 1.01
    vectors[first] += vectors[[row for row, shelf in enumerate(shelf_of) if shelf == "fruit"]].mean(0)
    interests = discover_interests(catalogue, vectors, seed=0)
    assert len(interests[other]) == 1
    assert 1 <= len(interests[first]) <= 2  # far from both middles, it need not be typical of the second


def test_without_texts_clusters_are_named_after_their_middle():
    catalogue, vectors, shelf_of = shop()
    bare = Catalogue(item_ids=catalogue.item_ids)
    names = Taxonomy.of(discover_interests(bare, vectors, seed=0)).names
    assert len(names) == len(SHELVES)
    of = {shelf_of[bare.index_of(name.removeprefix("like "))] for name in names}
    assert of == set(SHELVES)


def test_items_without_a_vector_are_of_no_interest():
    catalogue, vectors, _ = shop()
    vectors[5] = 0
    assert discover_interests(catalogue, vectors, seed=0)[5] == ()
    nothing = discover_interests(catalogue, np.zeros_like(vectors), seed=0)
    assert set(nothing) == {()}
    assert len(Taxonomy.of(nothing)) == 0


def test_several_categories_share_an_item():
    taxonomy = Taxonomy.of([(), ("b", "a"), ("a",), (), ("a", "c", "b")])
    assert taxonomy.names == ("a", "b", "c")
    third = pytest.approx(1 / 3)
    assert taxonomy.shares.toarray().tolist() == [[0, 0, 0], [0.5, 0.5, 0], [1, 0, 0], [0, 0, 0], [third, third, third]]


def test_discovered_interests_survive_json():
    catalogue, vectors, _ = shop()
    interests = discover_interests(catalogue, vectors, seed=0)
    again = Taxonomy.of(json.loads(json.dumps(interests)))
    assert again.names == Taxonomy.of(interests).names
    assert (again.shares != Taxonomy.of(interests).shares).nnz == 0


def test_events_with_items_that_came_later():
    taxonomy = Taxonomy.of([(), ("b", "a"), ("a",)])
    told = {3: ("b", "unheard of", "a"), 9: ("unheard of",)}
    item_idx = np.array([2, 3, 9, 1], dtype=np.int32)
    assert taxonomy.shares_of(item_idx).tolist() == [[1, 0], [0, 0], [0, 0], [0.5, 0.5]]
    assert taxonomy.shares_of(item_idx, later=told.__getitem__).tolist() == [[1, 0], [0.5, 0.5], [0, 0], [0.5, 0.5]]
