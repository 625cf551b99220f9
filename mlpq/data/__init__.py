"""Where vectors come from, and what is true of them."""
