"""Modules: named trees of parameters, in PyTorch's manner."""

import threading
from contextlib import contextmanager

import numpy as np

from tinyqwen import functional as F
from tinyqwen.autograd.random import default_rng
from tinyqwen.autograd.refusals import some
from tinyqwen.autograd.tensor import Tensor
from tinyqwen.functional.memory_layout import laid_in_a_row


class Parameter(Tensor):
    """A Tensor that a Module owns and an optimizer changes; it requires a gradient by default."""

    __slots__ = ()

    def __init__(self, data, requires_grad=True):
        super().__init__(data, requires_grad)


class _ThreadState(threading.local):
    empty = False


_state = _ThreadState()


@contextmanager
def empty_parameters():
    """Inside, this thread builds modules with parameters that have a shape and no memory.

    For models whose weights come from a file, or never: a 70-billion-parameter model is printed and
    counted in no time. Such a parameter is a read-only view of a single zero.
    """
    before, _state.empty = _state.empty, True
    try:
        yield
    finally:
        _state.empty = before


def no_memory(shape, dtype=np.float32):
    """A read-only array of zeros that has a shape and no memory."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def has_memory(parameter) -> bool:
    """False for a parameter that was made inside `empty_parameters` and has got no data since."""
    return parameter.size == 0 or parameter.data.strides != (0,) * parameter.ndim


def new_parameter(shape, fill=None):
    """A float32 Parameter (without memory inside `empty_parameters`), filled with a number."""
    parameter = Parameter((no_memory if _state.empty else np.empty)(shape, np.float32))
    if fill is not None and has_memory(parameter):
        parameter.data[...] = fill
    return parameter


def normal_(parameter, std, mean=0.0):
    """Fill with normal random numbers, in place, from `default_rng()`."""
    if has_memory(parameter):
        parameter.data[...] = default_rng().normal(mean, std, parameter.shape)


class Module:
    """A function with parameters, and other modules inside.

    Attributes that are Parameters or Modules are found in the order in which they were set, and
    named by their path, "layers.0.mlp.gate_proj.weight", as PyTorch and Hugging Face name them.
    """

    training = True

    def __call__(self, *args, **kwargs):
        return self.forward(*args, **kwargs)

    def forward(self, *args, **kwargs):
        """What calling the module computes."""
        raise TypeError(f"{type(self).__name__} has no forward method")

    def named_children(self):
        """(name, module) for the modules directly inside."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def named_modules(self, prefix=""):
        """(path, module) for this module, path "", and all inside, depth first."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self):
        """This module and all inside."""
        return (module for _, module in self.named_modules())

    def get_submodule(self, path):
        """The module at a path, "layers.0.mlp"; this one at "". Raises KeyError for no module."""
        module = self
        for name in path.split(".") if path else ():
            module = dict(module.named_children())[name]
        return module

    def set_submodule(self, path, module):
        """Put `module` where the one at `path` was."""
        parent, _, name = path.rpartition(".")
        parent = self.get_submodule(parent)
        if isinstance(parent, ModuleList):
            parent._modules[int(name)] = module
        else:
            setattr(parent, name, module)

    def named_parameters(self, remove_duplicate=True):
        """(path, parameter); one used twice (tied weights) is given once, or under each name."""
        seen = set()
        for path, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Parameter) and not (remove_duplicate and value in seen):
                    seen.add(value)
                    yield (f"{path}.{name}" if path else name), value

    def parameters(self):
        """The parameters, each once."""
        return (parameter for _, parameter in self.named_parameters())

    def num_parameters(self, exclude_embeddings=False):
        """Number of trainable numbers; optionally without the input embeddings."""
        skipped = {
            id(module.weight)
            for module in self.modules()
            if exclude_embeddings and isinstance(module, Embedding)
        }
        return sum(p.size for p in self.parameters() if id(p) not in skipped)

    def state_dict(self):
        """{path: array}, the parameters' own arrays; a tied one stands under each of its names."""
        return {name: p.data for name, p in self.named_parameters(remove_duplicate=False)}

    def load_state_dict(self, state_dict, strict=True):
        """Copy arrays into the parameters, converted to their dtype.

        Raises ValueError that names the missing, unexpected and misshapen arrays (with strict=False
        only misshapen ones); nothing is copied then.
        """
        own = dict(self.named_parameters(remove_duplicate=False))
        problems = [
            f"{name} has shape {np.shape(state_dict[name])}, expected {own[name].shape}"
            for name in own
            if name in state_dict and np.shape(state_dict[name]) != own[name].shape
        ]
        if strict:
            problems += [f"{name} is missing" for name in own if name not in state_dict]
            problems += [f"{name} is unexpected" for name in state_dict if name not in own]
        if problems:
            raise ValueError(f"{type(self).__name__}: {some(problems, '; ')}")
        for name, parameter in own.items():
            if name not in state_dict:
                continue
            if has_memory(parameter):
                parameter.data[...] = state_dict[name]
            else:
                parameter.data = np.array(state_dict[name], parameter.dtype, order="C")

    def train(self, mode=True):
        """Set training mode (dropout on) here and in all modules inside."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self):
        """Set evaluation mode (dropout off)."""
        return self.train(False)

    def zero_grad(self):
        """Forget all gradients."""
        for parameter in self.parameters():
            parameter.grad = None

    def requires_grad_(self, requires_grad=True):
        """Freeze (False) or unfreeze all parameters."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def astype(self, dtype):
        """Convert all parameters to float32 or float64, in place, and lay them in a row."""
        if np.dtype(dtype) not in (np.float32, np.float64):
            raise ValueError(f"a module computes in float32 or float64, not {np.dtype(dtype)}")
        filled = [parameter for parameter in self.parameters() if has_memory(parameter)]
        for parameter, array in zip(filled, laid_in_a_row([p.shape for p in filled], dtype)):
            array[...] = parameter.data
            parameter.data = array
        for parameter in self.parameters():
            if not has_memory(parameter):
                parameter.data = no_memory(parameter.shape, dtype)
            parameter.grad = None
        return self

    def extra_repr(self):
        """What stands between the parentheses of this module's line in `print(model)`."""
        return ""

    def __repr__(self):
        lines = [f"({name}): {child!r}" for name, child in self.named_children()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        return f"{type(self).__name__}(\n" + _indented(lines) + "\n)"


def _indented(lines):
    return "\n".join("  " + line.replace("\n", "\n  ") for line in lines)


class ModuleList(Module):
    """Modules in a row, named "0", "1", …"""

    def __init__(self, modules=()):
        self._modules = list(modules)

    def named_children(self):
        return ((str(i), module) for i, module in enumerate(self._modules))

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules)

    def __getitem__(self, index):
        return self._modules[index]

    def append(self, module):
        self._modules.append(module)

    def __repr__(self):
        """Equal neighbors are folded into one entry, "(0-23): 24 x …", as PyTorch folds them."""
        runs = []  # [first, last, repr]
        for i, text in enumerate(map(repr, self._modules)):
            if runs and runs[-1][2] == text:
                runs[-1][1] = i
            else:
                runs.append([i, i, text])
        if not runs:
            return "ModuleList()"
        lines = [
            f"({i}): {text}" if i == j else f"({i}-{j}): {j - i + 1} x {text}"
            for i, j, text in runs
        ]
        return "ModuleList(\n" + _indented(lines) + "\n)"


class ModuleDict(Module):
    """Modules by name."""

    def __contains__(self, name):
        return name in vars(self)

    def __getitem__(self, name):
        return vars(self)[name]

    def __setitem__(self, name, module):
        setattr(self, name, module)


class Linear(Module):
    """x Wᵀ + b with weight (out_features, in_features) and bias (out_features,) or None.

    Initialized uniformly in ±1/√in_features, as PyTorch does; models choose their own.
    """

    def __init__(self, in_features, out_features, bias=True):
        self.in_features, self.out_features = in_features, out_features
        bound = in_features**-0.5 if in_features else 0.0
        self.weight = new_parameter((out_features, in_features))
        self.bias = new_parameter((out_features,)) if bias else None
        for parameter in (self.weight, self.bias):
            if parameter is not None and has_memory(parameter):
                parameter.data[...] = default_rng().uniform(-bound, bound, parameter.shape)

    def forward(self, x):
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self):
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Embedding(Module):
    """Look-up table (num_embeddings, dim); row `padding_idx` is zero and gets no gradient."""

    def __init__(self, num_embeddings, embedding_dim, padding_idx=None):
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = padding_idx
        self.weight = new_parameter((num_embeddings, embedding_dim))
        self.init_(1.0)

    def init_(self, std):
        """Normal random rows, a zero one for padding."""
        normal_(self.weight, std)
        if self.padding_idx is not None and has_memory(self.weight):
            self.weight.data[self.padding_idx] = 0

    def forward(self, ids):
        return F.embedding(ids, self.weight, self.padding_idx)

    def extra_repr(self):
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class RMSNorm(Module):
    """x / √(mean(x²) + eps) · weight over the last axis."""

    def __init__(self, hidden_size, eps=1e-6):
        self.variance_epsilon = eps
        self.weight = new_parameter((hidden_size,), 1.0)

    def forward(self, x):
        return F.rms_norm(x, self.weight, self.variance_epsilon)

    def extra_repr(self):
        return f"{self.weight.shape}, eps={self.variance_epsilon}"


class LayerNorm(Module):
    """(x - mean) / √(var + eps) · weight + bias over the last axis."""

    def __init__(self, hidden_size, eps=1e-5):
        self.eps = eps
        self.weight, self.bias = (new_parameter((hidden_size,), fill) for fill in (1.0, 0.0))

    def forward(self, x):
        return F.layer_norm(x, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.weight.shape}, eps={self.eps}, elementwise_affine=True, bias=True"


class Dropout(Module):
    """Zeros entries with probability p, in training mode only."""

    def __init__(self, p=0.5):
        self.p = p

    def forward(self, x):
        return F.dropout(x, self.p) if self.training else x

    def extra_repr(self):
        return f"p={self.p}, inplace=False"
