"""From the items table to what the item tower reads: text vectors, category numbers, standardised columns.

Shapes: C items, M categories of one item, T width of a text vector, F numeric columns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from recsys.catalogue import Catalogue
from recsys.towers import ItemFeatures

EncodeText = Callable[[Sequence[str]], npt.NDArray[np.float32]]
"""(C,) texts → (C, T) unit rows."""


@dataclass(frozen=True)
class Vocabulary:
    """What turns an item's columns into numbers; made once from the items table, kept in the bundle."""

    categories: tuple[str, ...]
    """Category names, numbered from 1."""
    numbers: dict[str, tuple[float, float]]
    """Numeric column → mean and standard deviation over the items that have it."""

    @classmethod
    def of(cls, catalogue: Catalogue) -> "Vocabulary":
        """The categories and numeric columns of a catalogue. It reads items only, never who chose them."""
        names = sorted({name for item in catalogue.categories for name in item})
        moments = {}
        for column, values in catalogue.numbers.items():
            known = values[~np.isnan(values)].astype(np.float64)
            if len(known):
                moments[column] = (float(known.mean()), float(known.std()) or 1.0)
        return cls(categories=tuple(names), numbers=moments)


def item_features(catalogue: Catalogue, vocabulary: Vocabulary, encode: EncodeText | None) -> ItemFeatures:
    """Features of every row of a catalogue, padding included.

    Categories and columns the vocabulary does not know are left out: a new item may bring them.
    Ready-made vectors of the catalogue stand beside the text vectors.
    """
    rows = len(catalogue.item_ids)
    parts = []
    if encode is not None:
        parts.append(encode(catalogue.texts()))
    if catalogue.vectors is not None:
        lengths = np.linalg.norm(catalogue.vectors, axis=1, keepdims=True)
        parts.append(catalogue.vectors / np.maximum(lengths, 1e-12))
    text_vectors = np.concatenate(parts, axis=1) if parts else np.zeros((rows, 0), np.float32)
    return ItemFeatures(
        text_vectors=torch.from_numpy(text_vectors),
        categories=_category_numbers(catalogue, vocabulary),
        numbers=_standardised(catalogue, vocabulary),
    )


def _category_numbers(catalogue: Catalogue, vocabulary: Vocabulary) -> torch.Tensor:  # (C, M)
    number = {name: row for row, name in enumerate(vocabulary.categories, start=1)}
    known = [[number[name] for name in names if name in number] for names in catalogue.categories]
    padded = torch.zeros(len(known), max(max(map(len, known)), 1), dtype=torch.int64)
    for row, numbers in enumerate(known):
        padded[row, : len(numbers)] = torch.tensor(numbers, dtype=torch.int64)
    return padded


def _standardised(catalogue: Catalogue, vocabulary: Vocabulary) -> torch.Tensor:  # (C, 2 F)
    rows = len(catalogue.item_ids)
    columns = []
    for name, (mean, std) in vocabulary.numbers.items():
        values = catalogue.numbers.get(name, np.full(rows, np.nan, np.float32))
        known = ~np.isnan(values)
        columns += [np.where(known, (np.nan_to_num(values) - mean) / std, 0.0), known]
    return torch.from_numpy(
        np.stack(columns, axis=1).astype(np.float32) if columns else np.zeros((rows, 0), np.float32)
    )
