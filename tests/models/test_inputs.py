"""What a model is given: labels of every kind, shapes that are refused."""

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.generation import GenerationConfig
from tinyqwen.generation.prompts import check_prompts
from tinyqwen.models.heads import shift_tokens_right
from tinyqwen.models.inputs import check_ids, check_mask, check_positions, for_cache

SIZES = dict(vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
             num_attention_heads=2)  # fmt: skip
IDS = np.array([[1, 2, 3, 4], [5, 6, 7, 1]])


@pytest.fixture(scope="module", params=["decoder", "encoder", "both"])
def model(request):
    if request.param == "decoder":
        one = tq.Qwen2ForCausalLM(tq.Qwen2Config(**SIZES, num_key_value_heads=1))
    elif request.param == "encoder":
        one = tq.BertForMaskedLM(tq.BertConfig(**SIZES))
    else:
        config = tq.MarianConfig(**SIZES, pad_token_id=0, decoder_start_token_id=0)
        one = tq.MarianMTModel(config)
    return one.eval()


def test_unsigned_labels_are_labels(model):
    """As memory-mapped files of tokens have them: -100 is none of their numbers."""
    expected = model(IDS, labels=IDS).loss.item()
    for dtype in (np.uint8, np.uint16, np.uint64, np.int8):
        assert model(IDS.astype(dtype), labels=IDS.astype(dtype)).loss.item() == expected


def test_labels_of_one_axis_are_refused(model):
    with pytest.raises(ValueError, match=r"labels (must be|have shape).*\(4,\)"):
        model(IDS[:1], labels=IDS[0])


def test_labels_that_are_no_integers_are_refused(model):
    with pytest.raises(TypeError, match="integers"):
        model(IDS, labels=IDS.astype(float))


def test_float16_is_no_dtype_of_a_model(model):
    with pytest.raises(ValueError, match="float32 or float64, not float16"):
        model.astype(np.float16)


@pytest.mark.parametrize("value", [-np.inf, -1e9, 0.5, 2])
def test_a_mask_that_is_added_to_scores_is_no_padding(value):
    """There 0 is what is seen, and here what is hidden: neither is taken for the other."""
    mask = np.array([[value, 0, 1]])
    for check in (check_mask, lambda mask, _: check_prompts([[1, 2, 3]], mask, GenerationConfig())):
        with pytest.raises(ValueError, match="1 for tokens and 0 for padding"):
            check(mask, 3)
    assert check_mask(np.array([[0.0, 1.0, 1.0]]), 3).tolist() == [[[[False, True, True]]]]


def test_what_a_decoder_reads_by_hand():
    """Its labels one place later; pads where there is none, and no pads that nobody named."""
    labels = np.array([[5, -100, 7, 8], [-100, 9, 4, -100]])
    read = shift_tokens_right(labels, 3, 2)
    np.testing.assert_array_equal(read, [[2, 5, 3, 7], [2, 3, 9, 4]])
    np.testing.assert_array_equal(labels, [[5, -100, 7, 8], [-100, 9, 4, -100]])
    with pytest.raises(ValueError, match="labels need pad_token_id in the config"):
        shift_tokens_right(labels, None, 2)


@pytest.mark.parametrize(
    ("positions", "found"),
    [
        (None, [[3, 4, 5, 6]]),
        ([4, 5, 6, 7], [[4, 5, 6, 7]]),
        ([[4, 5, 6, 7]], [[4, 5, 6, 7]]),
        ([[0, 0, 1, 2], [0, 1, 2, 3]], [[0, 0, 1, 2], [0, 1, 2, 3]]),
    ],
)
def test_positions_are_one_for_each_new_token(positions, found):
    assert check_positions(positions, IDS, past=3).tolist() == found
    if positions is not None:
        assert check_positions(tq.Tensor(np.array(positions, float)), IDS).tolist() == found


@pytest.mark.parametrize("shape", [(3, 4), (2, 5), (1, 3), (5,), (2, 4, 1), ()])
def test_other_positions_are_refused(shape):
    told = r"expected \(2, 4\) or \(4,\): one position for each new token"
    with pytest.raises(ValueError, match=told):
        check_positions(np.zeros(shape, int), IDS)


def test_ids_have_two_axes_and_a_cache_takes_no_gradients():
    assert check_ids(IDS.tolist()).tolist() == IDS.tolist()
    for wrong in (IDS[0], IDS[None], np.array(3)):
        with pytest.raises(ValueError, match=r"input_ids must be \(batch, time\), they have shape"):
            check_ids(wrong)
    array = np.ones(2)
    assert for_cache(array) is array and for_cache(tq.Tensor(array)).tolist() == [1, 1]
    with pytest.raises(ValueError, match="a cache keeps no gradients"):
        for_cache(tq.Tensor(array, requires_grad=True))


@pytest.mark.parametrize("shape", [(2, 3), (2, 5), (4,), (2, 4, 4)])
def test_a_mask_has_an_entry_for_each_token(shape):
    with pytest.raises(ValueError, match=r"expected \(batch, 4\): one entry for each token"):
        check_mask(np.ones(shape, int), 4)
    assert check_mask(None, 4) is None and check_mask(np.ones((2, 4)), 4) is None
    four = np.zeros((2, 1, 4, 4))
    assert check_mask(four, 9) is four
