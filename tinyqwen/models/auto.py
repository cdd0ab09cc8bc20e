"""Shim, to be replaced by the models' own room."""

from tinyqwen.models import qwen2
from tinyqwen.models.qwen2 import Qwen2Config
from tinyqwen.storage.checkpoint import read_config

MODELS = {"qwen2": qwen2}


def config_class(model_type):
    return Qwen2Config


class AutoConfig:
    @staticmethod
    def from_pretrained(path):
        config = read_config(path, Qwen2Config)
        config.model_type = "qwen2"
        return config


class AutoModel:
    endings = ("Model",)

    @classmethod
    def model_class(cls, config):
        for ending in cls.endings:
            if hasattr(qwen2, "Qwen2" + ending):
                return getattr(qwen2, "Qwen2" + ending)
        raise ValueError(f"{cls.__name__}: qwen2 has no such model")

    @classmethod
    def from_config(cls, config):
        return cls.model_class(config)(config)

    @classmethod
    def from_pretrained(cls, path):
        return cls.model_class(None).from_pretrained(path)


class AutoModelForCausalLM(AutoModel):
    endings = ("ForCausalLM", "LMHeadModel")


class AutoModelForSeq2SeqLM(AutoModel):
    endings = ("MTModel",)


class AutoModelForSequenceClassification(AutoModel):
    endings = ("ForSequenceClassification",)
