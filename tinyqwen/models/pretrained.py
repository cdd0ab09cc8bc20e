"""Models with a config, from and to Hugging Face folders, and what they return.

Nothing here knows of a particular model: names and shapes are the module tree's.
"""

import re
import warnings
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from tinyqwen import nn
from tinyqwen.autograd.grad_mode import is_grad_enabled
from tinyqwen.autograd.recomputation import checkpoint
from tinyqwen.autograd.refusals import some
from tinyqwen.autograd.tensor import Tensor
from tinyqwen.functional.memory_layout import laid_in_a_row
from tinyqwen.models.cache import KVCache
from tinyqwen.parallel.resources import keep_memory
from tinyqwen.storage import safetensors
from tinyqwen.storage.checkpoint import (
    CONFIG,
    GENERATION_CONFIG,
    find_weights,
    read_config,
    read_size,
    write_weights,
)
from tinyqwen.storage.files import file_in, make_folder, read_json, write_json

# quant_method of a config's quantization_config -> function (model, path, entries, settings) that
# replaces an empty model's layers by those of the folder, and returns the entries still to be read.
quantizers = {}
CAUSES = {  # what all names of a checkpoint that does not fit may begin with
    "module.": "saved from inside DataParallel; save the model within",
    "_orig_mod.": "saved from a compiled model; save the model within",
    "base_model.model.": "of an adapter; open it with PeftModel, or merge it first",
}
PACKED = {  # what some names of a checkpoint in few bits end with
    ".qweight": "of a quantized model, whose config.json must have a quantization_config",
    ".absmax": "of a model quantized by bitsandbytes, which is not supported",
}
BAR_BYTES = 1 << 28  # weights that take long enough to read for a progress bar


@dataclass
class ModelOutput:
    """What a model returns; what it does not have, or was not asked for, is None.

    loss, a scalar, if labels were given; logits (B, T, V) or (B, T, labels) or (B, labels);
    last_hidden_state (B, T, C), of a body alone; past_key_values, the cache; hidden_states, the
    embeddings, then the output of each layer (of the last one after the final norm, where there is
    one), (B, T, C) each; attentions, (B, H, T, S) of each layer.

    BERT: pooler_output (B, C), prediction_logits (B, T, V), seq_relationship_logits (B, 2).
    An encoder and decoder: encoder_last_hidden_state (B, S, C), cross_attentions (B, H, T, S), and
    hidden states and attentions of each, as above.
    A mixture of experts: router_logits (B·T, experts) of each layer, aux_loss, a scalar.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    last_hidden_state: Tensor | None = None
    past_key_values: KVCache | None = None
    hidden_states: tuple | None = None
    attentions: tuple | None = None
    pooler_output: Tensor | None = None
    prediction_logits: Tensor | None = None
    seq_relationship_logits: Tensor | None = None
    encoder_last_hidden_state: Tensor | None = None
    encoder_hidden_states: tuple | None = None
    encoder_attentions: tuple | None = None
    decoder_hidden_states: tuple | None = None
    decoder_attentions: tuple | None = None
    cross_attentions: tuple | None = None
    router_logits: tuple | None = None
    aux_loss: Tensor | None = None


class PreTrainedModel(nn.Module):
    """A model with a config that is loaded from and saved to a Hugging Face folder.

    A family sets `config_class`, and `base_model_prefix`: the attribute in which a model with a
    head has its body; the body itself has no such attribute. Both are built from a config alone.
    """

    config_class = None
    base_model_prefix = "model"
    ignored_weights = r"rotary_emb\.inv_freq$"  # tables that old checkpoints stored
    computed_weights = "$^"  # names of arrays that need not be stored: `post_init` makes them
    fresh_head = False  # True for a head that a pretrained checkpoint need not have
    head_weights = None  # what else it need not have, or may have in vain: a pattern of names
    old_spellings: ClassVar[dict[str, str]] = {}  # {end of a name in old checkpoints: today's}
    generation_config = None
    gradient_checkpointing = False  # of a body: its layers are computed again, not kept

    @property
    def base_model(self):
        """The body, which is this model itself if it has no head."""
        return getattr(self, self.base_model_prefix, self)

    def post_init(self):
        """Linear and embedding weights normal(0, initializer_range), biases 0, norms 1."""
        keep_memory()  # a loop of your own then runs as fast as the commands do
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.normal_(module.weight, self.config.initializer_range)
                if module.bias is not None and nn.has_memory(module.bias):
                    module.bias.data[...] = 0
            elif isinstance(module, nn.Embedding):
                module.init_(self.config.initializer_range)

    def gradient_checkpointing_enable(self, enabled=True):
        """Keep only each layer's input and compute the layer again in the backward pass."""
        for module in self.modules():
            if isinstance(module, PreTrainedModel):
                module.gradient_checkpointing = enabled

    def run_layers(self, layers, x, *inputs, output_hidden_states, output_attentions, **more):
        """x (B, T, C) through layers, each (x, *inputs, output_attentions, **more) -> (x, weights).

        Returns what the last one gives, what goes into each (an empty list unless
        output_hidden_states), and the weights of each. With gradient checkpointing the layers are
        recomputed, where nothing but x comes out of them: no cache is filled, no weights wanted.
        """
        states, attentions = [], []
        alone = not (output_attentions or more or any(isinstance(one, KVCache) for one in inputs))
        recompute = self.gradient_checkpointing and is_grad_enabled() and alone
        for layer in layers:
            if output_hidden_states:
                states.append(x)
            layer = recomputed(layer) if recompute else layer
            x, weights = layer(x, *inputs, output_attentions, **more)
            attentions.append(weights)
        return x, states, attentions

    def num_active_parameters(self):
        """How many numbers one token meets: all, but of a mixture's experts only those it goes to.

        A module of which a token uses a part says so in `active_share`.
        """
        idle = (
            parameter.size * (1 - module.active_share)
            for module in self.modules()
            if hasattr(module, "active_share")
            for parameter in module.parameters()
        )
        return self.num_parameters() - round(sum(idle))

    def pieces(self, name, parameter):
        """{name in a file: place in the parameter} of the arrays that a file holds it as."""
        return {name: ...}

    @classmethod
    def from_pretrained(cls, path, dtype=np.float32, **changes):
        """Load a folder's weights, whatever floating-point type they are stored in, as `dtype`.

        A body loads from a checkpoint with a head, and a model with a head from one without it if
        the head is a classifier, to be trained. The model is in evaluation mode.
        changes: settings of its config, in place of the folder's, as num_labels=5.

        Warns (UserWarning) of arrays that are not used, of heads that are new and random, of NaN
        and infinity in the weights (they load: one may want to look at them), and of tied weights
        that are stored twice and differ (they are untied then, as transformers does).

        Raises FileNotFoundError, or ValueError, in one line: a config of another architecture or of
        a model that cannot be; arrays missing, unexpected or misshapen, all listed by name; files
        damaged or cut off; links and shard names that lead out of the folder; weights only as
        pickles.
        """
        if dtype not in (np.float32, np.float64, float, "float32", "float64"):
            raise ValueError(f"dtype must be float32 or float64, not {dtype}")
        path, dtype = Path(path), np.dtype(dtype)
        config = replace(read_config(path, cls.config_class), **changes)
        entries = find_weights(path)
        with nn.empty_parameters():
            model = cls(config)
        entries = _read_packed(model, path, _fit_prefix(model, path, entries))
        jobs = _match(model, path, entries, dtype)
        parameters = list({id(parameter): parameter for parameter, _, _ in jobs}.values())
        arrays = laid_in_a_row([parameter.shape for parameter in parameters], dtype)
        for parameter, array in zip(parameters, arrays):
            parameter.data = array
        _read(path, jobs)
        model.generation_config = {}
        if (path / GENERATION_CONFIG).exists():
            model.generation_config = read_json(file_in(path, GENERATION_CONFIG))
        return model.eval()

    def save_pretrained(self, path, max_shard_size="5GB"):
        """Write a folder that `from_pretrained`, and transformers', open.

        path: made if it is not there. max_shard_size: bytes, or a string like "200MB"; larger
        models are written in shards, with an index. Tied weights are written once.

        A crash leaves the old weights or the new ones, also when they are in shards. Raises OSError
        that names the file if it cannot be written, ValueError for a model without weights.
        """
        path, limit = Path(path), read_size(max_shard_size)
        arrays = {
            piece: parameter.data[place]
            for name, parameter in self.named_parameters()
            for piece, place in self.pieces(name, parameter).items()
        }
        for name, parameter in self.named_parameters():
            if not nn.has_memory(parameter):
                raise ValueError(f"{name} has a shape but no values; there is nothing to save")
        for name, module in self.named_modules():
            for part, array in getattr(module, "packed_arrays", dict)().items():
                arrays[f"{name}.{part}"] = array
        make_folder(path)
        config = self.config.to_dict()
        config.pop("torch_dtype", None)  # the old name of dtype, perhaps with another value
        dtype = next(iter(arrays.values())).dtype.name
        config.update(architectures=[type(self).__name__], dtype=dtype)
        write_json(path / CONFIG, config)
        if self.generation_config:
            write_json(path / GENERATION_CONFIG, self.generation_config)
        else:
            (path / GENERATION_CONFIG).unlink(missing_ok=True)  # that of a model saved here before
        write_weights(path, arrays, limit)


def recomputed(layer):
    """A layer whose inside is not kept for the backward pass, but computed once more.

    It gives its first output alone, as (x, None): what else it computes would have no gradient.
    """

    def call(*inputs):
        places = [i for i, x in enumerate(inputs) if isinstance(x, Tensor)]

        def inner(*tensors):
            tensors = dict(zip(places, tensors))
            return layer(*(tensors.get(i, x) for i, x in enumerate(inputs)))[0]

        parameters = list(layer.parameters())
        return checkpoint(inner, *(inputs[i] for i in places), parameters=parameters), None

    return call


def _fit_prefix(model, path, entries):
    """Rename a checkpoint's arrays if it has a head and the model has none, or the reverse."""
    ignored, prefix = re.compile(model.ignored_weights), model.base_model_prefix + "."
    entries = {name: entry for name, entry in entries.items() if not ignored.search(name)}
    for old, new in model.old_spellings.items():
        entries = {
            name.removesuffix(old) + new if name.endswith(old) else name: entry
            for name, entry in entries.items()
        }
    stored_body = {name for name in entries if name.startswith(prefix)}
    if model.base_model is model and stored_body:
        _warn_unused(model, path, [name for name in entries if name not in stored_body])
        return {name.removeprefix(prefix): entries[name] for name in entries if name in stored_body}
    if model.base_model is not model and not stored_body:
        own = set(model.state_dict())
        return {name if name in own else prefix + name: entry for name, entry in entries.items()}
    return entries


def _read_packed(model, path, entries):
    """Read what the config's `quantization_config` says is packed; the entries that are not."""
    settings = model.config.extra.get("quantization_config")
    if settings is None:
        return entries
    method = settings.get("quant_method") if isinstance(settings, dict) else settings
    if method not in quantizers:
        known = " or ".join(map(repr, quantizers))
        raise ValueError(f"{path}: quant_method {method!r:.100} is not supported; expected {known}")
    return quantizers[method](model, path, entries, settings)


def _warn_unused(model, path, names):
    if names:
        warnings.warn(f"{path}: not used by {type(model).__name__}: {some(names)}", stacklevel=4)


def _match(model, path, entries, dtype):
    """(parameter, place in it, entry) triples; all that does not match is told at once."""
    names = {}  # parameter id -> its names, several if it is tied
    own = dict(model.named_parameters(remove_duplicate=False))
    for name, parameter in own.items():
        names.setdefault(id(parameter), []).append(name)
    pieces = {n: {n: ...} if n in entries else model.pieces(n, p) for n, p in own.items()}

    known = {piece for places in pieces.values() for piece in places}
    unexpected = [name for name in entries if name not in known]
    head = [name for name in unexpected if _may_be_absent(model, name)]
    _warn_unused(model, path, head)
    unexpected = [name for name in unexpected if name not in head]
    problems = [f"{entries[name].name} is unexpected" for name in unexpected]  # as in the file

    jobs, new, computed = [], [], []
    for group in names.values():
        stored = [name for name in group if any(piece in entries for piece in pieces[name])]
        if not stored and re.search(model.computed_weights, group[0]):
            computed.append(group[0])
            continue
        if not stored and _may_be_absent(model, group[0]):
            new.append(group[0])
            continue
        for name in stored or group[:1]:
            for piece, place in pieces[name].items():
                problems += _misfit(piece, entries.get(piece), own[name].data[place].shape)
        if problems or not stored:
            continue
        first, *others = stored
        jobs += [(own[first], place, entries[piece]) for piece, place in pieces[first].items()]
        for name in others:
            if not safetensors.same_bytes(entries[name], entries[first]):
                jobs.append((_untie(model, path, name, first), ..., entries[name]))
    if problems:
        raise ValueError(
            f"{path}: does not fit {type(model).__name__}: {some(problems, '; ')}"
            f"{_likely_cause(model, entries)}"
        )
    if new:
        warnings.warn(f"{path}: new and random, to be trained: {some(new)}", stacklevel=3)
    if new or computed:
        for name in [*new, *computed]:
            own[name].data = np.zeros(own[name].shape, dtype)
        model.post_init()  # initializes what has memory, and that is only these
    return jobs


def _likely_cause(model, entries):
    """What a checkpoint with such names probably is, as the end of a sentence; "" if unknown."""
    for prefix, cause in CAUSES.items():
        if entries and all(entry.name.startswith(prefix) for entry in entries.values()):
            return f" (all names begin with {prefix!r}: {cause})"
    for ending, cause in PACKED.items():
        if any(name.endswith(ending) for name in entries):
            return f" (some names end with {ending!r}: {cause})"
    named = model.config.extra.get("architectures")
    if isinstance(named, list) and named and type(model).__name__ not in named:
        return f" (config.json says that it is a {named[0]!s:.100})"
    return ""


def _misfit(name, entry, shape):
    """What is wrong with an array of a file, in a list of at most one sentence."""
    if entry is None:
        return [f"{name} is missing"]
    if entry.shape != shape:
        return [f"{name} has shape {entry.shape}, expected {shape}"]
    if entry.dtype not in safetensors.FLOATS:
        return [f"{name} has dtype {entry.dtype}, expected a floating-point type"]
    return []


def _may_be_absent(model, name):
    """Whether an array belongs to a head that not every checkpoint of the family has."""
    if model.head_weights is not None and re.search(model.head_weights, name):
        return True
    return model.fresh_head and not name.startswith(f"{model.base_model_prefix}.")


def _untie(model, path, name, other):
    warnings.warn(
        f"{path}: {name} and {other} are tied by the config, but stored with different values; "
        "they are loaded as two",
        stacklevel=4,
    )
    *parents, attribute = name.split(".")
    module = model
    for parent in parents:
        module = dict(module.named_children())[parent]
    with nn.empty_parameters():
        parameter = nn.Parameter(getattr(module, attribute).data)
    setattr(module, attribute, parameter)
    model.config.tie_word_embeddings = False
    return parameter


def _read(path, jobs):
    total = sum(entry.nbytes for _, _, entry in jobs)
    bar = nullcontext()
    if total >= BAR_BYTES:
        from tqdm import tqdm  # a third of the time of `import tinyqwen`, for large models alone

        bar = tqdm(total=total, unit="B", unit_scale=True, desc="loading", disable=None)
    with bar as shown:
        bad = safetensors.read_into(
            [(entry, parameter.data[place]) for parameter, place, entry in jobs],
            shown and shown.update,
        )
    if bad:
        warnings.warn(f"{path}: NaN or infinity in {some(sorted(bad))}", stacklevel=3)
