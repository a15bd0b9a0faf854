"""Retrieval quality on real data: several seeds, chosen on validation, reported on test once."""
