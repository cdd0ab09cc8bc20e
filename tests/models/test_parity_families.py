"""Every family against transformers in float32, by one set of tests. Errors: see `close`."""

import json

import numpy as np
import pytest
from model_families import CASES, FAMILIES, our_model, padded, pair

import tinyqwen as tq
from tinyqwen.optim import AdamW, decay_groups

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
transformers.utils.logging.set_verbosity_error()
B, T = 3, 9

each_case = pytest.mark.parametrize(("family", "case"), CASES)
each_family = pytest.mark.parametrize("family", FAMILIES)


def close(ours, theirs, what="", tolerance=1e-5, size=0.0):
    """Equal to `tolerance` of the largest entry, or of `size` if that is larger."""
    ours = np.asarray(ours.data if isinstance(ours, tq.Tensor) else ours)
    theirs = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else theirs
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype, what
    error, size = np.abs(ours - theirs).max(initial=0), np.abs(theirs).max(initial=size)
    assert error <= tolerance * size, f"{what}: off by {error:.1e}, largest entry {size:.1e}"


def close_gradients(ours, theirs):
    """All gradients. What is added to all keys alike, softmax does not see: a key's bias has the
    gradient 0, and its rounding errors are of the size of the weight's gradient."""
    expected = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    own = dict(ours.named_parameters())
    assert set(expected) == {name for name, p in own.items() if p.grad is not None}
    for name, gradient in expected.items():
        size = 0.0
        if name.endswith("k_proj.bias"):
            size = expected[name.replace("bias", "weight")].abs().max().item()
        close(own[name].grad, gradient, f"gradient of {name}", 2e-5, size)


def tensors(*arrays):
    return [torch.tensor(a) for a in arrays]


@each_case
def test_print_and_names(family, case):
    ours, theirs = pair(transformers, family, case)
    assert str(ours) == str(theirs)
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    assert ours.num_parameters() == theirs.num_parameters()


@each_case
def test_logits_loss_states_attentions_and_gradients(family, case, rng):
    ours, theirs = pair(transformers, family, case)
    ids = rng.integers(0, 50, (B, T))
    labels = np.where(rng.random(ids.shape) < 0.2, -100, ids)
    every = dict(output_hidden_states=True, output_attentions=True)
    got = ours(ids, labels=labels, **every)
    expected = theirs(torch.tensor(ids), labels=torch.tensor(labels), **every)
    close(got.logits, expected.logits, "logits")
    close(got.loss, expected.loss, "loss")
    for kind in ("hidden_states", "attentions"):
        assert len(getattr(got, kind)) == len(getattr(expected, kind))
        for i, (a, b) in enumerate(zip(getattr(got, kind), getattr(expected, kind))):
            close(a, b, f"{kind}[{i}]")
    got.loss.backward()
    expected.loss.backward()
    close_gradients(ours, theirs)
    ours.zero_grad()
    ours.gradient_checkpointing_enable()
    ours(ids, labels=labels, skip_logits=True).loss.backward()  # fused attention, fused loss
    close_gradients(ours, theirs)


@each_family
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding(family, side, rng):
    """Compared at real tokens only: what a padding token computes is nobody's business."""
    ours, theirs = pair(transformers, family)
    ids, mask = padded(rng, side)
    labels = np.where(mask == 1, ids, -100)
    got = ours(ids, attention_mask=mask, labels=labels)
    expected = theirs(*tensors(ids, mask), labels=torch.tensor(labels))
    real = mask.astype(bool)
    close(got.logits.data[real], expected.logits.detach().numpy()[real], "logits")
    if side == "right":  # on the left, the first label is predicted by a padding token
        close(got.loss, expected.loss, "loss")
        got.loss.backward()
        expected.loss.backward()
        close_gradients(ours, theirs)


@each_case
def test_cached_equals_uncached(family, case, rng):
    ours, theirs = pair(transformers, family, case)
    ids = rng.integers(0, 50, (B, T))
    expected = theirs(torch.tensor(ids)).logits.detach().numpy()
    parts, cache, start = [], None, 0
    with tq.no_grad():
        for n in (4, 1, 1, 3):
            out = ours(ids[:, start : start + n], past_key_values=cache, use_cache=True)
            cache, start = out.past_key_values, start + n
            parts.append(out.logits.data)
    close(np.concatenate(parts, 1), expected, "cached")


@each_case
def test_greedy(family, case, rng):
    ours, theirs = pair(transformers, family, case)
    theirs.config.output_router_logits = False  # theirs fails where a cache is longer than a step
    ids, mask = padded(rng, "left")
    options = dict(max_new_tokens=12, do_sample=False, pad_token_id=0)
    expected = theirs.generate(
        torch.tensor(ids), attention_mask=torch.tensor(mask), eos_token_id=None, **options
    ).numpy()
    for cached in (True, False):
        got = ours.generate(ids, attention_mask=mask, eos_token_id=[], use_cache=cached, **options)
        np.testing.assert_array_equal(got, expected)


@each_case
@pytest.mark.filterwarnings("ignore:.*not used by .*Model. lm_head")
def test_saved_there_and_opened_here_and_back(family, case, rng, tmp_path):
    """config.json as transformers 5 writes it, and as 4 did; ours, opened there."""
    _, theirs = pair(transformers, family, case)
    ids = rng.integers(0, 50, (B, T))
    expected = theirs(torch.tensor(ids)).logits
    theirs.save_pretrained(tmp_path / "theirs")
    file = tmp_path / "theirs" / "config.json"
    new = json.loads(file.read_text())
    old = {name: value for name, value in new.items() if name != "dtype"}
    rope = old.pop("rope_parameters", None)
    if rope:
        old |= {"rope_theta": rope["rope_theta"], "rope_scaling": None, "torch_dtype": "float32"}
    for values in (new, old):
        file.write_text(json.dumps(values))
        ours = tq.AutoModel.from_pretrained(tmp_path / "theirs")
        assert (
            type(ours).__name__
            == FAMILIES[family]["head"].split("For")[0].removesuffix("LMHeadModel") + "Model"
        )
        ours = getattr(tq, FAMILIES[family]["head"]).from_pretrained(tmp_path / "theirs")
        close(ours(ids).logits, expected, "opened here")
    ours.save_pretrained(tmp_path / "ours")
    again = type(theirs).from_pretrained(tmp_path / "ours", attn_implementation="eager").eval()
    close(again(torch.tensor(ids)).logits.detach().numpy(), expected, "opened there")
    assert type(ours.config).from_dict(ours.config.to_dict()) == ours.config


@each_family
def test_five_steps_of_adamw(family, rng):
    ours, theirs = pair(transformers, family)
    groups = decay_groups(ours, 0.1)
    decayed = {id(p) for p in groups[0]["params"]}
    names = {name for name, p in ours.named_parameters() if id(p) in decayed}
    own = AdamW(groups, lr=1e-3, eps=1e-6)
    split = [
        [p for n, p in theirs.named_parameters() if (n in names) is one] for one in (True, False)
    ]
    other = torch.optim.AdamW(
        [{"params": split[0], "weight_decay": 0.1}, {"params": split[1], "weight_decay": 0.0}],
        lr=1e-3,
        eps=1e-6,  # or what is but rounding of a gradient would make steps of full size
    )
    for _ in range(5):
        ids = rng.integers(0, 50, (B, T))
        own.zero_grad()
        ours(ids, labels=ids).loss.backward()
        own.step()
        other.zero_grad()
        theirs(torch.tensor(ids), labels=torch.tensor(ids)).loss.backward()
        other.step()
    for name, parameter in theirs.named_parameters():
        if name.endswith("k_proj.bias"):  # AdamW makes steps of full size of what is but rounding
            continue
        close(dict(ours.named_parameters())[name], parameter.detach(), name, 1e-4)


@each_family
def test_router_logits_and_the_loss_that_balances_them(family, rng):
    """Of families that have routers."""
    if not hasattr(our_model(family).config, "num_experts"):
        return
    ours, theirs = pair(transformers, family, output_router_logits=True, router_aux_loss_coef=0.3)
    ids, mask = padded(rng, "right")
    for masks in ((mask,), ()):
        ours.zero_grad()
        theirs.zero_grad()
        got = ours(ids, *masks, labels=ids)
        expected = theirs(*tensors(ids, *masks), labels=torch.tensor(ids))
        for mine, their in zip(got.router_logits, expected.router_logits):
            real = mask.reshape(-1).astype(bool) if masks else slice(None)
            close(mine.data[real], their.detach().numpy()[real], "router logits")
        close(got.aux_loss, expected.aux_loss, "aux_loss")
        close(got.loss, expected.loss, "loss")
        got.loss.backward()
        expected.loss.backward()
        close_gradients(ours, theirs)


@pytest.mark.parametrize("family", ["qwen2", "llama", "qwen3"])
def test_sequence_classification(family, rng):
    head = FAMILIES[family]["head"].replace("CausalLM", "SequenceClassification")
    ours, theirs = pair(transformers, family, head=head, num_labels=3)
    assert str(ours) == str(theirs)
    for side in ("left", "right"):
        ids, mask = padded(rng, side)
        labels = rng.integers(0, 3, B)
        got = ours(ids, attention_mask=mask, labels=labels)
        expected = theirs(*tensors(ids, mask), labels=torch.tensor(labels))
        close(got.logits, expected.logits, "logits")
        close(got.loss, expected.loss, "loss")


@each_family
def test_config_defaults_are_theirs(family):
    ours = getattr(tq, FAMILIES[family]["head"]).config_class()
    theirs = getattr(transformers, type(ours).__name__)()
    ours_alone = ("head_dim", "rope_theta", "rope_scaling", "sliding_window", "extra")
    for name in vars(ours):
        if hasattr(theirs, name) and name not in ours_alone:
            assert getattr(ours, name) == getattr(theirs, name), name


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


@pytest.mark.parametrize("family", ["qwen2", "llama", "qwen3"])
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


def test_eager_and_fused_attention_agree(rng):
    for family, case in CASES:
        eager = our_model(family, case, attn_implementation="eager")
        fused = our_model(family, case)
        fused.load_state_dict(eager.state_dict())
        ids = rng.integers(0, 50, (B, T))
        close(fused(ids).logits, eager(ids).logits.data, f"{family} {case}", 1e-5)
