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
    config = {**dict(zip(_FIELDS, numbers)), "tie_word_embeddings": True, "model_type": "qwen2"}
    return {"config": {**config, "max_position_embeddings": 4096}, "seq": seq, "batch": batch}


SIZES = {
    "xs": _size(96, 64, 2, 4, 2, 176, seq=64, batch=16),
    "s": _size(512, 128, 4, 4, 2, 384, seq=128, batch=16),
    "m": _size(2048, 256, 6, 8, 2, 704, seq=256, batch=8),
    "0.5b": _size(151936, 896, 24, 14, 2, 4864),  # the shape of Qwen2.5-0.5B
}

# The relatives, each at about the shape of s; dropout off, so that both sides compute the same.
_S = SIZES["s"]["config"]
_GPT2 = {
    **{"model_type": "gpt2", "vocab_size": 512, "n_embd": 128, "n_layer": 4, "n_head": 4},
    **{"n_positions": 512, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
}
_BERT = {
    **{"model_type": "bert", "vocab_size": 512, "hidden_size": 128, "num_hidden_layers": 4},
    **{"num_attention_heads": 4, "intermediate_size": 512, "max_position_embeddings": 512},
    **{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
}
_MARIAN = {
    **{"model_type": "marian", "vocab_size": 512, "d_model": 128, "dropout": 0.0},
    **{"encoder_layers": 3, "decoder_layers": 3, "encoder_ffn_dim": 512, "decoder_ffn_dim": 512},
    **{"encoder_attention_heads": 4, "decoder_attention_heads": 4, "pad_token_id": 511},
    **{"decoder_start_token_id": 511, "eos_token_id": 0, "max_position_embeddings": 512},
    **{"activation_function": "relu", "scale_embedding": True},
}
SIZES |= {
    "llama": {**SIZES["s"], "config": {**_S, "model_type": "llama"}},
    "qwen3": {**SIZES["s"], "config": {**_S, "model_type": "qwen3", "head_dim": 32}},
    "gpt2": {"config": _GPT2, "seq": 128, "batch": 16},
    "bert": {"config": _BERT, "seq": 128, "batch": 16, "auto": "AutoModelForMaskedLM"},
    "marian": {"config": _MARIAN, "seq": 32, "batch": 64, "auto": "AutoModelForSeq2SeqLM"},
}
RELATIVES = ("llama", "qwen3", "gpt2", "bert", "marian")


def auto(size, library):
    """The class, of transformers or of `tinyqwen.models.auto`, that makes models of a size."""
    return getattr(library, SIZES[size].get("auto", "AutoModelForCausalLM"))


def batch_for(size, batch=None, seq=None):
    """({name: array}, how many of its labels count): a training step's batch."""
    ids = ids_for(size, (batch or SIZES[size]["batch"], seq or SIZES[size]["seq"]))
    shifted = "auto" not in SIZES[size]  # a causal model predicts nothing at the last position
    return {"input_ids": ids, "labels": ids}, ids[:, int(shifted) :].size


def ids_for(size, shape, seed=0):
    """Random token ids of this shape, the same for every side."""
    import numpy as np

    return np.random.default_rng(seed).integers(1, SIZES[size]["config"]["vocab_size"] - 1, shape)
