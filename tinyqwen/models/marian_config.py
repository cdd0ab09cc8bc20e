"""MarianConfig: the hyperparameters of an encoder and a decoder."""

from dataclasses import dataclass
from typing import ClassVar

from tinyqwen.models.activations import ACTIVATIONS
from tinyqwen.models.config import Number, PretrainedConfig, Share, Size


@dataclass(kw_only=True)
class MarianConfig(PretrainedConfig):
    """Marian's hyperparameters; Hugging Face's names in files, and here those that models share.

    num_hidden_layers, num_attention_heads and intermediate_size are the encoder's; the decoder is
    like it where its own are not given.
    """

    model_type = "marian"
    spellings: ClassVar = {
        "d_model": "hidden_size",
        "encoder_layers": "num_hidden_layers",
        "encoder_attention_heads": "num_attention_heads",
        "encoder_ffn_dim": "intermediate_size",
        "init_std": "initializer_range",
    }
    small: ClassVar = {
        **{"activation_function": "relu", "scale_embedding": True},  # as in the paper
        **{"forced_eos_token_id": None, "max_position_embeddings": 512},
    }

    vocab_size: Size = 58101
    decoder_vocab_size: Size | None = None
    hidden_size: Size = 1024
    num_hidden_layers: Size = 12
    num_attention_heads: Size = 16
    intermediate_size: Size = 4096
    decoder_layers: Size | None = None
    decoder_attention_heads: Size | None = None
    decoder_ffn_dim: Size | None = None
    max_position_embeddings: Size = 1024
    activation_function: str = "gelu"
    scale_embedding: bool = False
    dropout: Share = 0.1
    attention_dropout: Share = 0.0
    activation_dropout: Share = 0.0
    encoder_layerdrop: Share = 0.0
    decoder_layerdrop: Share = 0.0
    initializer_range: Number = 0.02
    share_encoder_decoder_embeddings: bool = True
    tie_word_embeddings: bool = True
    is_encoder_decoder: bool = True
    decoder_start_token_id: int = 58100
    pad_token_id: int | None = 58100
    eos_token_id: int | list[int] | None = 0
    forced_eos_token_id: int | list[int] | None = 0

    def __post_init__(self):
        super().__post_init__()
        for own, encoders in (
            *(("decoder_vocab_size", "vocab_size"), ("decoder_layers", "num_hidden_layers")),
            ("decoder_attention_heads", "num_attention_heads"),
            ("decoder_ffn_dim", "intermediate_size"),
        ):
            if getattr(self, own) is None:
                setattr(self, own, getattr(self, encoders))
        for heads in ("num_attention_heads", "decoder_attention_heads"):
            if self.hidden_size % getattr(self, heads):
                raise ValueError(
                    f"d_model {self.hidden_size} is not divisible by {heads} {getattr(self, heads)}"
                )
        if self.activation_function not in ACTIVATIONS:
            raise ValueError(
                f"activation_function {self.activation_function!r} is not supported; expected one "
                f"of {', '.join(ACTIVATIONS)}"
            )
        self.expect(encoder_layerdrop=0, decoder_layerdrop=0, is_encoder_decoder=True)
        if self.share_encoder_decoder_embeddings and self.decoder_vocab_size != self.vocab_size:
            raise ValueError(
                f"one table for both texts (share_encoder_decoder_embeddings), but vocab_size is "
                f"{self.vocab_size} and decoder_vocab_size {self.decoder_vocab_size}"
            )
        start, size = self.decoder_start_token_id, self.decoder_vocab_size
        if not isinstance(start, int) or not 0 <= start < size:
            raise ValueError(f"decoder_start_token_id {start!r} is not in the vocabulary of {size}")
