"""What the vector index does, beside the engines one would otherwise take."""
