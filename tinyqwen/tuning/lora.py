"""LoRA: a weight is frozen, and the product of two thin matrices beside it is trained.

    y = W x + (lora_alpha / r) · B A dropout(x)        A (r, in), B (out, r), r far below both

B begins as zeros, so the model begins as it was. (Hu et al. 2021, "LoRA: low-rank adaptation of
large language models", section 4.1.) Names and files are PEFT's: adapters from there open here,
and ours open there.
"""

import copy
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from tinyqwen import nn
from tinyqwen.autograd.refusals import some
from tinyqwen.autograd.tensor import primitive
from tinyqwen.storage.files import file_in, read_json, write_json

CONFIG = "adapter_config.json"
USUAL = ("q_proj", "v_proj", "query", "value", "c_attn")  # Hu et al. 2021, section 7.1
INSIDE = re.compile(r"\.(base_layer|lora_[AB])(\.|$)")  # of a layer that is adapted already
HEADS = ["classifier", "score"]  # which are new, and trained whole, when a text is classified


@primitive
def lora(x, A, B, scaling=1.0):
    """y = scaling · B A x, for every row of x.

    x (..., in_features), A (r, in_features), B (out_features, r). Returns (..., out_features).

    With h = x Aᵀ and y = s h Bᵀ, as for two linear layers:
        dB = s gᵀ h        dh = s g B        dA = dhᵀ x        dx = dh A

    >>> import numpy as np
    >>> out, vjp = lora.raw(np.ones((1, 3)), np.ones((2, 3)), np.ones((4, 2)), 0.5)
    >>> out
    array([[3., 3., 3., 3.]])
    """
    rows = x.reshape(-1, x.shape[-1])
    h = rows @ A.T
    out = h @ B.T
    out *= scaling

    def vjp(g):
        g = g.reshape(-1, g.shape[-1]) * scaling
        dh = g @ B
        return (dh @ A).reshape(x.shape), dh.T @ rows, g.T @ h

    return out.reshape(x.shape[:-1] + out.shape[1:]), vjp


def merge(weight, A, B, scaling=1.0):
    """W + scaling · B A, with which a plain linear layer computes what both did.

    >>> import numpy as np
    >>> merge(np.zeros((2, 2)), np.array([[1.0, 2.0]]), np.array([[1.0], [3.0]]), 2.0)
    array([[ 2.,  4.],
           [ 6., 12.]])
    """
    return weight + scaling * (B @ A)


def low_rank(matrix, r):
    """A (r, in) and B (out, r) whose product B A is nearest to a matrix (out, in), entry by entry.

    Of the singular values s₁ ≥ s₂ ≥ … of U S Vᵀ the first r are kept, and A and B take a root of
    each; what is lost is √(s²ᵣ₊₁ + s²ᵣ₊₂ + …)  (Eckart & Young 1936). So an adapter can be had from
    a model that was fine-tuned whole. Raises ValueError for an r below 1, or above the number of
    the matrix's rows or columns.

    >>> import numpy as np
    >>> A, B = low_rank(np.array([[4.0, 0.0], [0.0, 1.0]]), 1)
    >>> abs(B @ A)
    array([[4., 0.],
           [0., 0.]])
    """
    if not 1 <= r <= min(matrix.shape):
        raise ValueError(f"r is {r}; expected 1 to {min(matrix.shape)} for a matrix {matrix.shape}")
    U, values, V = np.linalg.svd(matrix, full_matrices=False)
    roots = np.sqrt(values[:r])
    return roots[:, None] * V[:r], U[:, :r] * roots


# ---------------------------------------------------------------------------------------------
# What is adapted, and how
# ---------------------------------------------------------------------------------------------


@dataclass
class LoraConfig:
    """An adapter's settings, with PEFT's names and defaults.

    r: the rank. lora_alpha: the update is scaled by lora_alpha / r, or with use_rslora by
        lora_alpha / √r (Kalajdzievski 2023). lora_dropout: of the adapter's input, in training.
    target_modules: names of linear layers ("q_proj", or more of the path), a regular expression
        that matches a whole path, or "all-linear" for all but the output layer; by default queries
        and values, as far as the model has them under a usual name.
    exclude_modules: the same, for layers to leave out after all.
    modules_to_save: names of modules that are trained whole and stored with the adapter.
    fan_in_fan_out: the layers store their weight as (in, out), as GPT-2's do.
    task_type: PEFT's; of "SEQ_CLS" and "TOKEN_CLS" the new head is among modules_to_save.

    Raises ValueError for what is no adapter, and for what is one of another kind.
    """

    r: int = 8
    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    lora_alpha: float = 8
    lora_dropout: float = 0.0
    fan_in_fan_out: bool = False
    use_rslora: bool = False
    modules_to_save: list[str] | None = None
    bias: str = "none"
    init_lora_weights: bool = True
    task_type: str | None = None
    base_model_name_or_path: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    # What files of PEFT say of an adapter and what makes no difference to its numbers.
    _NOTES = frozenset(
        ("auto_mapping", "inference_mode", "megatron_core", "peft_version", "qalora_group_size")
        + ("revision", "runtime_config")
    )

    def __post_init__(self):
        if not isinstance(self.r, int) or isinstance(self.r, bool) or self.r < 1:
            raise ValueError(f"r must be a positive integer, not {self.r!r}")
        for name, low, high in (("lora_alpha", 0, 1e9), ("lora_dropout", 0, 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"{name} must be a number, not {value!r}")
            if not low <= value <= high:
                raise ValueError(f"{name} must be from {low} to {high:g}, not {value!r}")
        if self.bias != "none":
            raise ValueError(f"bias {self.bias!r} is not supported; expected 'none'")
        if self.init_lora_weights not in (True, "gaussian"):
            raise ValueError(
                f"init_lora_weights {self.init_lora_weights!r} is not supported, for it changes "
                "the base; expected true"
            )
        for name, value in self.extra.items():
            if name not in self._NOTES and value:
                raise ValueError(f"{name} is {value!r:.100}: not supported by this LoRA")
        if self.modules_to_save is None and self.task_type in ("SEQ_CLS", "TOKEN_CLS"):
            self.modules_to_save = list(HEADS)

    @property
    def scaling(self):
        """The factor of B A."""
        return float(self.lora_alpha / (self.r**0.5 if self.use_rslora else self.r))

    @classmethod
    def from_pretrained(cls, folder):
        """Read a folder's adapter_config.json; errors begin with its name."""
        path = file_in(folder, CONFIG)
        values = read_json(path)
        try:
            kind = values.pop("peft_type", "LORA")
            if kind != "LORA":
                raise ValueError(f"peft_type is {kind!r}; only 'LORA' can be loaded")
            known = {f.name for f in fields(cls)} - {"extra"}
            extra = {name: values.pop(name) for name in list(values) if name not in known}
            return cls(**values, extra=extra)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def save_pretrained(self, folder):
        """Write adapter_config.json, as PEFT reads it."""
        values = asdict(self)
        values = {**values.pop("extra"), **values, "peft_type": "LORA", "inference_mode": True}
        write_json(Path(folder) / CONFIG, values)


def matches(path, names):
    """Whether a path is among names, which are ends of paths or one regular expression."""
    if isinstance(names, str):
        return re.fullmatch(names, path) is not None
    return any(path == name or path.endswith(f".{name}") for name in names or ())


def find_targets(model, config):
    """{path: linear layer} that the config wants adapted in the model, in the model's order.

    Raises ValueError where there is none, and where a name is that of something else.
    """
    wanted, found, others = config.target_modules, {}, []
    wanted = list(USUAL) if wanted is None else wanted
    every = isinstance(wanted, str) and wanted.lower() == "all-linear"
    output = _output_layer(model, config)
    for path, module in model.named_modules():
        linear = hasattr(module, "in_features") and hasattr(module, "out_features")
        chosen = linear and path != output if every else matches(path, wanted)
        if not chosen or INSIDE.search(path) or matches(path, config.exclude_modules):
            continue
        if matches(path, config.modules_to_save):
            continue
        if linear:
            found[path] = module
        else:
            others.append(f"{path} ({type(module).__name__})")
    if others and not isinstance(wanted, str):
        raise ValueError(f"target_modules: {some(others)}: not a linear layer")
    if not found:
        raise ValueError(
            f"target_modules {wanted!r}: {type(model).__name__} has no such linear layer; expected "
            "names that `print(model)` shows, or 'all-linear'"
        )
    return found


def _output_layer(model, config):
    """Path of the linear layer onto the vocabulary or, of a classifier, of its head."""
    if config.task_type in ("SEQ_CLS", "TOKEN_CLS"):
        return list(model.named_children())[-1][0]
    vocabulary = getattr(model.config, "vocab_size", None)
    layers = [(p, m) for p, m in model.named_modules() if hasattr(m, "in_features")]
    outside = [(p, m) for p, m in layers if not any(part.isdigit() for part in p.split("."))]
    return next((p for p, m in outside if m.out_features == vocabulary), None)


class LoraLinear(nn.Module):
    """A linear layer and the adapters beside it."""

    def __init__(self, base_layer):
        self.base_layer = base_layer
        self.in_features, self.out_features = base_layer.in_features, base_layer.out_features
        self.lora_dropout = nn.ModuleDict()
        self.lora_A, self.lora_B = nn.ModuleDict(), nn.ModuleDict()
        self.scaling, self.active = {}, None

    def add(self, name, config, dtype):
        """A new adapter, which changes nothing yet."""
        # A Linear begins uniform in ±1/√in, which is what PEFT's kaiming_uniform_(a=√5) comes to.
        A = nn.Linear(self.in_features, config.r, bias=False)
        B = nn.Linear(config.r, self.out_features, bias=False)
        if config.init_lora_weights == "gaussian":
            nn.normal_(A.weight, 1 / config.r)
        B.weight.data[...] = 0
        self.lora_dropout[name] = nn.Dropout(config.lora_dropout)
        self.lora_A[name], self.lora_B[name] = A.astype(dtype), B.astype(dtype)
        self.scaling[name] = config.scaling
        self.train(self.training)

    def forward(self, x):
        """x (..., in_features) -> (..., out_features)."""
        y = self.base_layer(x)
        if self.active in self.lora_A:
            x = self.lora_dropout[self.active](x)
            y = y + lora(x, *self._matrices(self.active), self.scaling[self.active])
        return y

    def _matrices(self, name):
        return self.lora_A[name].weight, self.lora_B[name].weight

    def merge(self):
        """Add the active adapter to the layer's own weight."""
        if self.active in self.lora_A:
            A, B = (matrix.data for matrix in self._matrices(self.active))
            weight = self.base_layer.weight.data
            own = weight if isinstance(self.base_layer, nn.Linear) else weight.T  # GPT-2's Conv1D
            own[...] = merge(own, A, B, self.scaling[self.active])

    def merged(self):
        """A plain layer that computes what both do; this one stays as it is.

        Of a base in few bits it is a float32 one.
        """
        base, twin = self.base_layer, copy.copy(self)
        layer = twin.base_layer = base.plain() if hasattr(base, "plain") else copy.copy(base)
        layer.weight = nn.Parameter(layer.weight.data.copy(), layer.weight.requires_grad)
        twin.merge()
        return layer
