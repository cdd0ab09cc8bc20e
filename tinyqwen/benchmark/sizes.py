"""The models that are measured."""

_FIELDS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
)


def _size(*numbers, seq=None, batch=None):
    config = {**dict(zip(_FIELDS, numbers)), "tie_word_embeddings": True}
    return {"config": {**config, "max_position_embeddings": 4096}, "seq": seq, "batch": batch}


SIZES = {
    "xs": _size(96, 64, 2, 4, 2, 176, seq=64, batch=16),
    "s": _size(512, 128, 4, 4, 2, 384, seq=128, batch=16),
    "m": _size(2048, 256, 6, 8, 2, 704, seq=256, batch=8),
    "0.5b": _size(151936, 896, 24, 14, 2, 4864),  # the shape of Qwen2.5-0.5B
}


def ids_for(size, shape, seed=0):
    """Random token ids of this shape, the same for every side."""
    import numpy as np

    return np.random.default_rng(seed).integers(0, SIZES[size]["config"]["vocab_size"], shape)
