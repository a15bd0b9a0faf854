"""The manifest of a version: what was saved, for which bundle, and the checksum of each file."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from index.errors import VectorIndexError

FORMAT = 1
NAME = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What a version holds."""

    version: str
    parent: str | None
    """The version it took over from; ``rollback`` goes back to it."""
    fingerprint: str
    """Of the bundle whose model made the vectors."""
    kind: dict[str, Any]
    dim: int
    rows: int
    created_at: str
    faiss: str
    files: dict[str, dict[str, Any]]
    """Name → bytes and sha256."""
    format: int = FORMAT

    def checksum(self) -> str:
        """The sha256 of everything it says."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def write(self, version: Path) -> None:
        """Write it into the folder of its version."""
        write_synced(version / NAME, json.dumps({**asdict(self), "checksum": self.checksum()}, indent=2).encode())

    @classmethod
    def read(cls, version: Path) -> Self:
        """The manifest of a version.

        Raises:
            VectorIndexError: it is missing, altered, or of a format this version cannot read.
        """
        try:
            document = json.loads((version / NAME).read_text())
            checksum = document.pop("checksum")
            if document["format"] != FORMAT:
                raise VectorIndexError(
                    f"{version / NAME}: format {document['format']}, not {FORMAT}. Build the index again."
                )
            manifest = cls(**document)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
            if isinstance(cause, VectorIndexError):
                raise
            raise damaged(version / NAME, f"not a manifest ({type(cause).__name__}: {cause})") from cause
        if manifest.checksum() != checksum:
            raise damaged(version / NAME, "does not match its checksum")
        return manifest

    def check(self, version: Path) -> None:
        """Read every file through.

        Raises:
            VectorIndexError: one is missing, shortened or altered; it is named.
        """
        for name, recorded in self.files.items():
            path = version / name
            if not path.is_file():
                raise damaged(path, "missing")
            if described(path) != recorded:
                raise damaged(path, "does not match the checksum in the manifest")


def described(path: Path) -> dict[str, Any]:
    """A file's bytes and sha256."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def damaged(path: Path, what: str) -> VectorIndexError:
    """The error for a file that cannot be trusted."""
    return VectorIndexError(f"{path}: {what}. Put a good copy back, roll back a version, or build the index again.")
