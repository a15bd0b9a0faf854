"""Find neighbours: vectors in, ids out. Knows numpy and FAISS; knows no user and no model."""
