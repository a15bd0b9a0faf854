"""Items nobody has trained on, as the bundle's item tower sees them: by text, categories, numbers and vector alone.

C items, D width, T width of a text vector, V width of a ready-made vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from recsys.bundle import Bundle
from recsys.catalogue import Catalogue
from recsys.features import item_features
from serving.item_store import ItemDocument, TextVector
from serving.refusals import RefusedError
from serving.text_reader import TextReader


@dataclass(frozen=True, eq=False)
class ColdItems:
    """Encodes what is told of items for one bundle."""

    bundle: Bundle
    reader: TextReader

    @property
    def vector_width(self) -> int:
        """V of the bundle's catalogue; 0 where its items have no ready-made vectors."""
        vectors = self.bundle.catalogue.vectors
        return 0 if vectors is None else vectors.shape[1]

    @property
    def reads_text(self) -> bool:
        """Whether the item tower was trained on text."""
        text = self.bundle.model.item_tower.text
        return text is not None and text.in_features > self.vector_width

    def check(self, document: ItemDocument) -> None:
        """Refuse what this bundle's items cannot have.

        Raises:
            RefusedError: A numeric column that the catalogue does not have, a vector of another width, or all zeros.
        """
        known = self.bundle.catalogue.numbers
        for name, value in document.numbers.items():
            if name not in known:
                columns = ", ".join(known) or "none"
                raise RefusedError(("numbers", name), f"The catalogue's numeric columns are: {columns}", given=value)
        if document.vector is None:
            return
        if len(document.vector) != self.vector_width:
            expected = f"{self.vector_width} numbers" if self.vector_width else "no vector: the catalogue's have none"
            raise RefusedError(("vector",), f"Expected {expected}", given=f"{len(document.vector)} numbers")
        if not any(document.vector):
            raise RefusedError(("vector",), "All zeros is no direction; leave the vector out")

    def warnings(self, document: ItemDocument) -> list[str]:
        """What of it the towers cannot use."""
        told = []
        new = [name for name in document.categories if name not in self.bundle.vocabulary.categories]
        if new and self.bundle.model.item_tower.category is not None:
            told.append(f"categories: {', '.join(map(repr, new[:5]))} came after training; filters and texts use them.")
        if not any([document.title, document.description, document.categories, document.numbers, document.vector]):
            told.append("nothing is told of the item, so nothing speaks for recommending it to anyone.")
        return told

    def read_text(self, document: ItemDocument) -> TextVector | None:
        """What the sentence encoder makes of an item; None where the towers read no text or there is none.

        Raises:
            UnavailableError: The encoder is not on this machine.
        """
        (text,) = _as_catalogue([document]).texts()[1:]
        if not self.reads_text or not text:
            return None
        return TextVector(self.reader.fingerprint, self.reader([text])[0])

    def remember(self, documents: Sequence[ItemDocument]) -> None:
        """Read the texts of items that will be encoded in a moment, by a thread that must not wait.

        Raises:
            UnavailableError: The encoder is not on this machine.
        """
        if self.reads_text:
            self.reader(_as_catalogue(documents).texts()[1:])

    def vectors(
        self,
        documents: Sequence[ItemDocument],  # (C,)
        texts: Sequence[TextVector | None],  # (C,)
        id_idx: Sequence[int],  # (C,)
    ) -> npt.NDArray[np.float32]:  # (C, D)
        """Unit rows of the item tower.

        Args:
            documents: Of items that are new or have changed.
            texts: What was read of each; what another encoder read, or nobody, is read now.
            id_idx: Whose id embedding to add: a bundle's item that changes is still itself; 0 for a new one.

        Raises:
            UnavailableError: A text must be read and the encoder is not on this machine.
        """
        catalogue = _as_catalogue(documents, vector_width=self.vector_width)
        read = None if not self.reads_text else self._text_matrix(catalogue.texts(), texts)
        features = item_features(catalogue, self.bundle.vocabulary, None if read is None else lambda _: read)
        with torch.inference_mode():
            vectors = self.bundle.model.item_tower(features, torch.tensor([0, *id_idx]))
        return np.asarray(vectors[1:].numpy(), np.float32)

    def _text_matrix(
        self, lines: Sequence[str], texts: Sequence[TextVector | None]
    ) -> npt.NDArray[np.float32]:  # (C + 1, T)
        text = self.bundle.model.item_tower.text
        assert text is not None  # that is what reading text means
        matrix = np.zeros((len(lines), text.in_features - self.vector_width), np.float32)
        told = [row for row, line in enumerate(lines) if line]
        if not told:
            return matrix
        mine = self.reader.fingerprint
        unread = []
        for row in told:
            kept = texts[row - 1]
            if kept is not None and kept.encoder == mine:
                matrix[row] = kept.values
            else:
                unread.append(row)
        if unread:
            matrix[unread] = self.reader([lines[row] for row in unread])
        return matrix


def _as_catalogue(documents: Sequence[ItemDocument], *, vector_width: int = 0) -> Catalogue:
    """(C + 1,) rows, the padding first; a vector of another width, put under another bundle, is left out."""
    columns = {name for document in documents for name in document.numbers}
    vectors = np.zeros((len(documents) + 1, vector_width), np.float32)
    for row, document in enumerate(documents, start=1):
        if document.vector is not None and len(document.vector) == vector_width:
            vectors[row] = document.vector
    return Catalogue(
        item_ids=["", *(str(row) for row in range(len(documents)))],
        titles=["", *(document.title for document in documents)],
        descriptions=["", *(document.description for document in documents)],
        categories=[(), *(document.categories for document in documents)],
        numbers={
            name: np.array([np.nan, *(document.numbers.get(name, np.nan) for document in documents)], np.float32)
            for name in columns
        },
        vectors=vectors if vector_width else None,
    )
