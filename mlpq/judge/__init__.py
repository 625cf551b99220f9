"""How good an index is, and which to choose."""
