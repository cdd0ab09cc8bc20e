"""Shim, to be replaced by the models' own room."""

from tinyqwen.models.qwen2 import Qwen2Config, Qwen2ForCausalLM
from tinyqwen.storage.checkpoint import read_config


class AutoConfig:
    @staticmethod
    def from_pretrained(path):
        return read_config(path, Qwen2Config)

    @staticmethod
    def for_model(model_type, **fields):
        return Qwen2Config(**fields)


class AutoModelForCausalLM:
    @staticmethod
    def from_config(config):
        return Qwen2ForCausalLM(config)

    @staticmethod
    def from_pretrained(path):
        return Qwen2ForCausalLM.from_pretrained(path)
