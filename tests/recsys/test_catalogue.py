import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.catalogue import Catalogue, load_catalogue, read_catalogue
from recsys.errors import InputError


def problems(report):
    return [(finding.problem, finding.column, [row for row, _ in finding.examples]) for finding in report.findings]


def test_every_kind_of_column_is_read_or_named():
    frame = pl.DataFrame(
        {
            "item_id": [7, 8],
            "title": ["茶", None],
            "description": ["green", None],
            "categories": [["drink", " hot ", "drink", ""], None],
            "price": [2.5, None],
            "stock": [3, 4],
            "sold": [True, False],
            "vector": [[1.0, 2.0], None],
            "colour": ["red", "blue"],
            "weight": ["1.5", "2 kg"],
            "size": ["1.5", None],
            "made": pl.Series(["2020-01-01", "2021-01-01"]).str.to_date(),
            "note": [" ", None],
        }
    )
    catalogue, report = read_catalogue(frame)
    assert report.ok
    assert catalogue.item_ids == ["", "7", "8"]
    assert catalogue.titles == ["", "茶", ""]
    assert catalogue.descriptions == ["", "green", ""]
    assert catalogue.categories == [(), ("drink", "hot"), ()]
    assert list(catalogue.numbers) == ["price", "stock", "sold"]
    np.testing.assert_array_equal(catalogue.numbers["price"], np.float32([np.nan, 2.5, np.nan]))
    np.testing.assert_array_equal(catalogue.numbers["sold"], np.float32([np.nan, 1, 0]))
    assert catalogue.numbers["stock"].dtype == np.float32
    np.testing.assert_array_equal(catalogue.vectors, np.float32([[0, 0], [1, 2], [0, 0]]))
    assert report.unread_columns == {
        "colour": "text",
        "weight": "text",
        "size": "text, though every cell is a number",
        "made": "Date",
        "note": "empty",
    }


def test_one_odd_cell_that_makes_a_column_of_numbers_text_is_named(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text("item_id,price,year\n007,2.5,1999\n008,n/a,2001\n009,3,2003\n")
    catalogue, report = read_catalogue(path)
    assert catalogue.item_ids == ["", "007", "008", "009"]
    assert list(catalogue.numbers) == ["year"]
    assert report.unread_columns == {"price": "text, since row 1 holds n/a"}


def test_categories_in_one_text_are_split_at_the_bar():
    catalogue, _ = read_catalogue(
        pl.DataFrame({"item_id": ["a", "b"], "kinds": ["War | Sci-Fi|War|", ""]}), columns={"categories": "kinds"}
    )
    assert catalogue.categories == [(), ("War", "Sci-Fi"), ()]
    catalogue, _ = read_catalogue(pl.DataFrame({"item_id": ["a"], "categories": [[3, 1]]}))
    assert catalogue.categories == [(), ("3", "1")]


def test_the_column_map_renames_numbers_and_leaves_columns_out():
    frame = pl.DataFrame({"sku": ["a"], "price": [9.0], "preis": [2.0], "stock": [1]})
    catalogue, report = read_catalogue(frame, columns={"item_id": "sku", "price": "preis", "stock": ""})
    assert {name: values.tolist()[1:] for name, values in catalogue.numbers.items()} == {"price": [2.0]}
    assert report.unread_columns == {"price": "Float64", "stock": "Int64"}


@pytest.mark.parametrize("dtype", [pl.List(pl.Float64), pl.Array(pl.Float32, 2), pl.List(pl.Int64)])
def test_vectors_of_every_list_type(dtype):
    frame = pl.DataFrame({"item_id": ["a", "b"], "image": pl.Series([[1, 2], [3, 4]], dtype=dtype)})
    catalogue, _ = read_catalogue(frame, columns={"vector": "image"})
    np.testing.assert_array_equal(catalogue.vectors, np.float32([[0, 0], [1, 2], [3, 4]]))


def test_no_known_vector_is_no_vectors():
    for dtype, cells in [(pl.Null, [None] * 2), (pl.List(pl.Float32), [None] * 2), (pl.List(pl.Float32), [[], []])]:
        frame = pl.DataFrame({"item_id": ["a", "b"], "vector": pl.Series(cells, dtype=dtype)})
        assert read_catalogue(frame)[0].vectors is None


def test_every_bad_row_is_counted_under_its_own_name(tmp_path):
    frame = pl.DataFrame(
        {
            "item_id": ["a", None, "b", "a", "c", "d", "e", "b", "f"],
            "price": [1.0, 1.0, float("inf"), 1.0, 1e39, 1.0, 1.0, 1.0, 1.0],
            "vector": [
                [1.0, 2.0],
                [1.0, 2.0],
                [1.0, 2.0],
                [1.0, 2.0],
                [1.0, 2.0],
                [1.0],
                [1.0, float("nan")],
                [5.0, 6.0],
                [1.0, None],
            ],
        }
    )
    catalogue, report = read_catalogue(frame, quarantine=tmp_path / "bad.parquet")
    assert problems(report) == [
        ("missing", "item_id", [1]),
        ("infinite, or too large", "price", [2, 4]),
        ("not 2 numbers", "vector", [5]),
        ("not all finite", "vector", [6, 8]),
        ("duplicate of an earlier row", "item_id", [3]),
    ]
    assert catalogue.item_ids == ["", "a", "b"]  # the second b counts, since the first is bad
    np.testing.assert_array_equal(catalogue.vectors[2], [5, 6])
    assert pl.read_parquet(tmp_path / "bad.parquet")["row"].to_list() == [1, 2, 3, 4, 5, 6, 8]


def test_doors():
    def refused(words, columns=None, strict=False, **cells):
        with pytest.raises(InputError, match=words):
            read_catalogue(pl.DataFrame(cells), columns=columns, strict=strict)

    refused("no column item_id", title=["x"])
    refused("No row is left", item_id=[None, ""])
    refused("--strict", item_id=["a", "a"], strict=True)
    refused(r"vector holds String(.|\n)*\.parquet or \.jsonl", item_id=["a"], vector=["[1, 2]"])
    refused("categories holds Struct", item_id=["a"], categories=[{"x": 1}])
    refused("title holds List", item_id=["a"], title=[["x"]])
    refused("no column name", item_id=["a"], columns={"title": "name"})
    with pytest.raises(InputError, match=r"\['a'\] stands more than once"):
        Catalogue(item_ids=["", "a", "b", "a"])


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
floats = st.floats(width=32)


@st.composite
def catalogues(draw):
    ids = draw(st.lists(texts.filter(bool), unique=True, max_size=4))
    rows = len(ids) + 1
    column = st.lists(floats, min_size=rows, max_size=rows).map(np.float32)
    width = draw(st.integers(0, 3))
    return Catalogue(
        item_ids=["", *ids],
        titles=draw(st.lists(texts, min_size=rows, max_size=rows)),
        descriptions=draw(st.lists(texts, min_size=rows, max_size=rows)),
        categories=draw(st.lists(st.lists(texts, max_size=3).map(tuple), min_size=rows, max_size=rows)),
        numbers=draw(st.dictionaries(texts | st.sampled_from(["title", "vector"]), column, max_size=3)),
        vectors=np.float32(
            draw(st.lists(st.lists(floats, min_size=width, max_size=width), min_size=rows, max_size=rows))
        )
        if width
        else None,
    )


@given(catalogues())
def test_what_is_saved_is_loaded(tmp_path_factory, catalogue):
    path = tmp_path_factory.mktemp("catalogue") / "items.parquet"
    catalogue.save(path)
    loaded = load_catalogue(path)
    assert (loaded.item_ids, loaded.titles, loaded.descriptions) == (
        catalogue.item_ids,
        catalogue.titles,
        catalogue.descriptions,
    )
    assert loaded.categories == catalogue.categories
    assert list(loaded.numbers) == list(catalogue.numbers)
    for name, values in catalogue.numbers.items():
        np.testing.assert_array_equal(loaded.numbers[name].view(np.uint32), values.view(np.uint32))  # bit for bit
    if catalogue.vectors is None:
        assert loaded.vectors is None
    else:
        np.testing.assert_array_equal(loaded.vectors.view(np.uint32), catalogue.vectors.view(np.uint32))


def test_a_saved_catalogue_is_a_table_whose_row_number_is_the_item_idx():
    catalogue, _ = read_catalogue(pl.DataFrame({"item_id": ["a", "b"], "title": ["x", "y"], "price": [1, 2]}))
    frame = catalogue.to_frame()
    assert frame["item_id"].to_list() == ["", "a", "b"]
    assert frame.columns == ["item_id", "title", "description", "categories", "number:price"]
