"""A vector for a sentence: the mean of what an encoder makes of its tokens."""

import numpy as np

from tinyqwen.autograd.grad_mode import no_grad


def mean_pooling(last_hidden_state, attention_mask):
    """The mean over the real tokens of each row (Reimers & Gurevych 2019, section 3).

        out[b] = Σ_t mask[b, t] h[b, t] / Σ_t mask[b, t]

    last_hidden_state (B, T, C); attention_mask (B, T), 1 (or True) for tokens, 0 for padding.
    Returns (B, C) in the dtype of the hidden states; zeros for a row without tokens. What stands in
    padding does not matter, be it infinite.
    """
    real = np.asarray(attention_mask).astype(bool)
    count = np.maximum(real.sum(1, keepdims=True), 1)
    total = np.where(real[..., None], last_hidden_state, 0).sum(1)
    return (total / count).astype(last_hidden_state.dtype)


def sentence_vectors(model, tokenizer, sentences, batch_size=64):
    """A vector of length 1 for each sentence, float32 (N, C): their products are cosines.

    model: a BertModel (of a larger model, its `base_model`); tokenizer: its own. A sentence stands
    as [CLS] … [SEP], cut to the positions the model has. This is what all-MiniLM-L6-v2 computes.
    """
    longest, rows = model.config.max_position_embeddings, []
    with no_grad():
        for start in range(0, len(sentences), batch_size):
            part = list(sentences[start : start + batch_size])
            batch = tokenizer(part, padding=True, truncation=True, max_length=longest)
            ids, mask = (np.array(batch[name]) for name in ("input_ids", "attention_mask"))
            hidden = model(ids, attention_mask=mask).last_hidden_state.data
            rows.append(mean_pooling(hidden, mask))
    vectors = np.concatenate(rows) if rows else np.zeros((0, model.config.hidden_size), np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
