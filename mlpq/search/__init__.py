"""How a batch of queries meets the inverted lists, and what the exact answer is."""
