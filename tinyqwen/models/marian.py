"""Marian: the Transformer of 2017: an encoder reads one text, a decoder writes another.

Vaswani et al. 2017, "Attention is all you need", in the paper's order: the two kinds of layers are
in `marian_layers`; here are embeddings and positions, encoder and decoder, the whole model. The
names are those of Hugging Face's Marian, a C++ program's translation models (Junczys-Dowmunt et al.
2018), which are this Transformer but for two details: the sines of a position stand before its
cosines, not between them, and the logits have a bias of their own.

Shapes: B texts, S tokens of a source, T of a target, C hidden size, H heads, D head size, V
vocabulary. A beam search has K beams for each of B sources: then targets come in B·K rows.
"""

import math

import numpy as np

from tinyqwen import functional as F
from tinyqwen import nn
from tinyqwen.models.cache import KVCache
from tinyqwen.models.heads import shift_tokens_right
from tinyqwen.models.inputs import check_ids, check_labels, check_mask
from tinyqwen.models.marian_config import MarianConfig
from tinyqwen.models.marian_layers import MarianDecoderLayer, MarianEncoderLayer
from tinyqwen.models.pretrained import ModelOutput, PreTrainedModel

# ---------------------------------------------------------------------------------------------
# Embeddings and positions (sections 3.4 and 3.5)
# ---------------------------------------------------------------------------------------------


class MarianSinusoidalPositionalEmbedding(nn.Embedding):
    """The sines of a position, then its cosines: a table that is computed and not trained."""

    def __init__(self, num_positions, embedding_dim):
        super().__init__(num_positions, embedding_dim)
        self.weight.requires_grad = False

    def init_(self, std):
        """Compute the table; nothing in it is random."""
        if nn.has_memory(self.weight):
            pairs = F.sinusoidal_table(np.arange(self.num_embeddings), self.embedding_dim)
            half = self.embedding_dim // 2
            self.weight.data[:, :half] = pairs[:, 0::2]
            self.weight.data[:, half:] = pairs[:, 1::2]

    def forward(self, start, stop):
        """Positions start … stop - 1 -> (stop - start, C)."""
        if stop > self.num_embeddings:
            raise ValueError(
                f"position {stop - 1} is past max_position_embeddings {self.num_embeddings}; "
                "shorten the text"
            )
        return self.weight.data[start:stop]


class MarianPreTrainedModel(PreTrainedModel):
    """What all Marian models share."""

    config_class = MarianConfig
    computed_weights = r"embed_positions\.weight$|final_logits_bias$"  # a file may lack them

    def embed(self, ids, start=0):
        """Tokens and their positions: ids (B, T), the first at position `start` -> (B, T, C)."""
        scale = math.sqrt(self.config.hidden_size) if self.config.scale_embedding else 1.0
        x = self.embed_tokens(ids) * scale + self.embed_positions(start, start + ids.shape[1])
        return F.dropout(x, self.config.dropout, self.training)


# ---------------------------------------------------------------------------------------------
# Encoder, decoder, and both (section 3.1)
# ---------------------------------------------------------------------------------------------


class MarianEncoder(MarianPreTrainedModel):
    """Source ids to hidden states, which see the whole source."""

    def __init__(self, config, embed_tokens):
        self.config, self.embed_tokens = config, embed_tokens
        self.embed_positions = MarianSinusoidalPositionalEmbedding(
            config.max_position_embeddings, config.hidden_size
        )
        self.layers = nn.ModuleList(
            MarianEncoderLayer(config) for _ in range(config.num_hidden_layers)
        )

    def forward(
        self, input_ids, attention_mask=None, output_hidden_states=False, output_attentions=False
    ):
        """input_ids (B, S), attention_mask (B, S), 0 for padding -> ModelOutput, (B, S, C)."""
        input_ids = check_ids(input_ids)
        mask = check_mask(attention_mask, input_ids.shape[1])
        x = self.embed(input_ids)
        x, hidden_states, attentions = self.run_layers(
            *(self.layers, x, mask),
            **{
                "output_hidden_states": output_hidden_states,
                "output_attentions": output_attentions,
            },
        )
        return ModelOutput(
            last_hidden_state=x,
            hidden_states=(*hidden_states, x) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )


class MarianDecoder(MarianPreTrainedModel):
    """Target ids to hidden states, which see the source and the target up to themselves."""

    def __init__(self, config, embed_tokens):
        self.config, self.embed_tokens = config, embed_tokens
        self.embed_positions = MarianSinusoidalPositionalEmbedding(
            config.max_position_embeddings, config.hidden_size
        )
        self.layers = nn.ModuleList(
            MarianDecoderLayer(config, i) for i in range(config.decoder_layers)
        )

    def forward(
        self,
        input_ids,
        attention_mask=None,
        encoder_hidden_states=None,
        encoder_attention_mask=None,
        past_key_values=None,
        output_hidden_states=False,
        output_attentions=False,
    ):
        """input_ids (B, T), encoder_hidden_states (B, S, C) -> ModelOutput.

        attention_mask: (B, T), cached ones included, of the target; encoder_attention_mask: (B, S).
        past_key_values: a KVCache, which is extended; it keeps the source's keys and values too.
        """
        input_ids, source = check_ids(input_ids), encoder_hidden_states
        past = 0 if past_key_values is None else past_key_values.get_seq_length()
        mask = check_mask(attention_mask, past + input_ids.shape[1])
        source_mask = check_mask(encoder_attention_mask, source.shape[1])
        x = self.embed(input_ids, past)
        x, hidden_states, attentions = self.run_layers(
            *(self.layers, x, source, mask, source_mask, past_key_values),
            **{
                "output_hidden_states": output_hidden_states,
                "output_attentions": output_attentions,
            },
        )
        own, cross = zip(*attentions) if output_attentions else (None, None)
        return ModelOutput(
            last_hidden_state=x,
            past_key_values=past_key_values,
            decoder_hidden_states=(*hidden_states, x) if output_hidden_states else None,
            decoder_attentions=own,
            cross_attentions=cross,
        )


class MarianModel(MarianPreTrainedModel):
    """Encoder and decoder, which share one table of tokens."""

    def __init__(self, config):
        self.config = config
        C, pad = config.hidden_size, config.pad_token_id
        if config.share_encoder_decoder_embeddings:
            self.shared = source_table = table = nn.Embedding(config.vocab_size, C, pad)
        else:
            source_table = nn.Embedding(config.vocab_size, C, pad)
            table = nn.Embedding(config.decoder_vocab_size, C, pad)
        self.encoder = MarianEncoder(config, source_table)
        self.decoder = MarianDecoder(config, table)
        self.post_init()

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        decoder_input_ids=None,
        decoder_attention_mask=None,
        encoder_outputs=None,
        past_key_values=None,
        use_cache=False,
        output_hidden_states=False,
        output_attentions=False,
    ):
        """input_ids (B, S) of the source, decoder_input_ids (B, T) of the target -> their states.

        attention_mask: (B, S), 1 for tokens and 0 for padding; decoder_attention_mask: (B, T).
        encoder_outputs: what the encoder gave, instead of input_ids; decoder_input_ids may then
            come in several rows for each source, (B·K, T), those of a source one after another.
        past_key_values: a KVCache, which is extended in place; use_cache=True makes one.
        """
        more = {
            "output_hidden_states": output_hidden_states,
            "output_attentions": output_attentions,
        }
        if decoder_input_ids is None or (input_ids is None and encoder_outputs is None):
            raise ValueError("the source's input_ids and the target's decoder_input_ids are needed")
        if encoder_outputs is None:
            encoder_outputs = self.encoder(input_ids, attention_mask, **more)
        if use_cache and past_key_values is None:
            past_key_values = KVCache(self.config.decoder_layers)
        source = encoder_outputs.last_hidden_state
        out = self.decoder(
            *(decoder_input_ids, decoder_attention_mask, source, attention_mask, past_key_values),
            **more,
        )
        out.past_key_values = past_key_values if use_cache else None
        out.encoder_last_hidden_state = source
        out.encoder_hidden_states = encoder_outputs.hidden_states
        out.encoder_attentions = encoder_outputs.attentions
        return out


class MarianMTModel(MarianPreTrainedModel):
    """The body and the table once more as a linear head: logits of the target's next token."""

    def __init__(self, config):
        self.config = config
        self.model = MarianModel(config)
        self.final_logits_bias = nn.Parameter(
            np.zeros((1, config.decoder_vocab_size), np.float32), requires_grad=False
        )
        self.lm_head = nn.Linear(config.hidden_size, config.decoder_vocab_size, bias=False)
        self.post_init()
        self.tie_weights()

    def tie_weights(self):
        """Let the head read the decoder's table, if the config says so."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.model.decoder.embed_tokens.weight

    def get_encoder(self):
        """The encoder: input_ids (B, S) and their mask -> its ModelOutput."""
        return self.model.encoder

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        decoder_input_ids=None,
        decoder_attention_mask=None,
        encoder_outputs=None,
        past_key_values=None,
        labels=None,
        use_cache=False,
        output_hidden_states=False,
        output_attentions=False,
        num_items_in_batch=None,
        logits_to_keep=0,
        skip_logits=False,
    ):
        """As MarianModel.forward, and:

        labels: (B, T), the target, with -100 where no loss is wanted. Without decoder_input_ids the
            decoder reads them one place later, behind decoder_start_token_id. loss is the mean over
            the labels that count, or their sum over num_items_in_batch where that is given.
        logits_to_keep: logits of only that many last positions; 0 means all.
        skip_logits: with labels, compute the loss without ever holding the logits.
        """
        if labels is not None:
            labels = check_labels(labels)
            if decoder_input_ids is None:
                decoder_input_ids = shift_tokens_right(
                    labels, self.config.pad_token_id, self.config.decoder_start_token_id
                )
        out = self.model(
            *(input_ids, attention_mask, decoder_input_ids, decoder_attention_mask),
            *(encoder_outputs, past_key_values, use_cache, output_hidden_states, output_attentions),
        )
        hidden, out.last_hidden_state = out.last_hidden_state, None
        if labels is not None and skip_logits and not self.final_logits_bias.data.any():
            out.loss = F.linear_cross_entropy(
                hidden, self.lm_head.weight, labels, num_items=num_items_in_batch
            )
            return out
        hidden = hidden[:, -logits_to_keep:] if logits_to_keep else hidden
        out.logits = self.lm_head(hidden) + self.final_logits_bias
        if labels is not None:
            out.loss = F.cross_entropy(out.logits, labels, num_items=num_items_in_batch)
        return out
