import gzip
from datetime import date, timedelta

import polars as pl
import pytest

from recsys.errors import InputError
from recsys.tables import blank, names, numbers, parse_columns, read_table

VISITS = pl.DataFrame({"user_id": ["007", "王"], "item_id": ["茶", "ink"], "value": [4.5, None]})


def written(path, frame=VISITS):
    """The same table in the format that the path's ending names."""
    writers = {".parquet": frame.write_parquet, ".csv": frame.write_csv, ".jsonl": frame.write_ndjson}
    writers[".ndjson"] = frame.write_ndjson
    writers[".tsv"] = lambda path: frame.write_csv(path, separator="\t")
    if path.suffix == ".gz":
        plain = path.with_suffix("")
        writers[plain.suffix](plain)
        path.write_bytes(gzip.compress(plain.read_bytes()))
    else:
        writers[path.suffix](path)
    return path


@pytest.mark.parametrize("ending", ["parquet", "csv", "tsv", "jsonl", "ndjson", "csv.gz", "tsv.gz", "jsonl.gz"])
def test_every_file_format_holds_the_same_table(tmp_path, ending):
    table = read_table(written(tmp_path / f"visits.{ending}"), text=["user_id", "item_id"])
    assert table.frame.to_dict(as_series=False) == VISITS.to_dict(as_series=False)
    assert table.place.endswith(f"visits.{ending}")


def test_every_frame_holds_the_same_table():
    pandas = pytest.importorskip("pandas")
    frames = [VISITS, VISITS.lazy(), VISITS.to_arrow(), pandas.DataFrame(VISITS.to_dict(as_series=False))]
    for frame in frames:
        assert read_table(frame).frame.to_dict(as_series=False) == VISITS.to_dict(as_series=False)


def test_a_csv_keeps_leading_zeros_only_where_a_column_is_text(tmp_path):
    path = tmp_path / "visits.csv"
    path.write_text("uid,price\n007,007\n")
    table = read_table(path, columns={"user_id": "uid"}, text=["user_id"])
    assert table.frame.rows() == [("007", 7)]


def test_a_csv_type_is_settled_by_all_rows(tmp_path):
    path = tmp_path / "visits.csv"
    path.write_text("n\n" + "1\n" * 2000 + "x\n")
    assert read_table(path).frame["n"][-1] == "x"


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    path = tmp_path / "visits.csv"
    path.write_bytes("\ufeff用户,物品\n张三,茶\n".encode())
    table = read_table(path, columns={"user_id": "用户"})
    assert table.column("user_id").to_list() == ["张三"]


def test_json_lines_may_mix_numbers_and_text(tmp_path):
    path = tmp_path / "visits.jsonl"
    path.write_text('{"user_id": 7}\n{"user_id": "ann", "value": 2}\n')
    assert names(read_table(path).cells("user_id")).to_list() == ["7", "ann"]


def test_a_column_map_renames_nothing_in_the_owners_frame():
    frame = pl.DataFrame({"uid": ["ann"], "user_id": [3]})
    table = read_table(frame, columns={"user_id": "uid", "position": ""})
    assert table.column("user_id").to_list() == ["ann"]
    assert table.unread(["user_id"]) == ["user_id"]
    assert frame.columns == ["uid", "user_id"]


def test_an_empty_name_leaves_a_column_unread():
    table = read_table(VISITS, columns={"value": ""})
    assert not table.has("value")
    assert table.unread(["user_id", "item_id", "value"]) == ["value"]


def test_doors(tmp_path):
    def refused(source, *words, columns=None):
        with pytest.raises(InputError) as caught:
            read_table(source, columns=columns)
        for word in words:
            assert word in str(caught.value)

    def file(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    refused(tmp_path / "nowhere.csv", "nowhere.csv", "no such file")
    refused(tmp_path, str(tmp_path), "no such file")
    refused(file("a.csv", b""), "a.csv", "empty")
    refused(file("b.csv", b"user_id,item_id\n"), "b.csv", "no rows")
    refused(file("c.xlsx", b"x"), "c.xlsx", ".parquet")
    refused(file("d.parquet", b"not parquet at all"), "d.parquet", "cannot be read as parquet")
    refused(file("e.csv", b"a,b\n1,2\n3,4,5\n"), "e.csv", "more cells than the header")
    refused(file("f.csv", "用户,b\n张三,2\n".encode("gbk")), "f.csv", "UTF-8", "iconv")
    refused(file("g.jsonl", b'{"a": 1}\n{a'), "g.jsonl", "cannot be read as jsonl")
    refused(pl.scan_csv(tmp_path / "nowhere.csv"), "the polars table cannot be read", "nowhere.csv")
    refused(VISITS.clear(), "the polars table", "no rows")
    refused(VISITS, "no column uid", "user_id, item_id, value", "user_id=THAT_NAME", columns={"user_id": "uid"})
    refused([("ann", "tea")], "builtins.list is no table")


def test_pandas_columns_of_two_types_are_named():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(InputError, match="astype"):
        read_table(pandas.DataFrame({"user_id": pandas.Series([1, "x"], dtype=object)}))


@pytest.mark.parametrize(
    ("cell", "kind"), [(["a"], "List"), ({"a": 1}, "Struct"), (b"a", "Binary"), (timedelta(1), "Duration")]
)
def test_cells_are_single_values(cell, kind):
    table = read_table(pl.DataFrame({"user_id": [cell]}))
    with pytest.raises(InputError, match=f"user_id holds {kind}"):
        table.cells("user_id")


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (pl.Series([196, None]), ["196", None]),
        (pl.Series([196.0, float("nan"), 0.5, 1e300]), ["196", None, "0.5", "1e+300"]),
        (pl.Series(["007", "", "  ", None, " a"]), ["007", None, None, None, " a"]),
        (pl.Series(["a", " ", None], dtype=pl.Categorical), ["a", None, None]),
        (pl.Series(["196"]).cast(pl.Decimal(38, 0)), ["196"]),
        (pl.Series([2**63 + 1], dtype=pl.UInt64), ["9223372036854775809"]),
    ],
)
def test_names(cells, expected):
    assert names(cells).to_list() == expected


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (pl.Series([" 4.5 ", "-1", "1e3", "n/a", ""]), [4.5, -1.0, 1000.0, None, None]),
        (pl.Series([True, False, None]), [1.0, 0.0, None]),
        (pl.Series([1.0, float("nan"), float("inf")]), [1.0, None, float("inf")]),
        (pl.Series([date(2017, 1, 1)]), [None]),
        (pl.Series(["2", "x"], dtype=pl.Categorical), [2.0, None]),
    ],
)
def test_numbers(cells, expected):
    assert numbers(cells).to_list() == expected


def test_blank():
    assert blank(pl.Series(["x", "", "\t", None])).to_list() == [False, True, True, True]
    assert blank(pl.Series([0, None])).to_list() == [False, True]
    assert blank(pl.Series([0.0, float("nan"), None])).to_list() == [False, True, True]
    assert blank(pl.Series(["x", " "], dtype=pl.Categorical)).to_list() == [False, True]


def test_column_pairs():
    assert parse_columns(["user_id=a=b"]) == {"user_id": "a=b"}
    for pairs in (["user_id"], ["=uid"], ["user_id=a", "user_id=b"]):
        with pytest.raises(InputError, match=r"user_id=uid|mapped to both"):
            parse_columns(pairs)
