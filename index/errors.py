"""The one error this package raises for what its caller can mend: it names the value, the place and the remedy."""


class VectorIndexError(ValueError):
    """A vector, filter, file or backend that the index refuses. The message says what, where, and what to do."""
