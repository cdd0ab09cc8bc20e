"""Modules: names, state, modes, and what they print."""

import threading

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen import functional as F
from tinyqwen import nn


class Block(nn.Module):
    def __init__(self):
        self.norm = nn.RMSNorm(4)
        self.up = nn.Linear(4, 6)
        self.drop = nn.Dropout(0.5)
        self.down = nn.Linear(6, 4, bias=False)

    def forward(self, x):
        return x + self.down(self.drop(F.silu(self.up(self.norm(x)))))


class Tiny(nn.Module):
    def __init__(self, tied=True):
        self.embed = nn.Embedding(7, 4, padding_idx=0)
        self.layers = nn.ModuleList([Block(), Block()])
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 7, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, ids):
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


NAMES = [
    "embed.weight",
    *(f"layers.{i}.{name}" for i in range(2)
      for name in ("norm.weight", "up.weight", "up.bias", "down.weight")),
    "norm.weight",
    "norm.bias",
]  # fmt: skip
IDS = np.array([[1, 2, 0], [5, 6, 3]])


# ---------------------------------------------------------------------------------------------
# Names and state
# ---------------------------------------------------------------------------------------------


def test_named_parameters():
    assert [name for name, _ in Tiny().named_parameters()] == NAMES
    assert [name for name, _ in Tiny(tied=False).named_parameters()] == [*NAMES, "head.weight"]
    model = Tiny()
    assert dict(model.named_parameters())["layers.1.up.bias"] is model.layers[1].up.bias
    assert len(list(model.parameters())) == len(NAMES)


def test_named_modules():
    names = [name for name, _ in Tiny().named_modules()]
    assert names[:4] == ["", "embed", "layers", "layers.0"]
    assert "layers.1.down" in names and len(names) == 1 + 4 + 2 * (1 + 4)


def test_num_parameters():
    body = 2 * (4 + 24 + 6 + 24) + 8
    assert Tiny().num_parameters() == body + 28
    assert Tiny(tied=False).num_parameters() == body + 2 * 28
    assert Tiny(tied=False).num_parameters(exclude_embeddings=True) == body + 28


def test_state_dict_holds_the_parameters_own_arrays():
    model = Tiny()
    state = model.state_dict()
    assert list(state) == [*NAMES, "head.weight"]
    assert state["head.weight"] is state["embed.weight"] is model.embed.weight.data


def test_load_state_dict_copies(rng):
    model, other = Tiny(), Tiny()
    arrays = {name: a.copy() for name, a in model.state_dict().items()}
    other.load_state_dict(model.state_dict())
    for name, a in other.state_dict().items():
        np.testing.assert_array_equal(a, arrays[name])
    other.embed.weight.data += 1
    np.testing.assert_array_equal(model.embed.weight.data, arrays["embed.weight"])
    assert other.head.weight is other.embed.weight


def test_load_state_dict_keeps_arrays_and_dtype():
    """In place, so that an optimizer that holds the arrays sees the new values."""
    model = Tiny()
    before = model.norm.weight.data
    model.load_state_dict({"norm.weight": np.full(4, 2.5)}, strict=False)
    assert model.norm.weight.data is before and before.dtype == np.float32
    np.testing.assert_array_equal(before, [2.5] * 4)


def test_load_state_dict_lists_every_problem_and_copies_nothing():
    model = Tiny()
    state = {name: np.full_like(a, 9) for name, a in model.state_dict().items()}
    del state["layers.0.up.bias"]
    state["layers.1.up.bias"] = np.zeros(5)
    state["surplus.weight"] = np.zeros(2)
    with pytest.raises(ValueError) as caught:
        model.load_state_dict(state)
    message = str(caught.value)
    assert message.startswith("Tiny: ") and "\n" not in message
    for part in (
        "layers.1.up.bias has shape (5,), expected (6,)",
        "layers.0.up.bias is missing",
        "surplus.weight is unexpected",
    ):
        assert part in message
    assert not (model.norm.weight.data == 9).any()
    with pytest.raises(ValueError, match="has shape") as caught:
        model.load_state_dict(state, strict=False)
    assert "missing" not in str(caught.value) and "unexpected" not in str(caught.value)
    assert not (model.norm.weight.data == 9).any()


def test_tied_weights_get_both_gradients(rng):
    tied, untied = Tiny(), Tiny(tied=False)
    untied.load_state_dict(tied.state_dict())
    g = rng.standard_normal((2, 3, 7)).astype(np.float32)
    for model in (tied.eval(), untied.eval()):
        model(IDS).backward(g)
    expected = untied.embed.weight.grad + untied.head.weight.grad
    np.testing.assert_allclose(tied.embed.weight.grad, expected, rtol=1e-5, atol=1e-6)


def test_a_parameter_shared_by_two_modules_is_one():
    shared = nn.Linear(3, 3)
    both = nn.ModuleList([shared, shared])
    assert [name for name, _ in both.named_parameters()] == ["0.weight", "0.bias"]
    assert list(both.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    every = [name for name, _ in both.named_parameters(remove_duplicate=False)]
    assert every == list(both.state_dict())
    assert both.num_parameters() == 12


# ---------------------------------------------------------------------------------------------
# Modes
# ---------------------------------------------------------------------------------------------


def test_train_and_eval_reach_every_module():
    model = Tiny()
    assert all(m.training for m in model.modules())
    assert model.eval() is model and not any(m.training for m in model.modules())
    np.testing.assert_array_equal(model(IDS).data, model(IDS).data)
    model.train()
    assert (model(IDS).data != model(IDS).data).any()
    assert Tiny().training  # another model is not touched


def test_freezing():
    model = Tiny().eval()
    model.layers[0].requires_grad_(False)
    model(IDS).sum().backward()
    grads = {name: p.grad is not None for name, p in model.named_parameters()}
    assert not any(has for name, has in grads.items() if name.startswith("layers.0"))
    assert all(has for name, has in grads.items() if not name.startswith("layers.0"))
    model.requires_grad_(False)
    assert not model(IDS).requires_grad
    model.requires_grad_(True)
    assert model(IDS).requires_grad


def test_zero_grad():
    model = Tiny()
    model(IDS).sum().backward()
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_astype():
    model = Tiny().eval()
    model(IDS).sum().backward()
    single = model(IDS).data
    assert single.dtype == np.float32
    assert model.astype(np.float64) is model
    assert all(p.dtype == np.float64 and p.grad is None for p in model.parameters())
    assert model.head.weight is model.embed.weight
    out = model(IDS)
    assert out.dtype == np.float64
    np.testing.assert_allclose(out.data, single, rtol=1e-4, atol=1e-5)
    out.sum().backward()
    assert all(p.grad.dtype == np.float64 for p in model.parameters())


def test_a_model_stays_in_float32():
    model = Tiny()
    model(IDS).sum().backward()
    assert {p.grad.dtype for p in model.parameters()} == {np.dtype(np.float32)}


# ---------------------------------------------------------------------------------------------
# The modules
# ---------------------------------------------------------------------------------------------


def test_modules_are_their_functions(rng):
    x = rng.standard_normal((2, 3)).astype(np.float32)
    linear, bare = nn.Linear(3, 5), nn.Linear(3, 5, bias=False)
    np.testing.assert_array_equal(linear(x).data, F.linear(x, linear.weight, linear.bias).data)
    np.testing.assert_array_equal(bare(x).data, x @ bare.weight.data.T)
    assert bare.bias is None and linear.weight.shape == (5, 3) and linear.bias.shape == (5,)
    rms, layer = nn.RMSNorm(3, eps=0.5), nn.LayerNorm(3, eps=0.5)
    rms.weight.data[:] = layer.weight.data[:] = [1, 2, 3]
    layer.bias.data[:] = 4
    np.testing.assert_array_equal(rms(x).data, F.rms_norm(x, rms.weight, 0.5).data)
    expected = F.layer_norm(x, layer.weight, layer.bias, 0.5).data
    np.testing.assert_array_equal(layer(x).data, expected)


def test_default_epsilons():
    assert nn.RMSNorm(2).variance_epsilon == 1e-6 and nn.LayerNorm(2).eps == 1e-5


def test_initial_values():
    tq.manual_seed(0)
    linear = nn.Linear(400, 300)
    for parameter in (linear.weight, linear.bias):
        assert np.abs(parameter.data).max() <= 1 / 20
    assert linear.weight.data.std() == pytest.approx(1 / 20 / np.sqrt(3), rel=0.02)
    embedding = nn.Embedding(500, 100, padding_idx=3)
    assert embedding.weight.data.std() == pytest.approx(1, rel=0.02)
    np.testing.assert_array_equal(embedding.weight.data[3], np.zeros(100))
    np.testing.assert_array_equal(nn.RMSNorm(3).weight.data, np.ones(3))
    np.testing.assert_array_equal(nn.LayerNorm(3).bias.data, np.zeros(3))
    tq.manual_seed(0)
    np.testing.assert_array_equal(nn.Linear(400, 300).weight.data, linear.weight.data)


@pytest.mark.parametrize("padding_idx", [0, 2, -1])
def test_padding_row_stays(padding_idx):
    embedding = nn.Embedding(4, 3, padding_idx=padding_idx)
    embedding.init_(0.02)
    assert not embedding.weight.data[padding_idx].any()
    embedding(np.arange(4)).sum().backward()
    assert not embedding.weight.grad[padding_idx].any()
    assert embedding.weight.grad.sum() == 9


def test_dropout_module():
    drop, x = nn.Dropout(0.5), np.ones(1000, np.float32)
    assert 0 < (drop(x).data == 0).mean() < 1
    np.testing.assert_array_equal(drop.eval()(x).data, x)


def test_module_without_forward():
    with pytest.raises(TypeError, match="ModuleList has no forward"):
        nn.ModuleList()(1)


def test_module_list():
    layers = nn.ModuleList([nn.Linear(2, 2)])
    layers.append(nn.Dropout())
    assert len(layers) == 2 and isinstance(layers[-1], nn.Dropout)
    assert [type(m) for m in layers] == [nn.Linear, nn.Dropout]


# ---------------------------------------------------------------------------------------------
# Without memory
# ---------------------------------------------------------------------------------------------


def test_empty_parameters():
    with nn.empty_parameters():
        huge = nn.ModuleList([nn.Linear(1 << 20, 1 << 20), nn.Embedding(1 << 20, 8, padding_idx=0)])
        huge.append(nn.RMSNorm(1 << 20))
        normal = nn.normal_
        normal(huge[0].weight, 1.0)
    assert huge.num_parameters() == (1 << 40) + (1 << 20) + (1 << 23) + (1 << 20)
    assert not any(nn.has_memory(p) for p in huge.parameters())
    assert "in_features=1048576" in repr(huge)
    huge.astype(np.float64)  # a terabyte, if it took memory
    assert not any(nn.has_memory(p) for p in huge.parameters())
    assert {p.dtype for p in huge.parameters()} == {np.dtype(np.float64)}
    assert nn.has_memory(nn.Linear(2, 2).weight)  # outside again


def test_contexts_inside_each_other_end_one_by_one():
    with nn.empty_parameters():
        with nn.empty_parameters():
            pass
        assert not nn.has_memory(nn.Linear(2, 2).weight)
        with pytest.raises(ZeroDivisionError), nn.empty_parameters():
            raise ZeroDivisionError
        assert not nn.has_memory(nn.Linear(2, 2).weight)
    with pytest.raises(ZeroDivisionError), nn.empty_parameters():
        raise ZeroDivisionError
    assert nn.has_memory(nn.Linear(2, 2).weight)


def test_empty_parameters_are_a_matter_of_one_thread():
    """A model that is built while another thread loads one has memory, and so have all later."""
    inside, leave = threading.Event(), threading.Event()

    def load():
        with nn.empty_parameters():
            inside.set()
            assert leave.wait(200)

    thread = threading.Thread(target=load)
    thread.start()
    assert inside.wait(200) and nn.has_memory(nn.Linear(2, 2).weight)
    with nn.empty_parameters():
        leave.set()
        thread.join()
    assert nn.has_memory(nn.Linear(2, 2).weight)


def test_empty_parameters_are_filled_from_a_state_dict():
    full = Tiny()
    with nn.empty_parameters():
        empty = Tiny()
    source = full.state_dict()
    empty.load_state_dict(source)
    np.testing.assert_array_equal(empty.eval()(IDS).data, full.eval()(IDS).data)
    assert empty.head.weight is empty.embed.weight
    for name, array in empty.state_dict().items():
        assert array.flags.c_contiguous and array.flags.writeable
        assert not np.shares_memory(array, source[name])


# ---------------------------------------------------------------------------------------------
# What is printed
# ---------------------------------------------------------------------------------------------


def test_repr():
    assert repr(Tiny()) == (
        "Tiny(\n"
        "  (embed): Embedding(7, 4, padding_idx=0)\n"
        "  (layers): ModuleList(\n"
        "    (0-1): 2 x Block(\n"
        "      (norm): RMSNorm((4,), eps=1e-06)\n"
        "      (up): Linear(in_features=4, out_features=6, bias=True)\n"
        "      (drop): Dropout(p=0.5, inplace=False)\n"
        "      (down): Linear(in_features=6, out_features=4, bias=False)\n"
        "    )\n"
        "  )\n"
        "  (norm): LayerNorm((4,), eps=1e-05, elementwise_affine=True, bias=True)\n"
        "  (head): Linear(in_features=4, out_features=7, bias=False)\n"
        ")"
    )
