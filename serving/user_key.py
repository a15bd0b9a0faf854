"""Users by a keyed hash: how logs and the record of deletions name a user without naming them."""

import hmac
import os
import secrets
from pathlib import Path

KEY_FILE = "user.key"
_KEY_BYTES = 32


class UserKey:
    """A secret key and the hashes made with it. Without the key nobody can try names against a hash."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "UserKey(…)"  # it must not be logged

    def hash(self, user_id: str) -> str:
        """(32 hexadecimal digits) always the same for a user, and another under another key.

        Example:
            >>> key = UserKey(b"a secret")
            >>> key.hash("ann") == key.hash("ann") != key.hash("bob"), len(key.hash("ann"))
            (True, 32)
        """
        return hmac.digest(self._key, user_id.encode("utf-8", "surrogatepass"), "sha256").hex()[:32]


def key_beside(folder: Path) -> UserKey:
    """The key kept in a folder, made when it is first asked for. Whoever loses it loses the record of deletions."""
    path = folder / KEY_FILE
    beside = folder / f".{KEY_FILE}.{os.getpid()}.{secrets.token_hex(4)}"
    if not path.exists():
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(beside, path)  # of several processes that start at once, one sets the key
        except FileExistsError:
            pass
        finally:
            beside.unlink()
    return UserKey(path.read_bytes())
