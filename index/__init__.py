"""Find neighbours: vectors in, ids out. Knows numpy, FAISS and Milvus; knows no user and no model.

Start reading at ``vector_index``: a ``State`` is a ``Sealed`` block that an ``Engine`` searches and a ``Delta`` of what
came since; ``plan`` chooses how a filter is met, ``snapshot`` and ``log`` keep it all on the disk.
"""
