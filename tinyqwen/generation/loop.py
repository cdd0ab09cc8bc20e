"""The loop of generation: a text grows by one token at a time, each computed from all before it.

B rows (texts) in the batch, T tokens in the longest prompt, V tokens in the vocabulary.
"""

import numpy as np


def decode_loop(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    """Prefill, then decode: every token is fed to the model once, and grows the text by one.

    step:   callable, new ids (B, n) -> logits of the next token (B, V). It keeps what it needs of
            earlier ids (the KV cache), so it is given the prompt first, then one token at a time.
    choose: callable, (logits (B, V), all ids so far (B, S)) -> the next token of each row (B,)
    emit:   callable, tokens (B,) -> (B,) booleans. It takes the tokens as they come, and says which
            rows end with them; such a row is filled with pad_token_id from then on.
    input_ids (B, T) are left alone. Returns prompts and new tokens, (B, T + at most
    max_new_tokens), and fewer where all rows have ended: the last column is where the last one did.

    >>> fed = []
    >>> def step(ids):  # a model that counts
    ...     fed.append(ids.tolist())
    ...     return np.eye(10)[ids[:, -1] + 1]
    >>> def best(logits, ids):
    ...     return logits.argmax(-1)
    >>> decode_loop(step, np.array([[3, 4]]), 5, best, lambda tokens: tokens == 7)
    array([[3, 4, 5, 6, 7]])
    >>> fed
    [[[3, 4]], [[5]], [[6]]]
    """
    B, T = input_ids.shape
    sequences = np.empty((B, T + max_new_tokens), int)
    sequences[:, :T] = input_ids
    finished, ended, start = np.zeros(B, bool), 0, 0  # which rows, how many, tokens fed so far
    for length in range(T, T + max_new_tokens):
        logits = step(sequences[:, start:length])  # (B, T) at first, then (B, 1) -> (B, V)
        tokens = choose(logits, sequences[:, :length])
        if ended:
            tokens = np.where(finished, pad_token_id, tokens)
        sequences[:, length] = tokens
        finished = finished | emit(tokens)
        ended = np.count_nonzero(finished)
        if ended == B:
            return sequences[:, : length + 1]
        start = length
    return sequences
