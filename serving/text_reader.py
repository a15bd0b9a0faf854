"""The sentence encoder behind the service: loaded when the first new text comes, and remembering the latest.

C texts, T width of a text vector.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recsys.encoders import TextEncoder
from recsys.errors import InputError
from serving.refusals import UnavailableError

REMEMBERED = 4_096


class TextReader:
    """Vectors of texts. Any thread may ask, so that slow reading can be done where nobody waits for it."""

    def __init__(self, name: str, *, cache: Path) -> None:
        """Nothing is looked for yet.

        Args:
            name: A folder, an installed encoder package, or a hub name, as the bundle's config has it.
            cache: Of the encoder's own; nothing large is written there.
        """
        self._name = name
        self._cache = cache
        self._reading = threading.Lock()
        self._remembered: OrderedDict[str, npt.NDArray[np.float32]] = OrderedDict()

    @property
    def fingerprint(self) -> str:
        """Of the encoder's weights and vocabulary.

        Raises:
            UnavailableError: There is no such encoder on this machine.
        """
        return self._encoder.fingerprint

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:  # (C, T)
        """Unit rows; zeros for an empty text.

        Raises:
            UnavailableError: There is no such encoder on this machine.
        """
        with self._reading:
            fresh = list(dict.fromkeys(text for text in texts if text and text not in self._remembered))
            if fresh:
                self._remembered.update(zip(fresh, self._read(fresh), strict=True))
            width = self._encoder.model.get_embedding_dimension() or 0
            vectors = np.zeros((len(texts), width), np.float32)
            for row, text in enumerate(texts):
                if text:
                    vectors[row] = self._remembered[text]
                    self._remembered.move_to_end(text)
            while len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
            return vectors

    def _read(self, texts: list[str]) -> npt.NDArray[np.float32]:
        return np.asarray(
            self._encoder.model.encode(texts, normalize_embeddings=True, show_progress_bar=False), np.float32
        )

    @cached_property
    def _encoder(self) -> TextEncoder:
        try:
            return TextEncoder(self._name, cache=self._cache)
        except InputError as missing:
            raise UnavailableError(f"New texts cannot be read: {missing}") from missing
