"""The model against transformers in float32, and against plain PyTorch in float64.

Errors are measured by the largest entry: 1e-5 of it in float32, 1e-10 in float64. transformers
computes norms, softmax and RoPE in float32 even in a float64 model, so the truth in float64 is an
implementation of its own, below.
"""

import math
import warnings

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.analysis.budget import flops_per_token, parameter_counts

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
transformers.utils.logging.set_verbosity_error()

SMALL = {
    **{"vocab_size": 50, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3},
    **{"num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 200},
    **{"rope_theta": 5e3, "rms_norm_eps": 1e-5},
}
CASES = {
    "grouped": {},
    "tied": {"tie_word_embeddings": True},
    "multi-head": {"num_key_value_heads": 6},
    "multi-query": {"num_key_value_heads": 1},
    "head_dim": {"head_dim": 10},
    "window": {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    "window of 2": {"use_sliding_window": True, "sliding_window": 2, "max_window_layers": 0},
    "padding_idx": {"pad_token_id": 3},
    "one layer": {"num_hidden_layers": 1},
    "eager": {"attn_implementation": "eager"},
}
B, T = 3, 9
LONG = 150  # several blocks of queries


def their_config(**changes):
    changes = {**SMALL, **changes}
    attention = changes.pop("attn_implementation", "sdpa")
    config = transformers.Qwen2Config(**changes)
    config._attn_implementation = attention
    return config


def pair(head="ForCausalLM", **changes):
    """Our model and theirs, with the same random weights, norms and biases included."""
    theirs = getattr(transformers, "Qwen2" + head)(their_config(**changes)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            mean = 1.0 if "norm" in name else 0.0
            parameter.copy_(mean + 0.3 * torch.randn(parameter.shape, generator=generator))
    ours = getattr(tq, "Qwen2" + head)(tq.Qwen2Config(**{**SMALL, **changes})).eval()
    ours.load_state_dict({name: p.numpy() for name, p in theirs.state_dict().items()})
    return ours, theirs


def tokens(rng, batch=B, length=T):
    return rng.integers(0, 50, (batch, length))


def close(ours, theirs, what="", tolerance=1e-5, size=0.0):
    """Equal to `tolerance` of the largest entry, or of `size` if that is larger."""
    ours = np.asarray(ours.data if isinstance(ours, tq.Tensor) else ours)
    theirs = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else theirs
    assert ours.shape == theirs.shape, what
    assert ours.dtype == theirs.dtype, what
    error, size = np.abs(ours - theirs).max(initial=0), np.abs(theirs).max(initial=size)
    assert error <= tolerance * size, f"{what}: off by {error:.1e}, largest entry {size:.1e}"


def close_gradients(ours, theirs, tolerance=1e-5):
    """ours: a model; theirs: {name: parameter with .grad}.

    What is added to all keys alike, softmax does not see; so the gradient of a key's bias is a sum
    of terms that nearly cancel, and its rounding errors are of the size of the weight's gradient.
    """
    expected = {name: p.grad for name, p in theirs.items() if p.grad is not None}
    own = dict(ours.named_parameters())
    assert set(expected) == set(own)
    for name, gradient in expected.items():
        size = 0.0
        if name.endswith("k_proj.bias"):
            size = expected[name.replace("bias", "weight")].abs().max().item()
        got = own[name].grad
        assert got.dtype == own[name].dtype
        close(got.astype(gradient.numpy().dtype), gradient, f"gradient of {name}", tolerance, size)


@pytest.mark.parametrize("case", CASES)
def test_print(case):
    ours, theirs = pair(**CASES[case])
    assert str(ours) == str(theirs)
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    assert ours.num_parameters() == theirs.num_parameters()
    assert ours.num_parameters(exclude_embeddings=True) == theirs.num_parameters(
        exclude_embeddings=True
    )
    assert sum(parameter_counts(ours.config).values()) == theirs.num_parameters()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("length", [1, T, LONG])
def test_logits_loss_and_every_gradient(case, length, rng):
    ours, theirs = pair(**CASES[case])
    ids = tokens(rng, length=length)
    labels = np.where(rng.random(ids.shape) < 0.2, -100, ids)
    labels[0, -1] = ids[0, -1]
    got = ours(ids, labels=labels)
    expected = theirs(torch.tensor(ids), labels=torch.tensor(labels))
    close(got.logits, expected.logits, "logits")
    if length == 1:  # nothing is predicted: theirs is 0/0, ours 0
        assert got.loss.item() == 0
        return
    close(got.loss, expected.loss, "loss")
    if length == LONG:  # theirs is up to 2e-5 off the truth: below, ours is compared with that
        return
    got.loss.backward()
    expected.loss.backward()
    close_gradients(ours, dict(theirs.named_parameters()))


@pytest.mark.parametrize("case", ["grouped", "tied", "window"])
def test_the_fused_loss_has_the_same_gradients(case, rng):
    ours, theirs = pair(**CASES[case])
    ids = tokens(rng)
    loss = ours(ids, labels=ids, skip_logits=True).loss
    expected = theirs(torch.tensor(ids), labels=torch.tensor(ids)).loss
    close(loss, expected, "loss")
    loss.backward()
    expected.backward()
    close_gradients(ours, dict(theirs.named_parameters()))


def test_loss_divided_by_a_number_given(rng):
    ours, theirs = pair()
    ids = tokens(rng)
    got = ours(ids, labels=ids, num_items_in_batch=7).loss
    close(got, theirs(torch.tensor(ids), labels=torch.tensor(ids), num_items_in_batch=7).loss)


@pytest.mark.parametrize("case", ["eager", "window", "window of 2", "head_dim"])
def test_hidden_states_and_attentions(case, rng):
    ours, theirs = pair(**{**CASES[case], "attn_implementation": "eager"})
    ids = tokens(rng)
    got = ours(ids, output_hidden_states=True, output_attentions=True)
    expected = theirs(torch.tensor(ids), output_hidden_states=True, output_attentions=True)
    for kind in ("hidden_states", "attentions"):
        assert len(getattr(got, kind)) == len(getattr(expected, kind))
        for i, (a, b) in enumerate(zip(getattr(got, kind), getattr(expected, kind))):
            close(a, b, f"{kind}[{i}]")
    fused = tq.Qwen2ForCausalLM(
        tq.Qwen2Config(**{**SMALL, **CASES[case], "attn_implementation": "sdpa"})
    ).eval()
    fused.load_state_dict(ours.state_dict())
    close(fused(ids).logits, got.logits.data, "fused against eager", 1e-6)


@pytest.mark.parametrize("case", ["grouped", "eager", "window"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding(case, side, rng):
    """Compared at real tokens only: what a padding token computes is nobody's business."""
    ours, theirs = pair(**CASES[case])
    ids, mask = tokens(rng), np.ones((B, T), int)
    for row, padding in enumerate((0, 2, 5)):
        place = slice(0, padding) if side == "left" else slice(T - padding, T)
        mask[row, place] = 0
    labels = np.where(mask == 1, ids, -100)
    positions = np.maximum(mask.cumsum(1) - 1, 0)
    got = ours(ids, attention_mask=mask, position_ids=positions, labels=labels)
    expected = theirs(
        *(torch.tensor(a) for a in (ids, mask, positions)), labels=torch.tensor(labels)
    )
    real = mask.astype(bool)
    close(got.logits.data[real], expected.logits.detach().numpy()[real], "logits")
    if side == "right":  # on the left, the first label is predicted by a padding token
        close(got.loss, expected.loss, "loss")
        got.loss.backward()
        expected.loss.backward()
        close_gradients(ours, dict(theirs.named_parameters()))
    for row in range(B):  # and each row as if it were alone
        alone = ours(ids[row : row + 1, real[row]]).logits.data[0]
        close(got.logits.data[row, real[row]], alone, f"row {row} alone")


@pytest.mark.parametrize("kind", ["boolean", "additive"])
def test_masks_of_four_axes(kind, rng):
    ours, theirs = pair()
    ids = tokens(rng)
    allowed = np.tril(rng.random((B, 1, T, T)) < 0.7)
    allowed |= np.eye(T, dtype=bool)
    bias = np.where(allowed, 0, np.finfo(np.float32).min).astype(np.float32)
    expected = theirs(torch.tensor(ids), attention_mask=torch.tensor(bias)).logits
    mask = allowed if kind == "boolean" else bias
    close(ours(ids, attention_mask=mask).logits, expected, "logits")


def test_position_ids(rng):
    ours, theirs = pair()
    ids = tokens(rng)
    for positions in (np.arange(T) + 50, rng.permuted(np.tile(np.arange(100), (B, 1)), axis=1)):
        positions = positions[..., :T]
        expected = theirs(
            torch.tensor(ids),
            attention_mask=torch.ones(B, T),  # or a jump would begin a packed sequence
            position_ids=torch.tensor(np.broadcast_to(positions, (B, T)).copy()),
        ).logits
        close(ours(ids, position_ids=positions).logits, expected, "logits")
    shifted = ours(ids, position_ids=np.arange(T) + 100).logits
    close(ours(ids).logits, shifted.data, "only distance counts")
    scrambled = ours(ids, position_ids=np.arange(T)[::-1].copy()).logits
    assert np.abs(scrambled.data - shifted.data).max() > 0.1
    with pytest.raises(ValueError, match="position 200 is past max_position_embeddings 200"):
        ours(ids, position_ids=np.arange(T) + 200 - T + 1)
    with pytest.raises(ValueError, match="position -1 is negative"):
        ours(ids, position_ids=np.arange(T) - 1)
    for wrong in (np.arange(T + 1), np.arange(1), np.zeros((B + 1, T), int)):
        with pytest.raises(ValueError, match=r"position_ids have shape .*expected \(3, 9\) or"):
            ours(ids, position_ids=wrong)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("splits", [(1,) * T, (4, 1, 4), (T - 1, 1), (2, 7)])
def test_cached_equals_uncached(case, splits, rng):
    ours, theirs = pair(**CASES[case])
    ids = tokens(rng)
    expected = theirs(torch.tensor(ids)).logits.detach().numpy()
    parts, cache, start = [], None, 0
    with tq.no_grad():
        for n in splits:
            out = ours(ids[:, start : start + n], past_key_values=cache, use_cache=True)
            cache, start = out.past_key_values, start + n
            assert cache.get_seq_length() == start
            parts.append(out.logits.data)
    close(np.concatenate(parts, 1), expected, "cached")
    cache.crop(4)
    with tq.no_grad():
        again = ours(ids[:, 4:], past_key_values=cache, use_cache=True).logits
    close(again, np.ascontiguousarray(expected[:, 4:]), "after crop")


def test_cached_with_left_padding(rng):
    ours, theirs = pair()
    ids, mask = tokens(rng), np.ones((B, T), int)
    mask[1, :3] = mask[2, :5] = 0
    positions = np.maximum(mask.cumsum(1) - 1, 0)
    expected = theirs(*(torch.tensor(a) for a in (ids, mask, positions))).logits.detach().numpy()
    cache = None
    for stop in range(6, T + 1):
        new = slice(stop - 1 if cache else 0, stop)
        with tq.no_grad():
            out = ours(
                ids[:, new],
                attention_mask=mask[:, :stop],
                position_ids=positions[:, new],
                past_key_values=cache,
                use_cache=True,
            )
        cache = out.past_key_values
        close(out.logits.data[:, -1], np.ascontiguousarray(expected[:, stop - 1]), f"at {stop}")


def test_logits_to_keep(rng):
    ours, theirs = pair()
    ids = tokens(rng)
    for keep in (0, 1, 4):
        expected = theirs(torch.tensor(ids), logits_to_keep=keep).logits
        close(ours(ids, logits_to_keep=keep).logits, expected)


@pytest.mark.parametrize("case", ["grouped", "tied", "window", "eager"])
def test_gradient_checkpointing(case, rng):
    ours, theirs = pair(**CASES[case])
    ids = tokens(rng)
    ours.gradient_checkpointing_enable()
    ours.train()
    got = ours(ids, labels=ids)
    expected = theirs(torch.tensor(ids), labels=torch.tensor(ids))
    close(got.loss, expected.loss, "loss")
    got.loss.backward()
    expected.loss.backward()
    close_gradients(ours, dict(theirs.named_parameters()))
    weights = ours(ids, output_attentions=True).attentions
    ours.gradient_checkpointing_enable(False)
    for got, plain in zip(weights, ours(ids, output_attentions=True).attentions, strict=True):
        np.testing.assert_array_equal(got.data, plain.data)


@pytest.mark.parametrize("labels", [2, 5])
def test_sequence_classification(labels, rng):
    ours, theirs = pair("ForSequenceClassification", num_labels=labels, pad_token_id=0)
    assert str(ours) == str(theirs)
    ids = rng.integers(1, 50, (B, T))
    ids[1, 6:] = ids[2, 1:] = 0
    target = rng.integers(0, labels, B)
    mask = (ids != 0).astype(int)
    got = ours(ids, attention_mask=mask, labels=target)
    expected = theirs(
        torch.tensor(ids), attention_mask=torch.tensor(mask), labels=torch.tensor(target)
    )
    close(got.logits, expected.logits, "logits")
    close(got.loss, expected.loss, "loss")
    got.loss.backward()
    expected.loss.backward()
    close_gradients(ours, dict(theirs.named_parameters()))
    ids[1] = np.roll(ids[1], 3)  # padded on the left
    expected = theirs(torch.tensor(ids), attention_mask=torch.tensor((ids != 0).astype(int)))
    close(ours(ids, attention_mask=ids != 0).logits, expected.logits, "padded on the left")


def test_a_single_label_is_no_class(rng):
    """transformers takes one label for a regression; softmax over one class has no loss."""
    ours, theirs = pair("ForSequenceClassification", num_labels=1)
    ids = tokens(rng)[:1]
    close(ours(ids).logits, theirs(torch.tensor(ids)).logits)
    with pytest.raises(ValueError, match="num_labels is 1"):
        ours(ids, labels=np.array([0]))


def test_sequence_classification_without_a_padding_token(rng):
    ours, theirs = pair("ForSequenceClassification")
    ids = tokens(rng)
    close(ours(ids[:1]).logits, theirs(torch.tensor(ids[:1])).logits)
    with pytest.raises(ValueError, match="needs pad_token_id"):
        ours(ids)
    with pytest.raises(ValueError, match="padding token"):
        theirs(torch.tensor(ids))


@pytest.mark.parametrize("dropout", [None, 0.3])  # None, null in config.json, stands for 0.1
def test_token_classification(rng, dropout):
    ours, theirs = pair("ForTokenClassification", num_labels=4, classifier_dropout=dropout)
    assert str(ours) == str(theirs)
    ids = tokens(rng)
    labels = np.where(rng.random(ids.shape) < 0.3, -100, rng.integers(0, 4, ids.shape))
    got, expected = ours(ids, labels=labels), theirs(torch.tensor(ids), labels=torch.tensor(labels))
    close(got.logits, expected.logits, "logits")
    close(got.loss, expected.loss, "loss")
    got.loss.backward()
    expected.loss.backward()
    close_gradients(ours, dict(theirs.named_parameters()))


@pytest.mark.parametrize("case", ["grouped", "head_dim", "multi-query", "tied"])
def test_budget_counts_what_torch_does(case, rng):
    """Torch counts the operations of its own matrix products, forward and backward."""
    from torch.utils.flop_counter import FlopCounterMode

    ours, theirs = pair(**{**CASES[case], "attn_implementation": "eager"})
    ids = torch.tensor(tokens(rng))
    with FlopCounterMode(display=False) as counter:
        logits = theirs(ids).logits
    flops = sum(flops_per_token(ours.config, T).values())
    # RoPE's frequencies times positions are a matrix product in theirs, D/2 · T a call
    rope = 2 * T * ours.config.head_dim // 2
    assert B * T * flops <= counter.get_total_flops() <= B * T * flops + B * rope
    with FlopCounterMode(display=False) as counter:
        logits.sum().backward()
    training = sum(flops_per_token(ours.config, T, training=True).values())
    assert counter.get_total_flops() == B * T * (training - flops)


# ---------------------------------------------------------------------------------------------
# float64, against plain PyTorch
# ---------------------------------------------------------------------------------------------


def plain_loss(weights, config, ids, labels):
    """Qwen2 as the papers write it, one operation a line, in the weights' dtype throughout."""
    heads, depth = config.num_attention_heads, config.head_dim
    groups = heads // config.num_key_value_heads
    batch, length = ids.shape
    angles = torch.arange(length).double()[:, None] * torch.tensor(
        [config.rope_theta ** (-2 * i / depth) for i in range(depth // 2)], dtype=torch.float64
    )

    def norm(x, name):
        return weights[name] * x / torch.sqrt((x * x).mean(-1, keepdim=True) + config.rms_norm_eps)

    def project(x, name):
        y = x @ weights[name + ".weight"].T
        return y + weights[name + ".bias"] if name + ".bias" in weights else y

    def rotate(x):  # pairs (i, i + depth/2) are the real and imaginary part of one number
        z = torch.complex(x[..., : depth // 2], x[..., depth // 2 :]) * torch.exp(1j * angles)
        return torch.cat([z.real, z.imag], -1)

    x = weights["model.embed_tokens.weight"][ids]
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}."
        y = norm(x, prefix + "input_layernorm.weight")
        q, k, v = (
            project(y, f"{prefix}self_attn.{n}_proj").view(batch, length, -1, depth).transpose(1, 2)
            for n in "qkv"
        )
        q, k = rotate(q), rotate(k)
        out = []
        for head in range(heads):  # one head at a time: no grouping to get wrong
            scores = q[:, head] @ k[:, head // groups].transpose(1, 2) / math.sqrt(depth)
            distance = torch.arange(length)[:, None] - torch.arange(length)
            hidden = distance < 0
            if config.layer_types[layer] == "sliding_attention":
                hidden |= distance >= config.sliding_window
            scores = scores.masked_fill(hidden, -torch.inf)
            out.append(torch.softmax(scores, -1) @ v[:, head // groups])
        x = x + project(torch.cat(out, -1), prefix + "self_attn.o_proj")
        y = norm(x, prefix + "post_attention_layernorm.weight")
        gate = project(y, prefix + "mlp.gate_proj")
        y = gate / (1 + torch.exp(-gate)) * project(y, prefix + "mlp.up_proj")
        x = x + project(y, prefix + "mlp.down_proj")
    logits = project(norm(x, "model.norm.weight"), "lm_head")
    logp = logits - torch.logsumexp(logits, -1, keepdim=True)
    target = labels[:, 1:]
    counts = target != -100
    picked = logp[:, :-1].gather(-1, target.clamp(min=0)[..., None])[..., 0]
    return logits, -(picked * counts).sum() / counts.sum()


@pytest.mark.parametrize("case", [case for case in CASES if case != "padding_idx"])
@pytest.mark.parametrize("length", [T, LONG])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-10), (np.float32, 1e-5)])
def test_against_plain_torch_in_float64(case, length, dtype, tolerance, rng):
    model = tq.Qwen2ForCausalLM(tq.Qwen2Config(**{**SMALL, **CASES[case]})).astype(dtype)
    for name, parameter in model.named_parameters():
        parameter.data[...] = rng.normal(1.0 if "norm" in name else 0.0, 0.25, parameter.shape)
    weights = {
        name: torch.tensor(p.data.astype(np.float64), requires_grad=True)
        for name, p in model.named_parameters()
    }
    tied = {"lm_head.weight": weights["model.embed_tokens.weight"], **weights}
    ids = tokens(rng, length=length)
    labels = np.where(rng.random(ids.shape) < 0.2, -100, ids)
    logits, loss = plain_loss(tied, model.config, torch.tensor(ids), torch.tensor(labels))
    loss.backward()
    for skip_logits in (False, True):
        got = model(ids, labels=labels, skip_logits=skip_logits)
        got.loss.backward()
        close(got.loss.astype(np.float64), loss, "loss", tolerance)
        if not skip_logits:
            close(got.logits.astype(np.float64), logits, "logits", tolerance)
        close_gradients(model, weights, tolerance)
        model.zero_grad()


# ---------------------------------------------------------------------------------------------
# Configs
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_configs_mean_the_same(case, tmp_path):
    theirs = their_config(**CASES[case])
    ours = tq.Qwen2Config.from_dict(theirs.to_dict())
    for name in (*SMALL, "sliding_window", "layer_types", "tie_word_embeddings", "pad_token_id"):
        if name != "rope_theta":
            assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.rope_theta == theirs.rope_parameters["rope_theta"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = transformers.Qwen2Config.from_dict(ours.to_dict())
    assert again.rope_parameters == theirs.rope_parameters
    assert again.layer_types == theirs.layer_types
    assert tq.Qwen2Config.from_dict(ours.to_dict()) == ours


def test_config_defaults_are_theirs():
    ours, theirs = tq.Qwen2Config(), transformers.Qwen2Config()
    for name in vars(ours):
        if hasattr(theirs, name) and name not in ("head_dim", "rope_theta", "rope_scaling"):
            assert getattr(ours, name) == getattr(theirs, name), name
