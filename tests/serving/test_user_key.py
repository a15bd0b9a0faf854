import hashlib
import hmac
import stat
from concurrent.futures import ThreadPoolExecutor

from serving.user_key import UserKey, key_beside


def test_a_hash_is_an_hmac_of_the_name():
    expected = hmac.new(b"k" * 32, "顾客3".encode(), hashlib.sha256).hexdigest()[:32]
    assert UserKey(b"k" * 32).hash("顾客3") == expected
    assert UserKey(b"other").hash("顾客3") != expected


def test_the_key_is_not_told_by_accident():
    assert "secret" not in repr(UserKey(b"secret"))


def test_a_key_is_made_once_for_its_owner_alone(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        hashes = set(pool.map(lambda _: key_beside(tmp_path).hash("ann"), range(32)))
    assert hashes == {key_beside(tmp_path).hash("ann")}
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_bytes()) == 32


def test_another_folder_has_another_key(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert key_beside(tmp_path / "a").hash("ann") != key_beside(tmp_path / "b").hash("ann")
