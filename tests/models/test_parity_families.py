"""Every family against transformers in float32, by one set of tests. Errors: see `close`."""

import json

import numpy as np
import pytest
from model_families import (
    CASES,
    EVERY_LAYER,
    FAMILIES,
    OUTPUTS,
    batch,
    other_heads,
    padded,
    pair,
    stem_of,
)

import tinyqwen as tq
from tinyqwen.models.auto import config_class
from tinyqwen.optim import AdamW, decay_groups

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
transformers.utils.logging.set_verbosity_error()
B, T = 3, 9
WRITERS = [family for family in FAMILIES if config_class(family).causal]
DECODERS = [family for family in WRITERS if family != "marian"]

each_case = pytest.mark.parametrize(("family", "case"), CASES)
each_family = pytest.mark.parametrize("family", FAMILIES)
each_writing_case = pytest.mark.parametrize(
    ("family", "case"), [(family, case) for family, case in CASES if family in WRITERS]
)
each_other_head = pytest.mark.parametrize(("family", "head"), list(other_heads()))


def close(ours, theirs, what="", tolerance=1e-5, size=0.0):
    """Equal to `tolerance` of the largest entry, or of `size` if that is larger."""
    ours = np.asarray(ours.data if isinstance(ours, tq.Tensor) else ours)
    theirs = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else theirs
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype, what
    error, size = np.abs(ours - theirs).max(initial=0), np.abs(theirs).max(initial=size)
    assert error <= tolerance * size, f"{what}: off by {error:.1e}, largest entry {size:.1e}"


def close_gradients(ours, theirs):
    """All gradients. What is added to all keys alike, softmax does not see: a key's bias has the
    gradient 0, and its rounding errors are of the size of the weight's gradient. A gradient a
    hundred times as small as others was rounded when it was a sum of such."""
    expected = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    own = dict(ours.named_parameters())
    assert set(expected) == {name for name, p in own.items() if p.grad is not None}
    for name, gradient in expected.items():
        size = 1e-2 * largest
        if name.endswith(KEY_BIASES):
            size = expected[name.replace("bias", "weight")].abs().max().item()
        close(own[name].grad, gradient, f"gradient of {name}", 2e-5, size)


KEY_BIASES = ("k_proj.bias", "key.bias")


def close_outputs(out, expected, mask=None):
    """All that both return, at real tokens: what padding computes is nobody's business."""
    compared = set()
    for name in (*OUTPUTS, *EVERY_LAYER):
        mine, other = getattr(out, name), getattr(expected, name, None)
        other = None if other == () else other  # theirs, of what the family has not
        assert (mine is None) == (other is None), name
        if mine is None:
            continue
        mine, other = (x if isinstance(x, tuple) else (x,) for x in (mine, other))
        assert len(mine) == len(other), name
        for i, (a, b) in enumerate(zip(mine, other)):
            a, b = a.data, b.detach().numpy()
            if mask is not None and a.shape[1:2] == mask.shape[1:] and a.ndim == 3:
                a, b = a[mask == 1], b[mask == 1]  # (B, T, …), which a target of 7 has not
            if mask is not None and a.ndim == 4 and a.shape[2] == mask.shape[1]:
                a, b = (x.swapaxes(1, 2)[mask == 1] for x in (a, b))  # (B, H, T, S): queries
            close(a, b, f"{name} {i}")
        compared.add(name)
    return compared


def tensors(given):
    return {name: torch.tensor(array) for name, array in given.items()}


def summed(out):
    """A loss for a body: its outputs dotted with fixed numbers."""
    total = 0
    for name in ("last_hidden_state", "pooler_output"):
        x = getattr(out, name, None)
        if x is not None:
            weights = np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)
            weights = weights if isinstance(x, tq.Tensor) else torch.tensor(weights)
            total = total + (x * weights).sum()
    return total


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@each_case
def test_print_and_names(family, case):
    ours, theirs = pair(transformers, family, case)
    assert str(ours) == str(theirs)
    shapes = {name: tuple(p.shape) for name, p in theirs.state_dict().items()}
    assert {name: p.shape for name, p in ours.state_dict().items()} == shapes
    trained = [name for name, p in theirs.named_parameters() if p.requires_grad]
    assert [name for name, p in ours.named_parameters() if p.requires_grad] == trained


@each_case
def test_outputs_states_attentions_and_gradients(family, case, rng):
    ours, theirs = pair(transformers, family, case)
    given = batch(family, rng)
    every = dict(output_hidden_states=True, output_attentions=True)
    got, expected = ours(**given, **every), theirs(**tensors(given), **every)
    compared = close_outputs(got, expected)
    assert "loss" in compared and len(compared) >= 4, compared
    got.loss.backward()
    expected.loss.backward()
    close_gradients(ours, theirs)
    for attention in ("sdpa", "eager"):  # and recomputed, with the loss in pieces
        ours.zero_grad()
        ours.config.attn_implementation = attention
        ours.gradient_checkpointing_enable()
        pieces = {} if family == "bert" else {"skip_logits": True}
        ours(**given, **pieces).loss.backward()
        close_gradients(ours, theirs)


@each_family
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding(family, side, rng):
    ours, theirs = pair(transformers, family)
    given = batch(family, rng, side)
    every = dict(output_hidden_states=True, output_attentions=True)
    for options in (every, {}):  # eager, and fused
        ours.zero_grad()
        theirs.zero_grad()
        got, expected = ours(**given, **options), theirs(**tensors(given), **options)
        close_outputs(got, expected, given["attention_mask"])
        got.loss.backward()
        expected.loss.backward()
        close_gradients(ours, theirs)


@each_other_head
@pytest.mark.parametrize("side", [None, "left", "right"])
def test_other_heads(family, head, side, rng):
    ours, theirs = pair(transformers, family, head=head, num_labels=3)
    given = batch(family, rng, side, head)
    got, expected = ours(**given), theirs(**tensors(given))
    close_outputs(got, expected, given.get("attention_mask"))
    if "labels" in given:
        losses = got.loss, expected.loss
    elif side:
        return  # a body's states at padding are nobody's business, nor are their gradients
    else:
        losses = summed(got), summed(expected)
    for loss in losses:
        loss.backward()
    close_gradients(ours, theirs)


@each_other_head
def test_other_heads_are_printed_saved_and_opened(family, head, rng, tmp_path):
    ours, theirs = pair(transformers, family, head=head, num_labels=3)
    assert str(ours) == str(theirs)
    given = batch(family, rng, head=head)
    theirs.save_pretrained(tmp_path / "theirs")
    ours.save_pretrained(tmp_path / "ours")
    opened = getattr(tq, head).from_pretrained(tmp_path / "theirs")
    again = getattr(transformers, head).from_pretrained(tmp_path / "ours").eval()
    expected = theirs(**tensors(given))
    close_outputs(opened(**given), expected)
    close_outputs(ours(**given), again(**tensors(given)))


def writing(model, given):
    """A function (new ids, cache) -> ModelOutput, whatever the model writes after."""
    if "labels" not in given:
        return lambda ids, cache: model(ids, past_key_values=cache, use_cache=True)
    source = model.get_encoder()(given["input_ids"])
    return lambda ids, cache: model(
        decoder_input_ids=ids, encoder_outputs=source, past_key_values=cache, use_cache=True
    )


@each_writing_case
def test_cached_equals_uncached(family, case, rng):
    ours, theirs = pair(transformers, family, case)
    ids, given = rng.integers(2, 44, (B, T)), {}
    expected = {"input_ids": ids}
    if family == "marian":
        given = batch(family, rng)
        expected = {"input_ids": given["input_ids"], "decoder_input_ids": ids}
    expected = theirs(**tensors(expected)).logits.detach().numpy()
    parts, cache, start = [], None, 0
    with tq.no_grad():
        write = writing(ours, given)
        for n in (4, 1, 1, 3):
            out = write(ids[:, start : start + n], cache)
            cache, start = out.past_key_values, start + n
            parts.append(out.logits.data)
    close(np.concatenate(parts, 1), expected, "cached")


@each_writing_case
@pytest.mark.parametrize("beams", [1, 4])
def test_what_is_written(family, case, beams, rng):
    """Greedily and by beam search, after prompts padded on the left (a source: on the right)."""
    ours, theirs = pair(transformers, family, case)
    theirs.config.output_router_logits = False  # theirs fails where a cache is longer than a step
    ids, mask = padded(rng, "right" if family == "marian" else "left")
    options = dict(max_new_tokens=12, do_sample=False, pad_token_id=0, num_beams=beams)
    expected = theirs.generate(
        torch.tensor(ids), attention_mask=torch.tensor(mask), eos_token_id=None, **options
    ).numpy()
    for cached in (True, False):
        got = ours.generate(ids, attention_mask=mask, eos_token_id=[], use_cache=cached, **options)
        np.testing.assert_array_equal(got, expected)


@each_case
@pytest.mark.filterwarnings("ignore:.*not used by .*Model. ")
def test_saved_there_and_opened_here_and_back(family, case, rng, tmp_path):
    """config.json as transformers 5 writes it, and as 4 did; ours, opened there."""
    _, theirs = pair(transformers, family, case)
    given = batch(family, rng)
    expected = theirs(**tensors(given))
    theirs.save_pretrained(tmp_path / "theirs")
    file = tmp_path / "theirs" / "config.json"
    new = json.loads(file.read_text())
    old = {**new, "torch_dtype": new["dtype"]}
    del old["dtype"]
    rope = old.pop("rope_parameters", None)
    if rope:
        old |= {"rope_theta": rope["rope_theta"], "rope_scaling": None}
    for values in (new, old):
        file.write_text(json.dumps(values))
        body = tq.AutoModel.from_pretrained(tmp_path / "theirs")
        assert type(body).__name__ == stem_of(family) + "Model"
        ours = getattr(tq, FAMILIES[family]["head"]).from_pretrained(tmp_path / "theirs")
        close_outputs(ours(**given), expected)
    ours.save_pretrained(tmp_path / "ours")
    again = type(theirs).from_pretrained(tmp_path / "ours", attn_implementation="eager").eval()
    close_outputs(ours(**given), again(**tensors(given)))
    assert type(ours.config).from_dict(ours.config.to_dict()) == ours.config


@each_family
def test_five_steps_of_adamw(family, rng):
    ours, theirs = pair(transformers, family)
    groups = decay_groups(ours, 0.1)
    decayed = {id(p) for p in groups[0]["params"]}
    names = {name for name, p in ours.named_parameters() if id(p) in decayed}
    own = AdamW(groups, lr=1e-3, eps=1e-6)
    trained = [(name, p) for name, p in theirs.named_parameters() if p.requires_grad]
    split = [[p for n, p in trained if (n in names) is one] for one in (True, False)]
    other = torch.optim.AdamW(
        [{"params": split[0], "weight_decay": 0.1}, {"params": split[1], "weight_decay": 0.0}],
        lr=1e-3,
        eps=1e-6,  # or what is but rounding of a gradient would make steps of full size
    )
    for _ in range(5):
        given = batch(family, rng)
        own.zero_grad()
        ours(**given).loss.backward()
        own.step()
        other.zero_grad()
        theirs(**tensors(given)).loss.backward()
        other.step()
    for name, parameter in trained:
        mine, parameter = dict(ours.named_parameters())[name].data, parameter.detach().numpy()
        if name.endswith(KEY_BIASES):  # AdamW makes steps of full size of what is but rounding
            continue
        if name.endswith("c_attn.bias"):  # queries, keys, values
            keys = slice(len(mine) // 3, 2 * len(mine) // 3)
            mine[keys] = parameter[keys]
        close(mine, parameter, name, 1e-4)


def test_router_logits_and_the_loss_that_balances_them(rng):
    ours, theirs = pair(
        transformers, "qwen2_moe", output_router_logits=True, router_aux_loss_coef=0.3
    )
    for side in ("right", None):
        given = batch("qwen2_moe", rng, side)
        mask = given.get("attention_mask")
        ours.zero_grad()
        theirs.zero_grad()
        got, expected = ours(**given), theirs(**tensors(given))
        for mine, their in zip(got.router_logits, expected.router_logits):
            real = slice(None) if mask is None else mask.reshape(-1) == 1
            close(mine.data[real], their.detach().numpy()[real], "router logits")
        close_outputs(got, expected, mask)
        got.loss.backward()
        expected.loss.backward()
        close_gradients(ours, theirs)


@each_family
def test_config_defaults_are_theirs(family):
    ours = getattr(tq, FAMILIES[family]["head"]).config_class()
    theirs = getattr(transformers, type(ours).__name__)()
    ours_alone = ("head_dim", "rope_theta", "rope_scaling", "sliding_window", "extra")
    for name in vars(ours):
        if hasattr(theirs, name) and name not in ours_alone:
            assert getattr(ours, name) == getattr(theirs, name), name


@pytest.mark.filterwarnings("ignore:.*not used by BertModel")
def test_heads_may_be_new_or_unused(tmp_path, rng):
    _, theirs = pair(transformers, "bert")
    theirs.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match=r"not used by BertForMaskedLM: .*seq_relationship"):
        masked = tq.BertForMaskedLM.from_pretrained(tmp_path)
    given = batch("bert", rng, head="BertModel")
    close(masked(**given).logits, theirs(**tensors(given)).prediction_logits, "logits")
    with pytest.warns(UserWarning, match=r"new and random, to be trained: classifier"):
        tq.BertForSequenceClassification.from_pretrained(tmp_path)
    masked.save_pretrained(tmp_path / "masked")
    with pytest.warns(UserWarning, match=r"new and random, to be trained: pooler"):
        tq.BertModel.from_pretrained(tmp_path / "masked")


# ---------------------------------------------------------------------------------------------
# Scaled RoPE
# ---------------------------------------------------------------------------------------------

SCALED = {
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 4.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 16},
    "yarn with its own attention factor": {"factor": 3.0, "attention_factor": 1.3},
    "yarn with mscale": {"factor": 4.0, "mscale": 1.2, "mscale_all_dim": 0.7, "truncate": False},
    "yarn with betas": {"factor": 8.0, "beta_fast": 4.0, "beta_slow": 0.5},
    "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    | {"original_max_position_embeddings": 8},
}


@pytest.mark.parametrize("family", ["qwen2", "llama", "qwen3", "qwen2_moe"])
@pytest.mark.parametrize("kind", SCALED)
def test_scaled_rope(family, kind, rng):
    """Below and beyond the original length; the whole at once, and token by token."""
    rope = {"rope_type": kind.split()[0], **SCALED[kind]}
    changes = {"max_position_embeddings": 16, "rope_scaling": rope, "rope_theta": 500.0}
    ours, theirs = pair(transformers, family, **json.loads(json.dumps(changes)))
    assert theirs.config.rope_parameters["rope_theta"] == ours.config.rope_theta == 500.0
    for length in (12, 40):
        ids = rng.integers(2, 50, (2, length))
        close(ours(ids).logits, theirs(torch.tensor(ids)).logits, f"{length} tokens")
    ids = rng.integers(2, 50, (2, 12))
    options = dict(max_new_tokens=20, do_sample=False, pad_token_id=0)
    expected = theirs.generate(torch.tensor(ids), eos_token_id=None, **options)
    np.testing.assert_array_equal(ours.generate(ids, eos_token_id=[], **options), expected)
    assert type(theirs.config).from_dict(ours.config.to_dict()).rope_parameters.items() >= (
        {**rope, "rope_theta": 500.0}.items()
    )
    assert type(ours.config).from_dict(ours.config.to_dict()) == ours.config


@pytest.mark.parametrize(
    "added",
    [
        {"rope_scaling": {"type": "yarn", "factor": 4.0}},
        {"rope_scaling": {"type": "yarn", "factor": 4.0, "rope_theta": 300.0}},
        {"rope_scaling": {"type": "linear", "rope_type": "dynamic", "factor": 2.0}},
        {"rope_scaling": None},
        {"rope_scaling": {}},
        {"rope_theta": 77.0},
        {"rope_theta": 77.0, "rope_scaling": {"type": "yarn", "factor": 4.0}},
    ],
)
@pytest.mark.filterwarnings("ignore:.* is lost")
@pytest.mark.filterwarnings("ignore:rope_scaling stands")
def test_two_spellings_of_one_setting(added):
    """Added to a file that transformers 5 wrote; what wins there wins here."""
    values = {**FAMILIES["qwen2"]["config"], "model_type": "qwen2"}
    values["rope_parameters"] = {"rope_type": "default", "rope_theta": 5e5}
    theirs = transformers.Qwen2Config.from_dict(json.loads(json.dumps({**values, **added})))
    ours = tq.Qwen2Config.from_dict({**values, **added})
    theirs = theirs.rope_parameters
    assert ours.rope_theta == theirs["rope_theta"]
    kind = "default" if ours.rope_scaling is None else ours.rope_scaling["rope_type"]
    assert kind == theirs["rope_type"]
    if ours.rope_scaling:
        assert ours.rope_scaling["factor"] == theirs["factor"]
