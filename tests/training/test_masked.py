"""What BERT is trained on: hidden tokens and pairs of sentences."""

from types import SimpleNamespace

import numpy as np

from tinyqwen.training.tasks.masked import Sentences, mask_tokens, sentence_pairs


def test_hidden_replaced_and_kept_by_hand():
    ids = np.array([[2, 11, 12, 13, 14, 3, 0]])
    maskable = np.array([[False, True, True, True, True, False, False]])
    chosen = np.array([[0.0, 0.14, 0.0, 0.15, 0.1, 0.0, 0.0]])
    fate = np.array([[0.0, 0.79, 0.89, 0.0, 0.9, 0.0, 0.0]])
    drawn = np.arange(50, 57)[None]
    hidden, labels = mask_tokens(ids, maskable, chosen, fate, drawn, 4)
    assert hidden.tolist() == [[2, 4, 52, 13, 14, 3, 0]]
    assert labels.tolist() == [[-100, 11, 12, -100, 14, -100, -100]]


def test_the_shares_are_the_papers(rng):
    shape = 400, 500  # 200,000 tokens, 30,000 of them chosen: a standard error of 0.2%
    ids, everywhere = rng.integers(10, 1000, shape), np.ones(shape, bool)
    drawn = np.full(shape, 5)
    hidden, labels = mask_tokens(ids, everywhere, rng.random(shape), rng.random(shape), drawn, 4)
    chosen = labels != -100
    assert abs(chosen.mean() - 0.15) < 0.005
    for share, told in ((0.8, hidden == 4), (0.1, hidden == 5), (0.1, hidden == ids)):
        assert abs(told[chosen].mean() - share) < 0.01
    np.testing.assert_array_equal(hidden[~chosen], ids[~chosen])
    np.testing.assert_array_equal(labels[chosen], ids[chosen])


def test_what_does_not_follow_is_of_another_document(rng):
    documents = np.array([0, 0, 0, 0, 1, 1])
    sentences = Sentences(
        SimpleNamespace(all=lambda field: documents, lengths=lambda field: np.ones(6, int))
    )
    assert sentences.firsts.tolist() == [0, 1, 2, 4]
    for i, others in ((0, {4, 5}), (3, {4, 5}), (4, {0, 1, 2, 3})):
        assert set(sentences.elsewhere(np.full(50, i), rng).tolist()) == others
    firsts = np.repeat(sentences.firsts, 50)
    seconds, follows = sentences.seconds(firsts, rng)
    np.testing.assert_array_equal(seconds == firsts + 1, follows)
    np.testing.assert_array_equal(documents[seconds] == documents[firsts], follows)
    assert 70 < follows.sum() < 130  # of 200, by half chance: four standard errors of 7


def test_pairs_by_hand():
    ids, kinds, real = sentence_pairs([[7], np.array([8, 9])], [[5, 6], []], 2, 3, pad_token_id=1)
    assert ids.tolist() == [[2, 7, 3, 5, 6, 3], [2, 8, 9, 3, 3, 1]]
    assert kinds.tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 0]]
    assert real.tolist() == [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]]
