"""How a model writes: the loop, and how each token is chosen.

To import this wing gives every model its method `generate`; `import tinyqwen` does.
"""

from tinyqwen.generation.generate import generate as _generate
from tinyqwen.generation.loop import decode_loop
from tinyqwen.generation.prompts import pad_left
from tinyqwen.generation.settings import GenerationConfig
from tinyqwen.generation.streaming import TextStreamer
from tinyqwen.models.pretrained import PreTrainedModel

__all__ = ["GenerationConfig", "TextStreamer", "decode_loop", "pad_left"]

PreTrainedModel.generate = _generate
