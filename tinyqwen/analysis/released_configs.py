"""The shapes of published models, as their config.json says, to count with.

Dicts with Qwen2Config's field names, for `budget.py`. The models of other families are built of the
same parts; `attention_bias` says that q, k and v have no biases in them.
"""


def _shape(h, i, layers, heads, kv_heads, vocab, **more):
    return {
        "hidden_size": h,
        "intermediate_size": i,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocab,
        **more,
    }


_TIED, _UNTIED = {"tie_word_embeddings": True}, {"tie_word_embeddings": False}
_LLAMA = {**_UNTIED, "attention_bias": False}

QWEN2_5 = {  # Qwen team 2024, "Qwen2.5 technical report", table 1; exact numbers: config.json
    "Qwen2.5-0.5B": _shape(896, 4864, 24, 14, 2, 151936, **_TIED),
    "Qwen2.5-1.5B": _shape(1536, 8960, 28, 12, 2, 151936, **_TIED),
    "Qwen2.5-3B": _shape(2048, 11008, 36, 16, 2, 151936, **_TIED),
    "Qwen2.5-7B": _shape(3584, 18944, 28, 28, 4, 152064, **_UNTIED),
    "Qwen2.5-14B": _shape(5120, 13824, 48, 40, 8, 152064, **_UNTIED),
    "Qwen2.5-32B": _shape(5120, 27648, 64, 40, 8, 152064, **_UNTIED),
    "Qwen2.5-72B": _shape(8192, 29568, 80, 64, 8, 152064, **_UNTIED),
}

OTHERS = {  # Touvron et al. 2023, table 2; 01.AI 2024; DeepSeek-AI 2024, table 2
    "LLaMA-7B": _shape(4096, 11008, 32, 32, 32, 32000, **_LLAMA),
    "LLaMA-13B": _shape(5120, 13824, 40, 40, 40, 32000, **_LLAMA),
    "LLaMA-65B": _shape(8192, 22016, 80, 64, 64, 32000, **_LLAMA),
    "Yi-34B": _shape(7168, 20480, 60, 56, 8, 64000, **_LLAMA),
    "DeepSeek-67B": _shape(8192, 22016, 95, 64, 8, 102400, **_LLAMA),
}
