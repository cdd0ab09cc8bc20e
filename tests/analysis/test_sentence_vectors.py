"""Vectors of sentences."""

import numpy as np

import tinyqwen as tq
from tinyqwen.analysis.sentence_vectors import mean_pooling, sentence_vectors


def test_the_mean_is_over_real_tokens_alone():
    hidden = np.array([[[1.0, 2], [3, 6], [np.inf, np.nan]], [[5, 5], [5, 5], [5, 5]]])
    pooled = mean_pooling(hidden, np.array([[1, 1, 0], [0, 0, 0]]))
    np.testing.assert_array_equal(pooled, [[2, 4], [0, 0]])
    assert mean_pooling(np.ones((1, 2, 3), np.float32), np.ones((1, 2), bool)).dtype == np.float32


def test_vectors_have_length_one_and_do_not_depend_on_their_company():
    sentences = ["a red ball", "a ball", "the dog ran to the red ball"]
    tokenizer = tq.Tokenizer.train(sentences, kind="wordpiece")
    tq.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 8, "max_position_embeddings": 6}  # the last one is cut
    model = tq.BertModel(tq.BertConfig(vocab_size=len(tokenizer), **sizes)).eval()
    together = sentence_vectors(model, tokenizer, sentences)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-6)
    alone = [sentence_vectors(model, tokenizer, [one])[0] for one in sentences]
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert sentence_vectors(model, tokenizer, []).shape == (0, 8)
