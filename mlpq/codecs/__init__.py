"""What is written down for a vector: codecs, and the turns of the axes before them."""
