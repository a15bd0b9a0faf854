import hashlib
import json
import stat

import pytest
from typer.testing import CliRunner

from recsys.errors import InputError
from serving.cli import app
from serving.keys import KeyRing, Scope, create_key, read_keys, write_keys


def invoke(*arguments):
    return CliRunner().invoke(app, ["keys", *[str(argument) for argument in arguments]], env={"COLUMNS": "120"})


def test_a_key_is_found_by_itself_alone():
    key, kept = create_key([Scope.READ], note="shop")
    other, kept_other = create_key([Scope.READ, Scope.WRITE], note="")
    ring = KeyRing((kept, kept_other))
    assert ring.find(key) == kept
    assert ring.find(other) == kept_other
    prefix, key_id, secret = key.split("_", 2)
    for wrong in (
        "",
        key[:-1],
        key + "x",
        f"{prefix}_{kept_other.key_id}_{secret}",
        f"x_{key_id}_{secret}",
        "ключ",
        "_",
    ):
        assert ring.find(wrong) is None


def test_the_secret_is_not_kept(tmp_path):
    key, kept = create_key([Scope.ADMIN], note="")
    write_keys(tmp_path / "keys.json", KeyRing((kept,)))
    written = (tmp_path / "keys.json").read_text()
    secret = key.split("_", 2)[2]
    assert secret not in written
    assert hashlib.sha256(secret.encode()).hexdigest() in written
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600
    assert read_keys(tmp_path / "keys.json") == KeyRing((kept,))
    assert list(tmp_path.iterdir()) == [tmp_path / "keys.json"]


@pytest.mark.parametrize("written", ["", "[]", "{}", '{"keys": [{}]}', '{"keys": [3]}', '{"keys": 3}'])
def test_a_damaged_file_is_refused_by_name(tmp_path, written):
    (tmp_path / "keys.json").write_text(written)
    with pytest.raises(InputError, match=r"keys\.json: damaged"):
        read_keys(tmp_path / "keys.json")


def test_create_list_revoke(tmp_path):
    file = tmp_path / "deep" / "keys.json"
    made = invoke("create", "--file", file, "--scope", "read", "--scope", "write", "--note", "the shop")
    assert made.exit_code == 0
    key = made.stdout.strip()
    key_id = read_keys(file).find(key).key_id
    assert invoke("create", "--file", file, "--scope", "admin").exit_code == 0
    listed = invoke("list", "--file", file).stdout
    assert f"{key_id}  read,write" in listed
    assert "the shop" in listed
    assert key.split("_", 2)[2] not in listed
    assert invoke("revoke", "--file", file, key_id).exit_code == 0
    assert read_keys(file).find(key) is None
    assert len(json.loads(file.read_text())["keys"]) == 1
    again = invoke("revoke", "--file", file, key_id)
    assert again.exit_code == 2
    assert f"no key {key_id}" in again.stderr


def test_a_missing_file_is_named(tmp_path):
    assert "no key file here" in invoke("list", "--file", tmp_path / "none").stderr
