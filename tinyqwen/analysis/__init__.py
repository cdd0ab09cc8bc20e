"""What a model costs, and a look inside it."""
