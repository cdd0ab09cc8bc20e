"""How a model learns: data, the trainer, its settings, and what a run needs to go on."""
