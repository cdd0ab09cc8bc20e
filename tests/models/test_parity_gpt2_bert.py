"""GPT-2 and BERT against transformers: the same random weights, norms and biases random too."""

import numpy as np
import pytest

import tinyqwen as tq

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
transformers.utils.logging.set_verbosity_error()

GPT2 = {
    **{"vocab_size": 50, "n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 40},
    **{"bos_token_id": 1, "eos_token_id": 2},
}
BERT = {
    **{"vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4},
    **{"intermediate_size": 36, "max_position_embeddings": 40},
}
HEADS = [
    *("GPT2Model", "GPT2LMHeadModel", "GPT2ForSequenceClassification", "BertModel"),
    *("BertForPreTraining", "BertForMaskedLM", "BertForSequenceClassification"),
]
OUTPUTS = (
    *("loss", "logits", "last_hidden_state", "pooler_output", "prediction_logits"),
    "seq_relationship_logits",
)


def pair(name, attention="sdpa", **changes):
    """Our model and theirs."""
    family, sizes = ("GPT2", GPT2) if name.startswith("GPT2") else ("Bert", BERT)
    values = {**sizes, "pad_token_id": 0, "num_labels": 3, **changes}
    config = getattr(transformers, family + "Config")(**values)
    config._attn_implementation = attention
    theirs = getattr(transformers, name)(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for path, parameter in theirs.named_parameters():
            norm = ("ln_" in path or "LayerNorm" in path) and path.endswith("weight")
            parameter.copy_(norm + 0.2 * torch.randn(parameter.shape, generator=generator))
    config = getattr(tq, family + "Config").from_dict({**values, "attn_implementation": attention})
    ours = getattr(tq, name)(config).eval()
    ours.load_state_dict({path: p.numpy() for path, p in theirs.state_dict().items()})
    return ours, theirs


def batch(name, rng, padding=None, rows=3, length=9):
    """Keyword arguments of arrays; padding: "left" or "right", of the first row."""
    ids = rng.integers(3, 50, (rows, length))
    given, mask = {"input_ids": ids}, np.ones_like(ids)
    if padding:
        hidden = slice(0, 3) if padding == "left" else slice(-3, None)
        mask[0, hidden] = ids[0, hidden] = 0
        given["attention_mask"] = mask
        if name.startswith("GPT2"):
            given["position_ids"] = (mask.cumsum(1) - 1).clip(0)
    if name.startswith("Bert"):
        given["token_type_ids"] = np.where(np.arange(length) > 4, 1, np.zeros_like(ids))
    if "Classification" in name:
        given["labels"] = rng.integers(0, 3, rows)
    elif name not in ("GPT2Model", "BertModel"):
        read = mask * np.roll(mask, 1, axis=1)  # a token, and behind one that may predict it
        given["labels"] = np.where((read == 1) & (rng.random(ids.shape) < 0.6), ids, -100)
    if "PreTraining" in name:
        given["next_sentence_label"] = rng.integers(0, 2, rows)
    return given


def as_torch(given):
    return {name: torch.from_numpy(value) for name, value in given.items()}


def close(ours, theirs, what, size=0.0):
    ours = np.asarray(ours.data if isinstance(ours, tq.Tensor) else ours)
    theirs = theirs.detach().numpy()
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), what
    error, size = np.abs(ours - theirs).max(), max(size, np.abs(theirs).max())
    assert error <= 2e-5 * size, f"{what}: off by {error:.1e}, largest entry {size:.1e}"


def without_padding(value, mask):
    """What stands at padding is nobody's business."""
    if mask is None or value.ndim != 3 or value.shape[:2] != mask.shape:
        return value
    return value * mask[..., None].astype(np.float32)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("padding", [None, "left", "right"])
def test_outputs_and_gradients(name, attention, padding, rng):
    ours, theirs = pair(name, attention)
    given = batch(name, rng, padding)
    mask = given.get("attention_mask")
    out, expected = ours(**given), theirs(**as_torch(given))
    for field in OUTPUTS:
        a, b = getattr(out, field), getattr(expected, field, None)
        assert (a is None) == (b is None), field
        if a is not None:
            b = torch.from_numpy(without_padding(b.detach().numpy(), mask))
            close(without_padding(a.data, mask), b, field)
    loss, expected_loss = (
        (out.loss, expected.loss) if "labels" in given else sums(out, expected, mask)
    )
    loss.backward()
    expected_loss.backward()
    known = dict(theirs.named_parameters())
    largest = max(p.grad.abs().max().item() for p in known.values() if p.grad is not None)
    for path, parameter in ours.named_parameters():
        gradient = known[path].grad
        assert (gradient is None) == (parameter.grad is None), path
        if gradient is not None:
            close(parameter.grad, gradient, path, size=0.01 * largest)


def sums(out, expected, mask):
    """A loss for a body: its outputs dotted with random numbers."""
    weights = np.random.default_rng(1).standard_normal(out.last_hidden_state.shape)
    weights = without_padding(weights.astype(np.float32), mask)
    ours = (out.last_hidden_state * weights).sum()
    theirs = (expected.last_hidden_state * torch.from_numpy(weights)).sum()
    if out.pooler_output is not None:
        ours, theirs = ours + out.pooler_output.sum(), theirs + expected.pooler_output.sum()
    return ours, theirs


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "BertForPreTraining"])
def test_hidden_states_and_attentions(name, rng):
    ours, theirs = pair(name, "eager")
    given = batch(name, rng)
    asked = {"output_hidden_states": True, "output_attentions": True}
    out, expected = ours(**given, **asked), theirs(**as_torch(given), **asked)
    for field in ("hidden_states", "attentions"):
        a, b = getattr(out, field), getattr(expected, field)
        assert len(a) == len(b)
        for i, (x, y) in enumerate(zip(a, b)):
            close(x, y, f"{field} {i}")


@pytest.mark.parametrize("name", HEADS)
def test_print(name):
    ours, theirs = pair(name)
    assert repr(ours) == repr(theirs)
    assert {path: value.shape for path, value in ours.state_dict().items()} == {
        path: tuple(value.shape) for path, value in theirs.state_dict().items()
    }


@pytest.mark.parametrize("name", HEADS)
def test_saved_and_opened_both_ways(name, tmp_path, rng):
    ours, theirs = pair(name)
    given = batch(name, rng)
    theirs.save_pretrained(tmp_path / "theirs")
    ours.save_pretrained(tmp_path / "ours")
    opened = getattr(tq, name).from_pretrained(tmp_path / "theirs")
    theirs = getattr(transformers, name).from_pretrained(tmp_path / "ours").eval()
    out, again, expected = ours(**given), opened(**given), theirs(**as_torch(given))
    for field in OUTPUTS:
        if getattr(out, field) is not None:
            np.testing.assert_array_equal(getattr(again, field).data, getattr(out, field).data)
            close(getattr(out, field), getattr(expected, field), field)


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "BertForMaskedLM"])
def test_five_adamw_steps(name, rng):
    ours, theirs = pair(name)
    given = batch(name, rng)
    settings = {"lr": 1e-3, "betas": (0.9, 0.95), "weight_decay": 0.1}
    mine = tq.optim.AdamW(ours.parameters(), **settings)
    other = torch.optim.AdamW(theirs.parameters(), **settings)
    for step in range(5):
        loss, expected = ours(**given).loss, theirs(**as_torch(given)).loss
        close(loss, expected, f"loss of step {step}")
        for optimizer, value in ((mine, loss), (other, expected)):
            optimizer.zero_grad()
            value.backward()
            optimizer.step()


@pytest.mark.parametrize("padding", [None, "left"])
def test_gpt2_generates_alike(padding, rng):
    ours, theirs = pair("GPT2LMHeadModel", eos_token_id=None)
    given = batch("GPT2LMHeadModel", rng, padding)
    given = {name: given[name] for name in ("input_ids", "attention_mask") if name in given}
    theirs.generation_config.pad_token_id = 0
    expected = theirs.generate(**as_torch(given), max_new_tokens=12, do_sample=False)
    for use_cache in (True, False):
        found = ours.generate(**given, max_new_tokens=12, use_cache=use_cache)
        np.testing.assert_array_equal(found, expected.numpy())


def test_pooler_and_heads_may_be_new_or_unused(tmp_path, rng):
    _, theirs = pair("BertForPreTraining")
    theirs.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match=r"not used by BertForMaskedLM: .*seq_relationship"):
        masked = tq.BertForMaskedLM.from_pretrained(tmp_path)
    given = batch("BertModel", rng)
    close(masked(**given).logits, theirs(**as_torch(given)).prediction_logits, "logits")
    with pytest.warns(UserWarning, match=r"new and random, to be trained: classifier"):
        tq.BertForSequenceClassification.from_pretrained(tmp_path)
    masked.save_pretrained(tmp_path / "masked")
    with pytest.warns(UserWarning, match=r"new and random, to be trained: pooler"):
        tq.BertModel.from_pretrained(tmp_path / "masked")
