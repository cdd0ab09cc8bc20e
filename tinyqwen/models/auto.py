"""Which model a folder holds: the family by config.json's model_type, the head by architectures.

A family is a line in MODELS: a room whose classes have transformers' names, which all begin alike:
Qwen2Config, Qwen2Model, Qwen2ForCausalLM. What it has no class for, it cannot do.
"""

from collections.abc import Mapping
from importlib import import_module

from tinyqwen import nn
from tinyqwen.storage.checkpoint import read_config


class _Families(Mapping):
    """{model_type: its room}, opened when it is first asked for: most programs need one of them."""

    def __init__(self, *model_types):
        self._model_types = model_types

    def __getitem__(self, model_type):
        if model_type not in self._model_types:
            raise KeyError(model_type)
        return import_module(f"tinyqwen.models.{model_type}")

    def __iter__(self):
        return iter(self._model_types)

    def __len__(self):
        return len(self._model_types)


MODELS = _Families(
    "qwen2",
    "llama",
    "qwen3",
    "qwen2_moe",
    "gpt2",
    "bert",
    "marian",
)


class AutoConfig:
    """The config of whatever family a folder is of."""

    @classmethod
    def from_pretrained(cls, path):
        """The config of a folder, or of a config.json itself."""
        return read_config(path, cls)

    @staticmethod
    def from_dict(values):
        """The content of a config.json; ValueError, with those known, for an unknown family."""
        model_type = values.get("model_type")
        if model_type not in MODELS:
            raise ValueError(f"model_type is {model_type!r}; known are {', '.join(MODELS)}")
        return config_class(model_type).from_dict(values)


def config_class(model_type):
    """The class of a family's configs."""
    return next(
        value
        for name, value in vars(MODELS[model_type]).items()
        if name.endswith("Config") and value.model_type == model_type
    )


class AutoModel:
    """The body alone; its subclasses are the kinds of models with a head."""

    endings = ("Model",)  # of the names of such classes

    @classmethod
    def model_class(cls, config):
        """The class of this kind in the config's family; ValueError if there is none."""
        name = type(config).__name__.removesuffix("Config")
        module = MODELS[config.model_type]
        for ending in cls.endings:
            if hasattr(module, name + ending):
                return getattr(module, name + ending)
        raise ValueError(f"{cls.__name__}: {config.model_type} has no such model")

    @classmethod
    def from_config(cls, config):
        """A new model, its weights random."""
        return cls.model_class(config)(config)

    @classmethod
    def from_pretrained(cls, path, **options):
        """A folder's model; options: of PreTrainedModel.from_pretrained."""
        return cls.model_class(AutoConfig.from_pretrained(path)).from_pretrained(path, **options)


class AutoModelForCausalLM(AutoModel):
    """A model that says which token comes next."""

    endings = ("ForCausalLM", "LMHeadModel")


class AutoModelForPreTraining(AutoModel):
    """A reader with all the heads that it learns with."""

    endings = ("ForPreTraining",)


class AutoModelForMaskedLM(AutoModel):
    """A model that says which token stands behind a mask."""

    endings = ("ForMaskedLM",)


class AutoModelForSeq2SeqLM(AutoModel):
    """An encoder and a decoder: one text in, another out."""

    endings = ("MTModel",)


class AutoModelForSequenceClassification(AutoModel):
    """A model that gives a text one of several labels."""

    endings = ("ForSequenceClassification",)


LANGUAGE_MODELS = (AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForMaskedLM)


def architecture(config):
    """The class that the config's `architectures` names; without one, the family's language model.

    Raises ValueError, with the names of those that there are, if it is none of the family's.
    """
    module = MODELS[config.model_type]
    known = {
        name: value
        for name, value in vars(module).items()
        if getattr(value, "config_class", None) is type(config)
        and value.__module__ == module.__name__
        and not name.endswith("PreTrainedModel")
    }
    named = config.extra.get("architectures")
    if not named:
        endings = [ending for kind in LANGUAGE_MODELS for ending in kind.endings]
        return next(known[name] for name in known if name.endswith(tuple(endings)))
    if not isinstance(named, list) or len(named) != 1 or named[0] not in known:
        raise ValueError(
            f"architectures is {named!r}; expected a list of one of {', '.join(known)}"
        )
    return known[named[0]]


def empty(config):
    """The model that a config describes, in shape only: see `nn.empty_parameters`."""
    with nn.empty_parameters():
        return architecture(config)(config)
