"""A frozen base model with LoRA adapters, of which one at a time is active: PEFT's `PeftModel`."""

import re
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tinyqwen import nn
from tinyqwen.autograd.refusals import some
from tinyqwen.storage import safetensors
from tinyqwen.storage.files import file_in, make_folder
from tinyqwen.tuning.lora import LoraConfig, LoraLinear, find_targets, matches

WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."  # of a path in the base, in PEFT's files


def get_peft_model(model, config, adapter_name="default"):
    """Freeze a model and put a new adapter beside its layers, in place; returns a `PeftModel`."""
    peft_model = PeftModel(model)
    peft_model.add_adapter(adapter_name, config)
    peft_model.set_adapter(adapter_name)
    return peft_model


class LoraModel(nn.Module):
    """Holds the base model under the name that PEFT gives it."""

    def __init__(self, model):
        self.model = model


class PeftModel(nn.Module):
    """A frozen base model with adapters; it is called, and generates, as the base does.

    Attributes: peft_config, {name: LoraConfig}; active_adapter, a name or None. What is not found
    here is looked up in the base model.
    """

    def __init__(self, model):
        self.base_model = LoraModel(model.requires_grad_(False))
        self.peft_config, self.active_adapter = {}, None
        self.training = model.training

    def __getattr__(self, name):
        if name.startswith("__") or "base_model" not in vars(self):
            raise AttributeError(name)
        return getattr(self.get_base_model(), name)

    def get_base_model(self):
        """The model inside, with the adapters beside its layers."""
        return self.base_model.model

    def forward(self, *args, **kwargs):
        return self.get_base_model()(*args, **kwargs)

    @classmethod
    def from_pretrained(cls, model, folder, adapter_name="default", is_trainable=False):
        """Put the adapter in `folder` beside the model's layers, in place.

        Raises FileNotFoundError, or ValueError in one line; the model is then unchanged: no
        adapter, one of another kind, or one for another base, whose names and shapes are told.
        """
        adapter = _read_adapter(model, folder)
        peft_model = cls(model)
        peft_model._take(adapter_name, *adapter)
        peft_model.set_adapter(adapter_name, is_trainable)
        return peft_model.train(is_trainable)

    def load_adapter(self, folder, adapter_name, is_trainable=False):
        """Read one more adapter; `set_adapter` activates it."""
        self._refuse_name(adapter_name)
        self._take(adapter_name, *_read_adapter(self.get_base_model(), folder))
        self._set_trainable(adapter_name, is_trainable)

    def _take(self, name, config, arrays):
        self.add_adapter(name, config)
        for path, parameter in self._adapter_parameters(name):
            parameter.data[...] = arrays[path]

    def add_adapter(self, adapter_name, config):
        """One more adapter, a new one; `set_adapter` activates it."""
        self._refuse_name(adapter_name)
        model = self.get_base_model()
        for other, its in self.peft_config.items():
            if config.modules_to_save or its.modules_to_save:
                raise ValueError(
                    f"modules_to_save: adapter {other!r} is there already, and a model has room "
                    "for one set of them; use one adapter, or none with modules_to_save"
                )
        dtype = next(model.parameters()).dtype
        for path, layer in find_targets(model, config).items():
            if not isinstance(layer, LoraLinear):
                layer = LoraLinear(layer)
                layer.training = self.training
                model.set_submodule(path, layer)
            layer.add(adapter_name, config, dtype)
        self.peft_config[adapter_name] = config
        self._set_trainable(adapter_name, False)

    def _refuse_name(self, name):
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][\w-]*", name):
            raise ValueError(f"{name!r} is no name for an adapter; use letters, digits, - and _")
        if name in self.peft_config or hasattr(nn.ModuleDict, name):
            raise ValueError(f"adapter_name {name!r} is taken; choose another")

    def set_adapter(self, adapter_name, is_trainable=True):
        """Make one adapter the active one, and the only one that is trained."""
        if adapter_name not in self.peft_config:
            names = ", ".join(map(repr, self.peft_config))
            raise ValueError(f"there is no adapter {adapter_name!r}; expected one of {names}")
        self.active_adapter = adapter_name
        self._activate(adapter_name)
        self.requires_grad_(False)
        self._set_trainable(adapter_name, is_trainable)

    def _activate(self, name):
        for _, layer in self._adapted():
            layer.active = name

    def _set_trainable(self, name, is_trainable):
        for _, parameter in self._adapter_parameters(name):
            parameter.requires_grad = is_trainable

    def _adapter_parameters(self, name):
        """(path, parameter) of one adapter, with the paths of PEFT's files."""
        config, model = self.peft_config[name], self.get_base_model()
        for path, module in model.named_modules():
            if isinstance(module, LoraLinear) and name in module.lora_A:
                yield f"{PREFIX}{path}.lora_A.weight", module.lora_A[name].weight
                yield f"{PREFIX}{path}.lora_B.weight", module.lora_B[name].weight
            if matches(path, config.modules_to_save):
                for inner, parameter in module.named_parameters():
                    yield f"{PREFIX}{path}.{inner}", parameter

    @contextmanager
    def disable_adapter(self):
        """Inside, the model computes what its base does."""
        if any(config.modules_to_save for config in self.peft_config.values()):
            raise ValueError("modules_to_save are part of the base now; there is no way back")
        self._activate(None)
        try:
            yield
        finally:
            self._activate(self.active_adapter)

    def save_pretrained(self, folder):
        """Write adapter_config.json and adapter_model.safetensors.

        The adapter "default" goes to the folder itself, others to folders of their names inside.
        """
        for name, config in self.peft_config.items():
            path = Path(folder) if name == "default" else Path(folder) / name
            make_folder(path)
            arrays = {key: p.data for key, p in self._adapter_parameters(name)}
            config.save_pretrained(path)
            safetensors.save(path / WEIGHTS, arrays, {"format": "pt"})

    def merge_and_unload(self):
        """Add the active adapter to the base's weights; returns the base, plain again.

        Raises ValueError, before anything is changed, for a layer whose weight is packed, or is
        another layer's too.
        """
        model = self.get_base_model()
        uses = [id(p) for _, p in model.named_parameters(remove_duplicate=False)]
        for path, layer in self._adapted():
            weight = getattr(layer.base_layer, "weight", None)
            if not isinstance(weight, nn.Parameter):
                raise ValueError(f"{path} is packed in few bits: an adapter cannot be merged in")
            if uses.count(id(weight)) > 1:
                raise ValueError(f"{path} shares its weight with another layer: merging changes it")
        for _, layer in self._adapted():
            layer.merge()
        return self.unload()

    def save_merged(self, folder):
        """Write the base with the active adapter merged in; the model stays as it is, bit for bit.

        A base in few bits is written in float32, for what is merged is no longer of so few numbers.
        Besides, the adapters alone go to the folder "adapter" inside.
        """
        model = self.get_base_model()
        layers = {path: layer.merged() for path, layer in self._adapted()}
        for path, module in model.named_modules():
            if hasattr(module, "plain") and path.removesuffix(".base_layer") not in layers:
                layers[path] = module.plain()
        before = {path: model.get_submodule(path) for path in layers}
        settings = model.config.extra.pop("quantization_config", None)
        try:
            for path, layer in layers.items():
                model.set_submodule(path, layer)
            if settings and hasattr(model, "tie_weights"):
                model.tie_weights()
            model.save_pretrained(folder)
        finally:
            for path, layer in before.items():
                model.set_submodule(path, layer)
            if settings:
                model.config.extra["quantization_config"] = settings
        self.save_pretrained(Path(folder) / "adapter")

    def unload(self):
        """The base model, plain again, without the adapters."""
        for path, layer in self._adapted():
            self.get_base_model().set_submodule(path, layer.base_layer)
        return self.get_base_model()

    def _adapted(self):
        modules = self.get_base_model().named_modules()
        return [(path, module) for path, module in modules if isinstance(module, LoraLinear)]

    def num_trainable_parameters(self):
        """(numbers that are trained, numbers in all)."""
        sizes = [(p.size, p.requires_grad) for p in self.parameters()]
        return sum(n for n, trained in sizes if trained), sum(n for n, _ in sizes)


def _read_adapter(model, folder):
    """(LoraConfig, {name: array}) of a folder whose adapter fits the model."""
    config = LoraConfig.from_pretrained(folder)
    entries = safetensors.read_header(file_in(folder, WEIGHTS))[0]
    expected = {}
    try:
        for path, layer in find_targets(model, config).items():
            expected[f"{PREFIX}{path}.lora_A.weight"] = (config.r, layer.in_features)
            expected[f"{PREFIX}{path}.lora_B.weight"] = (layer.out_features, config.r)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    for path, module in model.named_modules():
        if matches(path, config.modules_to_save):
            for name, parameter in module.named_parameters():
                expected[f"{PREFIX}{path}.{name}"] = parameter.shape
    problems = [f"{name} is missing" for name in expected if name not in entries]
    problems += [f"{name} is unexpected" for name in entries if name not in expected]
    problems += [
        f"{name} has shape {entries[name].shape}, expected {shape}"
        for name, shape in expected.items()
        if name in entries and entries[name].shape != shape
    ]
    problems += [
        f"{name} has dtype {entry.dtype}, expected a floating-point type"
        for name, entry in entries.items()
        if entry.dtype not in safetensors.FLOATS
    ]
    if problems:
        raise ValueError(
            f"{folder}: an adapter of rank {config.r} for another base than this "
            f"{type(model).__name__}: {some(problems, '; ', 3)}"
        )
    arrays = {name: np.empty(shape, np.float32) for name, shape in expected.items()}
    safetensors.read_into([(entries[name], array) for name, array in arrays.items()])
    return config, arrays
