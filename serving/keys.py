"""API keys: made once, shown once, kept only as hashes.

A key is ``recsys_ID_SECRET``. The secret has 256 random bits, so a plain SHA-256 keeps it as well as a slow hash would,
and a check costs microseconds.
"""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from recsys.errors import InputError

PREFIX = "recsys"


class Scope(StrEnum):
    """What a key may do."""

    READ = "read"
    """Ask for recommendations, similar items, interests, the model."""
    WRITE = "write"
    """Send events, change items, forget users."""
    ADMIN = "admin"
    """Swap bundles."""


@dataclass(frozen=True)
class StoredKey:
    """What is kept of a key."""

    key_id: str
    """Not secret: logs and limits tell keys apart by it."""
    sha256: str
    """Of the secret."""
    scopes: tuple[Scope, ...]
    note: str
    """Whose it is."""
    created_at: str
    """ISO 8601."""


@dataclass(frozen=True)
class KeyRing:
    """The keys of one file."""

    keys: tuple[StoredKey, ...]

    def find(self, given: str) -> StoredKey | None:
        """The key that was given, if it is one of these; it takes as long if not."""
        prefix, _, rest = given.partition("_")
        key_id, _, secret = rest.partition("_")
        known = next((key for key in self.keys if key.key_id == key_id), None)
        expected = known.sha256 if known else _NOBODY
        matches = hmac.compare_digest(_sha256(secret), expected)
        return known if matches and prefix == PREFIX else None


def create_key(scopes: Sequence[Scope], *, note: str) -> tuple[str, StoredKey]:
    """A new key, as its owner gets it and as it is kept."""
    key_id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    kept = StoredKey(key_id, _sha256(secret), tuple(sorted(set(scopes))), note, now)
    return f"{PREFIX}_{key_id}_{secret}", kept


def read_keys(file: Path) -> KeyRing:
    """The keys of a file.

    Raises:
        InputError: The file is missing, or is no key file.
    """
    try:
        listed = json.loads(file.read_text(encoding="utf-8"))["keys"]
        return KeyRing(
            tuple(StoredKey(**{**one, "scopes": tuple(Scope(scope) for scope in one["scopes"])}) for one in listed)
        )
    except FileNotFoundError:
        raise InputError(f"{file}: no key file here. Make one with `recsys keys create --file {file}`.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{file}: damaged, not a key file. Restore it, or make keys anew.") from None


def write_keys(file: Path, ring: KeyRing) -> None:
    """Replace a file by these keys, readable by its owner alone; never half of them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        json.dump({"keys": [asdict(key) for key in ring.keys]}, out, indent=1, ensure_ascii=False)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(file)


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", errors="surrogateescape")).hexdigest()


_NOBODY = _sha256(secrets.token_urlsafe(32))
