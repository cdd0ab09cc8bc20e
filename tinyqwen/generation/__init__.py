"""How a model writes: the loop, and how each token is chosen."""
