"""What is on the disk: whole, versioned, checked, and refused by name when it is not what was written."""

import gc
import json
import os
import shutil

import numpy as np
import pytest

from index import log, snapshot, vector_index
from index.errors import VectorIndexError
from index.filters import Attributes, Filter
from index.kinds import HNSW, Exact, FastScan, IVFFastScan, IVFFlat
from index.vector_index import VectorIndex, rollback

KINDS = [Exact(), Exact(half=True), FastScan(), IVFFastScan(16, 8), IVFFlat(16, 8), HNSW()]
FILES = ["CURRENT", "manifest.json", "ids.npy", "vectors.faiss", "approximate.faiss", "attributes.npz", "updates.log"]


@pytest.fixture(scope="module")
def rows(clustered):
    return clustered(1500)


def built(rows, kind=IVFFastScan(16, 8)):  # noqa: B008 - frozen
    attributes = Attributes([["喜剧"] if i % 3 else [] for i in range(1500)], {"year": np.arange(1500) / 7})
    return VectorIndex.build(rows[0], np.arange(1500), kind=kind, attributes=attributes, fingerprint="abc")


@pytest.fixture(scope="module")
def saved(rows, tmp_path_factory):
    """A version with every file there is, and three updates in its log."""
    directory = tmp_path_factory.mktemp("saved") / "index"
    index = built(rows)
    index.save(directory)
    index.upsert([7, 2000], rows[1][:2], Attributes([["喜剧"], ["war"]], {"year": [1.0, np.nan]}))
    index.delete([8])
    index.upsert([3000], rows[1][2:3])
    index.close()
    return directory


def everything(index, queries):
    """All rows, filtered and not: what must be the same after a round trip."""
    some = Filter(any_of=["喜剧"], ranges={"year": (None, 100)})
    return [index.search(queries, len(index), filters=condition, exact=True) for condition in (None, some)]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_round_trip_gives_the_same_answers(rows, tmp_path, kind):
    index = built(rows, kind)
    index.upsert([7, 2000], rows[1][:2], Attributes([["喜剧"], ["war"]], {"year": [1.0, np.nan]}))
    index.delete([8, 9])
    index.save(tmp_path / "index")
    loaded = VectorIndex.load(tmp_path / "index", fingerprint="abc")
    assert (loaded.kind, loaded.fingerprint, len(loaded), loaded.dim) == (kind, "abc", 1499, 32)
    for before, after in zip(everything(index, rows[1]), everything(loaded, rows[1]), strict=True):
        assert (before.ids == after.ids).all()
        assert before.scores == pytest.approx(after.scores, abs=1e-6)
    assert (index.search(rows[1], 10).ids == loaded.search(rows[1], 10).ids).all()


def test_an_empty_index_round_trips(tmp_path):
    VectorIndex.build(np.empty((0, 4)), np.empty(0, dtype=int)).save(tmp_path)
    loaded = VectorIndex.load(tmp_path)
    assert (len(loaded), loaded.dim) == (0, 4)
    assert loaded.search(np.ones((2, 4)), 3).ids.tolist() == [[-1] * 3] * 2
    loaded.upsert([5], np.ones((1, 4)))
    assert VectorIndex.load(tmp_path).search(np.ones((1, 4)), 2).ids.tolist() == [[5, -1]]


def test_updates_after_a_save_are_on_the_disk_at_once(rows, saved):
    loaded = VectorIndex.load(saved)
    assert len(loaded) == 1501
    assert loaded.search(rows[1][:3], 1).ids[:, 0].tolist() == [7, 2000, 3000]
    assert loaded.search(rows[1], 5, filters=Filter(any_of=["war"])).ids[:, :2].tolist() == [[2000, -1]] * 20


def test_another_fingerprint_is_refused(saved):
    with pytest.raises(VectorIndexError, match=r"'abc', the bundle's 'xyz'.*build the index again"):
        VectorIndex.load(saved, fingerprint="xyz")


def test_no_index_says_how_to_build_one(tmp_path):
    with pytest.raises(VectorIndexError, match="no index here"):
        VectorIndex.load(tmp_path)


def flip(content, at):
    return content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]


def zero(content, at):
    patch = content[at : at + 4096]
    return content[:at] + bytes(len(patch)) + content[at + len(patch) :]


def truncate(content, at):
    return content[:at]


@pytest.mark.parametrize("damage", [flip, zero, truncate], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_refused_by_name(saved, tmp_path, name, damage):
    rng = np.random.default_rng(len(name))
    folder = snapshot.current(saved)
    path = saved / name if name == "CURRENT" else folder / name
    content = path.read_bytes()
    for at in {0, len(content) // 2, len(content) - 1, *rng.integers(0, len(content), 12).tolist()}:
        damaged = damage(content, at)
        if damaged == content:
            continue
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(saved, copy)
        (copy / path.relative_to(saved)).write_bytes(damaged)
        with pytest.raises(VectorIndexError, match=r"CURRENT|manifest" if name in FILES[:2] else name):
            VectorIndex.load(copy)


@pytest.mark.parametrize("name", FILES[1:])
def test_a_missing_file_is_refused_by_name(saved, tmp_path, name):
    shutil.copytree(saved, tmp_path / "copy")
    (snapshot.current(tmp_path / "copy") / name).unlink()
    with pytest.raises(VectorIndexError, match=name):
        VectorIndex.load(tmp_path / "copy")


@pytest.mark.parametrize("name", FILES[1:])
def test_a_file_of_another_index_is_refused_by_name(rows, saved, tmp_path, name):
    """The other index differs in one row only; each of its files is sound in itself."""
    other = built(rows)
    other.upsert([0], rows[1][:1], Attributes([["war"]], {"year": [3.0]}))
    other.upsert([9000], rows[1][:1])
    other.compact()
    other.save(tmp_path / "other")
    shutil.copytree(saved, tmp_path / "copy")
    shutil.copy(snapshot.current(tmp_path / "other") / name, snapshot.current(tmp_path / "copy") / name)
    with pytest.raises(VectorIndexError, match=r"CURRENT" if name == "manifest.json" else name):
        VectorIndex.load(tmp_path / "copy")


def test_a_record_torn_by_a_crash_is_dropped(rows, saved, tmp_path):
    shutil.copytree(saved, tmp_path / "copy")
    path = snapshot.current(tmp_path / "copy") / "updates.log"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[-300:])
    loaded = VectorIndex.load(tmp_path / "copy")
    assert len(loaded) == 1501
    loaded.upsert([4000], rows[1][3:4])  # written over what was torn
    assert VectorIndex.load(tmp_path / "copy").search(rows[1][3:4], 1).ids.tolist() == [[4000]]


def test_records_past_the_mark_count_when_they_are_whole(saved, tmp_path):
    """After a power cut the mark of what was acknowledged may be older than the records."""
    shutil.copytree(saved, tmp_path / "copy")
    folder = snapshot.current(tmp_path / "copy")
    digest = bytes.fromhex(json.loads((folder / "manifest.json").read_text())["checksum"])
    content = (folder / "updates.log").read_bytes()
    head = log._header(digest, log._FIRST)
    (folder / "updates.log").write_bytes(head + content[len(head) :])
    assert len(VectorIndex.load(tmp_path / "copy")) == 1501


def test_versions_are_kept_and_gone_back_to(rows, tmp_path):
    index = built(rows)
    index.save(tmp_path)
    sizes = [1500]
    for step in range(4):
        index.upsert([5000 + step], rows[1][step : step + 1])
        index.compact()
        sizes.append(len(index))
    index.close()
    assert [path.name for path in snapshot.lineage(tmp_path)] == ["000005", "000004", "000003"]
    assert len(VectorIndex.load(tmp_path)) == sizes[-1] == 1504
    assert rollback(tmp_path) == "000004"
    assert len(VectorIndex.load(tmp_path)) == 1504  # version 4 with the update it took before version 5 replaced it
    assert len(VectorIndex.load(tmp_path)._state.sealed) == 1503
    assert rollback(tmp_path) == "000003"
    with pytest.raises(VectorIndexError, match="000003 is the oldest"):
        rollback(tmp_path)
    again = VectorIndex.load(tmp_path)
    again.save(tmp_path)
    assert [path.name for path in snapshot.lineage(tmp_path)] == ["000006", "000003"]
    assert not (tmp_path / "000005").exists()


def test_rolling_back_to_a_damaged_version_is_refused(rows, tmp_path):
    index = built(rows)
    index.save(tmp_path)
    other = built(rows)
    other.save(tmp_path)
    (tmp_path / "000001" / "vectors.faiss").write_bytes(b"x")
    with pytest.raises(VectorIndexError, match=r"000001/vectors.faiss"):
        rollback(tmp_path)
    assert len(VectorIndex.load(tmp_path)) == 1500


def test_saving_in_place_links_what_did_not_change(rows, tmp_path):
    index = built(rows)
    index.save(tmp_path)
    index.upsert([5000], rows[1][:1])
    index.save(tmp_path)
    index.close()
    first, second = tmp_path / "000001", tmp_path / "000002"
    assert os.path.samefile(first / "vectors.faiss", second / "vectors.faiss")
    assert len(VectorIndex.load(tmp_path)) == 1501


def test_one_writer_at_a_time(rows, tmp_path):
    built(rows).save(tmp_path)
    first, second = VectorIndex.load(tmp_path), VectorIndex.load(tmp_path)
    first.upsert([5000], rows[1][:1])
    for attempt in (
        lambda: second.upsert([5001], rows[1][:1]),
        lambda: second.delete([5001]),
        lambda: second.save(tmp_path),
        lambda: rollback(tmp_path),
    ):
        with pytest.raises(VectorIndexError, match="another writer holds"):
            attempt()
    assert len(second) == 1500
    first.close()
    with pytest.raises(VectorIndexError, match="changed by another writer"):
        second.upsert([5001], rows[1][:1])
    third = VectorIndex.load(tmp_path)
    third.upsert([5001], rows[1][:1])
    assert len(third) == 1502


def test_an_index_that_is_dropped_gives_its_right_back(rows, tmp_path):
    built(rows).save(tmp_path)
    first = VectorIndex.load(tmp_path)
    first.upsert([5000], rows[1][:1])
    del first
    gc.collect()
    VectorIndex.load(tmp_path).upsert([5001], rows[1][:1])


def test_a_full_disk_loses_nothing(rows, tmp_path, monkeypatch):
    """The log cannot take the update: it is not applied, and what came before stands."""
    index = built(rows)
    index.save(tmp_path)
    index.upsert([5000], rows[1][:1])
    with monkeypatch.context() as patch:
        patch.setattr(log.os, "fdatasync", fail)
        with pytest.raises(OSError, match="No space"):
            index.upsert([5001], rows[1][:1])
    assert len(index) == 1501
    index.upsert([5002], rows[1][1:2])
    index.close()
    loaded = VectorIndex.load(tmp_path)
    assert loaded.search(rows[1][:2], 1).ids.tolist() == [[5000], [5002]]
    assert len(loaded) == 1502


def test_a_compaction_that_fails_is_not_tried_at_every_update(rows, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(vector_index, "COMPACT_AFTER_ROWS", 3)
    monkeypatch.setattr(vector_index, "COMPACT_AFTER_SHARE", 0.0)
    index = built(rows)
    index.save(tmp_path)
    monkeypatch.setattr(snapshot, "prepare", lambda *_, **__: fail(0))
    for row_id in range(5000, 5012):
        index.upsert([row_id], rows[1][:1])
        index._compactor and index._compactor.join()
    assert [record.message.split(";")[0] for record in caplog.records] == ["Compaction failed"] * 3  # at 3, 6 and 12
    assert len(index) == 1512
    index.close()


def test_an_old_version_that_cannot_be_removed_stops_nothing(rows, tmp_path, monkeypatch):
    """The new version counts from the moment CURRENT names it: an update after that must go to its log."""
    index = built(rows)
    index.save(tmp_path)
    monkeypatch.setattr(snapshot, "_prune", fail)
    index.upsert([5000], rows[1][:1])
    index.compact()
    index.upsert([5001], rows[1][1:2])
    index.close()
    assert VectorIndex.load(tmp_path).search(rows[1][:2], 1).ids.tolist() == [[5000], [5001]]


def fail(_):
    raise OSError(28, "No space left on device")
