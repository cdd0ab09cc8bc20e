"""Models in few bits: linear layers in groups of 2, 4 or 8 bits, tables and heads in int8 rows.

Files are Hugging Face's GPTQ folders. A linear layer is four arrays there, which `GroupedMatrix`
repacks for speed:

    qweight (in · bits / 32, out) int32     codes, lowest bits first
    qzeros  (groups, out · bits / 32) int32 zeros, minus 1 (of checkpoint_format "gptq_v2": as is)
    scales  (groups, out) float16
    g_idx   (in,) int32                     the group of each input, not in order if desc_act

and `quantization_config` in config.json. The format leaves embeddings and the output layer in
float16; our `embedding_bits: 8` there says that they are int8 in memory, a scale a row, and so are
tables too large to want them otherwise.
"""

import numpy as np

from tinyqwen import nn
from tinyqwen.models.pretrained import quantizers
from tinyqwen.storage import safetensors
from tinyqwen.tuning.gptq import gptq_quantize, hessians
from tinyqwen.tuning.packed_matrix import GroupedMatrix, Int8Table, packed_embedding, packed_linear
from tinyqwen.tuning.packing import check_bits, pack, quantize_array, unpack

PARTS = ("qweight", "qzeros", "scales", "g_idx")
LARGE = 1 << 26  # numbers of a table that becomes int8 whether or not the folder asks for it


class QuantizedLinear(nn.Module):
    """x Wᵀ + b with a frozen W in few bits; gradients flow through it to x."""

    def __init__(self, weight, bias=None, tied=False):
        self.out_features, self.in_features = weight.shape
        self.weight, self.bias, self._tied = weight, bias, tied

    def forward(self, x):
        return packed_linear(x, self.weight, self.bias)

    def packed_arrays(self):
        """{name: array} as they are stored."""
        if self._tied:
            return {}
        if isinstance(self.weight, Int8Table):
            return {"weight": self.weight.dense().astype(np.float16)}
        codes, g_idx = self.weight.to_codes()
        bits = self.weight.bits
        # Zeros of 0 cannot be: `group_scales` begins at 1, and files hold zero - 1.
        return {
            "qweight": pack(codes, bits),
            "qzeros": pack((self.weight.zeros - 1).T, bits).T,
            "scales": self.weight.scales.astype(np.float16),
            "g_idx": g_idx,
        }

    def plain(self):
        """A float32 layer that computes the same."""
        with nn.empty_parameters():
            layer = nn.Linear(self.in_features, self.out_features, bias=False)
        layer.weight.data = self.weight.dense()
        layer.bias = self.bias
        return layer

    def extra_repr(self):
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}, {_kind(self.weight)}"
        )


class QuantizedEmbedding(nn.Module):
    """A look-up table in int8, a scale a row; frozen."""

    def __init__(self, weight):
        self.num_embeddings, self.embedding_dim = weight.shape
        self.weight = weight

    def forward(self, ids):
        return packed_embedding(ids, self.weight)

    def packed_arrays(self):
        """{name: array} as they are stored."""
        return {"weight": self.weight.dense().astype(np.float16)}

    def plain(self):
        """A float32 table of the same numbers."""
        with nn.empty_parameters():
            table = nn.Embedding(self.num_embeddings, self.embedding_dim)
        table.weight.data = self.weight.dense()
        return table

    def extra_repr(self):
        return f"{self.num_embeddings}, {self.embedding_dim}, {_kind(self.weight)}"


def _kind(weight):
    """What `print(model)` says of a packed matrix."""
    size = f", group_size={weight.group_size}" if isinstance(weight, GroupedMatrix) else ""
    return f"bits={weight.bits}{size}, {weight.nbytes:,} bytes"


def is_quantized(model):
    """Whether any of a model's layers are in few bits."""
    return any(isinstance(module, QuantizedLinear) for module in model.modules())


def quantize(model, bits=4, group_size=128, method="rtn", calibration=None, sym=None):
    """Put a model's linear layers into few bits, and its embeddings and heads into int8, in place.

    bits: 8, 4 or 2. group_size: inputs that share a scale; it must divide every layer's. method:
    "rtn" rounds to the nearest; "gptq" lets the weights that are still to be rounded make up for
    the errors of those that are, as they count on the calibration (Frantar et al. 2022).
    calibration: a list of arrays of token ids (T,) or (B, T), for "gptq" alone. sym: one zero for
    all, 2ᵇ⁻¹; by default for 8 bits.

    Returns the model, whose config has a `quantization_config`. Raises ValueError, before anything
    is changed, for other bits, a group size that does not divide, a model that is quantized
    already, another method, and a calibration of fewer tokens than the widest layer has inputs.
    """
    check_bits(bits)
    sym = bits == 8 if sym is None else sym
    if method not in ("rtn", "gptq"):
        raise ValueError(f"method must be 'rtn' or 'gptq', not {method!r}")
    if is_quantized(model):
        raise ValueError("the model is quantized already; start from its float32 checkpoint")
    tables = _tables(model)
    layers = {
        path: module
        for path, module in model.named_modules()
        if type(module) is nn.Linear and path not in tables
    }
    if not layers:
        raise ValueError(f"{type(model).__name__} has no linear layers to quantize")
    _check_groups(layers, bits, group_size)
    if method == "gptq":
        calibration = [np.atleast_2d(ids) for ids in calibration or ()]
        widest = max(layer.in_features for layer in layers.values())
        tokens = sum(ids.size for ids in calibration)
        if tokens < widest:
            raise ValueError(
                f"the calibration has {tokens} tokens; gptq needs at least {widest}, as many as "
                "the widest layer has inputs, and works better with many more"
            )
    for block in _blocks(layers):
        found = hessians(model, block, calibration) if method == "gptq" else {}
        for path in block:
            weight, g_idx = layers[path].weight.data.T, None
            if method == "gptq":
                packed = gptq_quantize(weight, found[path], bits, group_size, sym)
            else:
                packed = (*quantize_array(weight, bits, group_size, sym), g_idx)
            codes, scales, zeros, g_idx = packed
            matrix = GroupedMatrix.from_codes(codes, scales, zeros, bits, g_idx)
            model.set_submodule(path, QuantizedLinear(matrix, layers[path].bias))
    _quantize_tables(model, tables)
    model.requires_grad_(False)
    model.config.extra["quantization_config"] = {
        **{"quant_method": "gptq", "bits": bits, "group_size": group_size, "sym": sym},
        **{"desc_act": method == "gptq", "checkpoint_format": "gptq", "embedding_bits": 8},
        **{"static_groups": False, "true_sequential": True, "lm_head": False},
    }
    return model


def _check_groups(layers, bits, group_size):
    if not isinstance(group_size, int) or isinstance(group_size, bool) or group_size < 1:
        raise ValueError(f"group_size must be a positive integer, not {group_size!r}")
    if group_size * bits % 8:
        raise ValueError(
            f"group_size {group_size}: so many codes of {bits} bits fill no whole bytes"
        )
    words = 32 // bits
    for path, layer in layers.items():
        if layer.in_features % group_size:
            raise ValueError(
                f"group_size {group_size} does not divide the {layer.in_features} inputs of {path}"
            )
        if layer.in_features % words or layer.out_features % words:
            raise ValueError(
                f"{path} is {layer.in_features} by {layer.out_features}; words of {words} codes "
                "do not fill it"
            )


def _tables(model):
    """{path: module} of embeddings over the vocabulary and of heads, which stay in 8 bits."""
    vocabulary, found = getattr(model.config, "vocab_size", None), {}
    for path, module in model.named_modules():
        outside = not any(part.isdigit() for part in path.split("."))  # of the numbered layers
        if type(module) is nn.Embedding and module.num_embeddings == vocabulary:
            found[path] = module
        elif type(module) is nn.Linear and outside:
            if module.out_features == vocabulary or "." not in path:
                found[path] = module
    return found


def _blocks(layers):
    """Lists of paths that are quantized together: a numbered layer of the model, or one alone."""
    blocks = {}
    for path in layers:
        parts = path.split(".")
        numbers = [i for i, part in enumerate(parts) if part.isdigit()]
        blocks.setdefault(tuple(parts[: numbers[0] + 1]) if numbers else path, []).append(path)
    return blocks.values()


def _quantize_tables(model, tables):
    """Replace tables and heads that have their numbers; tied ones share one table."""
    made = {}
    for path, module in tables.items():
        weight, tied = module.weight, id(module.weight) in made
        if not tied:
            made[id(weight)] = Int8Table.from_dense(weight.data)
        _replace_table(model, path, module, made[id(weight)], tied)


def _replace_table(model, path, module, table, tied):
    if isinstance(module, nn.Embedding):
        model.set_submodule(path, QuantizedEmbedding(table))
    else:
        model.set_submodule(path, QuantizedLinear(table, module.bias, tied))


def nbytes(model):
    """Bytes of a model's weights in memory, packed ones as they are; what is shared counts once."""
    weights = {id(p): p.data.nbytes for p in model.parameters()}
    for module in model.modules():
        packed = getattr(module, "weight", None)
        if packed is not None and not isinstance(packed, nn.Parameter):
            weights[id(packed)] = packed.nbytes
    return sum(weights.values())


def packed_shape(model, make=nn.no_memory):
    """Give a model without weights the packed layers that its `quantization_config` tells of.

    make: function (shape, dtype) that gives their arrays; by default these have no values either.
    In place; returns the model.
    """
    settings = model.config.extra["quantization_config"]
    bits, size, tables = settings.get("bits"), settings.get("group_size"), _tables(model)
    check_bits(bits)
    for path, layer in list(model.named_modules()):
        if type(layer) is nn.Linear and path not in tables:
            group = layer.in_features if size == -1 else size  # -1: one group
            _check_groups({path: layer}, bits, group)
            shape = layer.out_features, layer.in_features
            matrix = GroupedMatrix.of_shape(shape, bits, group, make)
            model.set_submodule(path, QuantizedLinear(matrix, layer.bias))
    made = {}
    for path, module in tables.items():
        weight, tied = module.weight, id(module.weight) in made
        if settings.get("embedding_bits") == 8 or weight.size >= LARGE:
            if not tied:
                rows = make(weight.shape[:1], np.float32)
                made[id(weight)] = Int8Table(make(weight.shape, np.int8), rows)
            _replace_table(model, path, module, made[id(weight)], tied)
    return model


# ---------------------------------------------------------------------------------------------
# From a folder
# ---------------------------------------------------------------------------------------------


def load_gptq(model, path, entries, settings):
    """Replace an empty model's layers by the packed ones of a folder, read a layer at a time.

    entries: {name: safetensors.Entry} of the folder; settings: its `quantization_config`. Returns
    the entries that are still to be read. Raises ValueError for settings that are not supported and
    for arrays that are missing or misshapen, by name.
    """
    bits, v2 = settings.get("bits"), settings.get("checkpoint_format") == "gptq_v2"
    try:
        check_bits(bits)
    except ValueError as error:
        raise ValueError(f"{path}: quantization_config: {error}") from None
    entries = dict(entries)
    packed = [name.removesuffix(".qweight") for name in entries if name.endswith(".qweight")]
    own = dict(model.named_modules())
    for name in packed:
        if type(own.get(name)) is not nn.Linear:
            raise ValueError(f"{path}: {name}.qweight is unexpected")
        parts = {part: entries.pop(f"{name}.{part}", None) for part in PARTS}
        _check_parts(path, name, own[name], parts, bits)
        arrays = {part: _read(entry) for part, entry in parts.items() if entry is not None}
        zeros = unpack(np.ascontiguousarray(arrays["qzeros"].T), bits).T.astype(np.uint16)
        try:
            matrix = GroupedMatrix.from_codes(
                unpack(arrays["qweight"], bits),
                arrays["scales"],
                zeros if v2 else zeros + 1,
                bits,
                arrays.get("g_idx"),
            )
        except ValueError as error:
            raise ValueError(f"{path}: {name}: {error}") from None
        model.set_submodule(name, QuantizedLinear(matrix, own[name].bias))
    _load_tables(model, entries, settings)
    return entries


def _check_parts(path, name, layer, parts, bits):
    for part in PARTS[:3]:  # without g_idx, groups are one after another
        if parts[part] is None:
            raise ValueError(f"{path}: {name}.{part} is missing")
    words, groups = 32 // bits, parts["scales"].shape[:1]
    expected = {
        "qweight": (layer.in_features // words, layer.out_features),
        "qzeros": (*groups, layer.out_features // words),
        "scales": (*groups, layer.out_features),
        "g_idx": (layer.in_features,),
    }
    for part, shape in expected.items():
        entry = parts[part]
        if entry is not None and entry.shape != shape:
            raise ValueError(f"{path}: {name}.{part} has shape {entry.shape}, expected {shape}")
        kinds = safetensors.FLOATS if part == "scales" else ("I32",)
        if entry is not None and entry.dtype not in kinds:
            raise ValueError(f"{path}: {name}.{part} has dtype {entry.dtype}, expected {kinds[0]}")


def _read(entry):
    kind = np.float32 if entry.dtype in safetensors.FLOATS else safetensors.DTYPES[entry.dtype]
    array = np.empty(entry.shape, kind)
    safetensors.read_into([(entry, array)])
    return array


def _load_tables(model, entries, settings):
    """Tables and heads that are to be int8: read and rounded a few rows at a time."""
    made = {}
    for path, module in _tables(model).items():
        name, weight = f"{path}.weight", module.weight
        if settings.get("embedding_bits") != 8 and weight.size < LARGE:
            continue
        tied = id(weight) in made
        entry = entries.pop(name, None)
        if not tied:
            if entry is None or entry.shape != weight.shape:
                if entry is not None:
                    entries[name] = entry
                continue  # what is missing or misshapen is told by name with all the others
            made[id(weight)] = _int8_rows(entry)
        _replace_table(model, path, module, made[id(weight)], tied)


def _int8_rows(entry):
    """An Int8Table of a stored matrix."""
    rows, width = entry.shape
    table = Int8Table(np.empty(entry.shape, np.int8), np.empty(rows, np.float32))
    step = max(1, safetensors.PIECE // width)
    for start in range(0, rows, step):
        piece = slice(start, min(start + step, rows))
        table.fill(piece, _read(entry.rows(piece.start, piece.stop)))
    return table


quantizers["gptq"] = load_gptq
