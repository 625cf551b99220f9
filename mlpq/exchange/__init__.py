"""How an index leaves for Faiss, or arrives from there."""
