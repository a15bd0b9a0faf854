"""Sentence encoders: read texts into unit vectors, and never read the same text twice.

Shapes: C texts, T width of a text vector.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from recsys.encoder_folders import cache_home, encoder_fingerprint, resolve_encoder
from recsys.progress import progress_of

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

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
        self.fingerprint = encoder_fingerprint(self.folder)
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
            self._model = load_encoder(self.folder, device=self._device)
        return self._model

    def _read(self, texts: list[str]) -> npt.NDArray[np.float32]:
        return read_texts(self.model, texts)


def load_encoder(folder: Path, *, device: str | None = None) -> "SentenceTransformer":
    """An encoder of its own, which may be changed; on the best device there is unless one is named."""
    # It takes seconds to import, and a catalogue that is read already needs no encoder at all.
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device=device, local_files_only=True)


def read_texts(model: "SentenceTransformer", texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """``(C, T)`` unit rows of C texts, none of them empty, by a loaded encoder and with its own prompt."""
    # Texts of like length together: padding is work.
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    vectors = np.empty((len(texts), model.get_embedding_dimension() or 0), np.float32)
    with progress_of("reading texts", disable=len(texts) <= TEXTS_AT_ONCE) as progress:
        task = progress.add_task("", total=len(texts))
        for at in range(0, len(order), TEXTS_AT_ONCE):
            rows = order[at : at + TEXTS_AT_ONCE]
            vectors[rows] = model.encode(
                [texts[row] for row in rows],
                batch_size=TEXTS_AT_ONCE,
                normalize_embeddings=True,
                show_progress_bar=False,
            )
            progress.update(task, advance=len(rows))
    return vectors


def default_cache() -> Path:
    """Where text vectors are kept between runs."""
    return cache_home() / "texts"


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
