"""BERT, read from top to bottom: config, embeddings, attention, layer, body, heads.

The encoder of 2018: every token sees all others, LayerNorm comes after each part, and what it
learns is to fill in hidden tokens and to say whether two sentences belong together. Shapes are
those of `qwen2.py`, names those of Hugging Face's BERT.
(Devlin et al. 2019, "BERT: pre-training of deep bidirectional transformers", section 3.)
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinyqwen import functional as F
from tinyqwen import nn
from tinyqwen.models.activations import GELUActivation
from tinyqwen.models.attention import attention
from tinyqwen.models.config import Number, PretrainedConfig, Share, Size
from tinyqwen.models.inputs import as_array, check_ids, check_mask, check_positions
from tinyqwen.models.pretrained import ModelOutput, PreTrainedModel


@dataclass(kw_only=True)
class BertConfig(PretrainedConfig):
    """BERT's hyperparameters, with Hugging Face's names and defaults: those of bert-base."""

    model_type, causal = "bert", False
    written_if_changed = (*PretrainedConfig.written_if_changed, "position_embedding_type")
    small: ClassVar = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}

    vocab_size: Size = 30522
    hidden_size: Size = 768
    num_hidden_layers: Size = 12
    num_attention_heads: Size = 12
    intermediate_size: Size = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: Share = 0.1
    attention_probs_dropout_prob: Share = 0.1
    max_position_embeddings: Size = 512
    type_vocab_size: Size = 2
    layer_norm_eps: Number = 1e-12
    pad_token_id: int | None = 0
    tie_word_embeddings: bool = True
    classifier_dropout: Share | None = None
    position_embedding_type: str = "absolute"
    is_decoder: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not divisible by "
                f"num_attention_heads {self.num_attention_heads}"
            )
        self.expect(hidden_act="gelu", position_embedding_type="absolute", is_decoder=False)


# ---------------------------------------------------------------------------------------------
# The parts of a layer
# ---------------------------------------------------------------------------------------------


class Tanh(nn.Module):
    """tanh x."""

    def forward(self, x):
        return F.tanh(x)


class BertEmbeddings(nn.Module):
    """The sum of what a token is, where it stands, and which of two sentences it is of; normed."""

    def __init__(self, config):
        C = config.hidden_size
        self.word_embeddings = nn.Embedding(config.vocab_size, C, config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, C)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, C)
        self.LayerNorm = nn.LayerNorm(C, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids, token_type_ids, position_ids):
        """Three times (B, T) -> (B, T, C)."""
        x = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
        x = F.add_positions(x, self.position_embeddings.weight, position_ids)
        return self.dropout(self.LayerNorm(x))


class BertSelfAttention(nn.Module):
    """Multi-head attention of every token to every other."""

    def __init__(self, config):
        self._config = config
        C = config.hidden_size
        self.query, self.key, self.value = nn.Linear(C, C), nn.Linear(C, C), nn.Linear(C, C)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def forward(self, x, mask, output_attentions=False):
        """x (B, T, C) -> (B, T, C), and the weights (B, H, T, T) if asked for, else None."""
        config = self._config
        D = config.hidden_size // config.num_attention_heads
        layers = (self.query, self.key, self.value)
        q, k, v = (F.split_heads(layer(x), D) for layer in layers)  # (B, T, C) -> (B, H, T, D)
        y, weights = attention(
            *(q, k, v, mask),
            causal=False,
            dropout=self.dropout.p if self.training else 0.0,
            eager=output_attentions or config.attn_implementation == "eager",
        )
        return F.merge_heads(y), weights if output_attentions else None


class BertSelfOutput(nn.Module):
    """norm(x + dropout(linear(y))): how the result of a part joins the stream, twice a layer."""

    def __init__(self, config, in_features=None):
        C = config.hidden_size
        self.dense = nn.Linear(in_features or C, C)
        self.LayerNorm = nn.LayerNorm(C, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, y, x):
        """y (B, T, in_features), x (B, T, C) -> (B, T, C)."""
        return self.LayerNorm(x + self.dropout(self.dense(y)))


class BertOutput(BertSelfOutput):
    """The same behind the wide layer."""


class BertAttention(nn.Module):
    """Attention and what joins it to the stream."""

    def __init__(self, config):
        self.self, self.output = BertSelfAttention(config), BertSelfOutput(config)

    def forward(self, x, mask, output_attentions=False):
        """x (B, T, C) -> (B, T, C), and the attention weights or None."""
        y, weights = self.self(x, mask, output_attentions)
        return self.output(y, x), weights


class BertIntermediate(nn.Module):
    """The wide layer: linear, GELU."""

    def __init__(self, config):
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.intermediate_act_fn = GELUActivation()

    def forward(self, x):
        """x (B, T, C) -> (B, T, I)."""
        return self.intermediate_act_fn(self.dense(x))


class BertLayer(nn.Module):
    """h = norm(x + attention(x)), then norm(h + mlp(h)): post-norm (Vaswani et al. 2017, 3.1)."""

    def __init__(self, config):
        self.attention, self.intermediate = BertAttention(config), BertIntermediate(config)
        self.output = BertOutput(config, config.intermediate_size)

    def forward(self, x, mask, output_attentions=False):
        """x (B, T, C) -> (B, T, C), and the attention weights or None."""
        x, weights = self.attention(x, mask, output_attentions)
        return self.output(self.intermediate(x), x), weights


class BertEncoder(nn.Module):
    """The layers, one after another."""

    def __init__(self, config):
        self.layer = nn.ModuleList(BertLayer(config) for _ in range(config.num_hidden_layers))


class BertPooler(nn.Module):
    """tanh(linear(the first token)): a vector for the whole input."""

    def __init__(self, config):
        self.dense, self.activation = nn.Linear(config.hidden_size, config.hidden_size), Tanh()

    def forward(self, x):
        """x (B, T, C) -> (B, C)."""
        return self.activation(self.dense(x[:, 0]))


# ---------------------------------------------------------------------------------------------
# The body
# ---------------------------------------------------------------------------------------------


class BertPreTrainedModel(PreTrainedModel):
    """What all BERT models share."""

    config_class = BertConfig
    base_model_prefix = "bert"
    ignored_weights = r"embeddings\.position_ids$"  # a table that old checkpoints stored
    old_spellings: ClassVar = {".gamma": ".weight", ".beta": ".bias"}  # of LayerNorms
    head_weights = r"(^|\.)pooler\.|^(cls|classifier)\."


class BertModel(BertPreTrainedModel):
    """Token ids to hidden states and, with the pooling layer, a vector for the whole input."""

    def __init__(self, config, add_pooling_layer=True):
        self.config = config
        self.embeddings, self.encoder = BertEmbeddings(config), BertEncoder(config)
        self.pooler = BertPooler(config) if add_pooling_layer else None
        self.post_init()

    def forward(
        self,
        input_ids,
        attention_mask=None,
        token_type_ids=None,
        position_ids=None,
        output_hidden_states=False,
        output_attentions=False,
    ):
        """input_ids (B, T) integers -> ModelOutput with last_hidden_state and pooler_output.

        attention_mask: (B, T), 1 for tokens and 0 for padding, or anything with four axes that
            broadcasts to (B, H, T, T), boolean or additive.
        token_type_ids: (B, T), 0 for the first of two sentences and 1 for the second; 0 by default.
        position_ids: (B, T) or (T,); counted from 0 by default.
        Raises ValueError for positions that the table of learned ones does not have.
        """
        input_ids = check_ids(input_ids)
        position_ids = check_positions(position_ids, input_ids)
        kinds = np.zeros_like(input_ids) if token_type_ids is None else check_ids(token_type_ids)
        if kinds.shape != input_ids.shape:
            raise ValueError(
                f"token_type_ids have shape {kinds.shape}, expected {input_ids.shape}, as input_ids"
            )
        mask = check_mask(attention_mask, input_ids.shape[1])

        x = self.embeddings(input_ids, kinds, position_ids)  # (B, T) -> (B, T, C)
        x, hidden_states, attentions = self.run_layers(
            *(self.encoder.layer, x, mask),
            **{
                "output_hidden_states": output_hidden_states,
                "output_attentions": output_attentions,
            },
        )
        return ModelOutput(
            last_hidden_state=x,
            pooler_output=None if self.pooler is None else self.pooler(x),
            hidden_states=(*hidden_states, x) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )


# ---------------------------------------------------------------------------------------------
# The heads
# ---------------------------------------------------------------------------------------------


class BertPredictionHeadTransform(nn.Module):
    """Linear, GELU, LayerNorm: a hidden state made ready to be compared with all embeddings."""

    def __init__(self, config):
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.transform_act_fn = GELUActivation()
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)


def mlm_head(x, dense, activation, norm, decoder, chosen=None):
    """The scores of all tokens for what is hidden: decoder(norm(activation(dense(x)))).

    x (B, T, C), hidden states. The parts are functions: dense, activation and norm take (..., C)
    and return (..., C); decoder returns (..., V). chosen (B, T) booleans, or None for all places.
    Returns (B, T, V), or (N, V) for the N chosen places, row by row: no others are computed.
    """
    x = x if chosen is None else x[chosen]  # (B, T, C) -> (N, C)
    return decoder(norm(activation(dense(x))))


class BertLMPredictionHead(nn.Module):
    """Hidden states to logits over the vocabulary."""

    def __init__(self, config):
        self.transform = BertPredictionHeadTransform(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.bias = nn.new_parameter((config.vocab_size,), 0.0)

    def forward(self, x, chosen=None):
        """x (B, T, C) -> (B, T, V), or (N, V) of the N chosen places, (B, T) booleans."""
        parts = self.transform
        layers = (parts.dense, parts.transform_act_fn, parts.LayerNorm, self.decoder)
        return mlm_head(x, *layers, chosen)


class BertOnlyMLMHead(nn.Module):
    """The head that fills in hidden tokens."""

    def __init__(self, config):
        self.predictions = BertLMPredictionHead(config)


class BertPreTrainingHeads(nn.Module):
    """That head, and one that says whether the second sentence follows the first (class 0)."""

    def __init__(self, config):
        self.predictions = BertLMPredictionHead(config)
        self.seq_relationship = nn.Linear(config.hidden_size, 2)


class _WithPredictions(BertPreTrainedModel):
    def tie_weights(self):
        """Let the head read the embedding table, if the config says so."""
        if self.config.tie_word_embeddings:
            head = self.cls.predictions
            head.decoder.weight = self.bert.embeddings.word_embeddings.weight
            head.decoder.bias = head.bias


class BertForPreTraining(_WithPredictions):
    """The body with both heads that it is pre-trained with."""

    def __init__(self, config):
        self.config = config
        self.bert, self.cls = BertModel(config), BertPreTrainingHeads(config)
        self.post_init()
        self.tie_weights()

    def forward(
        self, input_ids, *args, labels=None, next_sentence_label=None, chosen=None, **options
    ):
        """As BertModel's forward -> prediction_logits (B, T, V), seq_relationship_logits (B, 2).

        labels: (B, T), the hidden tokens, and -100 elsewhere. next_sentence_label: (B,), 0 where
        the second sentence follows the first, else 1. With both, loss is the sum of the two means.
        chosen: (B, T) booleans, at which N tokens to predict, -> prediction_logits (N, V).
        """
        out = self.bert(input_ids, *args, **options)
        out.prediction_logits = self.cls.predictions(out.last_hidden_state, chosen)
        out.seq_relationship_logits = self.cls.seq_relationship(out.pooler_output)
        out.last_hidden_state = out.pooler_output = None
        if labels is not None and next_sentence_label is not None:
            labels = as_array(labels)[... if chosen is None else chosen]
            tokens = F.cross_entropy(out.prediction_logits, labels)
            pairs = as_array(next_sentence_label).reshape(-1)
            out.loss = tokens + F.next_sentence_loss(out.seq_relationship_logits, pairs)
        return out


class BertForMaskedLM(_WithPredictions):
    """The body and the head that fills in hidden tokens."""

    def __init__(self, config):
        self.config = config
        self.bert, self.cls = BertModel(config, add_pooling_layer=False), BertOnlyMLMHead(config)
        self.post_init()
        self.tie_weights()

    def forward(
        self, input_ids, *args, labels=None, num_items_in_batch=None, skip_logits=False, **options
    ):
        """As BertModel's forward -> logits (B, T, V).

        labels: (B, T), the hidden tokens, and -100 elsewhere; loss is the mean over those that
        count, or their sum over num_items_in_batch where that is given. skip_logits: with labels,
        compute logits only where a token is hidden, and return only the loss.
        """
        out = self.bert(input_ids, *args, **options)
        hidden, out.last_hidden_state = out.last_hidden_state, None
        chosen = None
        if labels is not None:
            labels = as_array(labels)
            if skip_logits:
                chosen = labels != -100
                labels = labels[chosen]
        logits = self.cls.predictions(hidden, chosen)
        if labels is not None:
            out.loss = F.cross_entropy(logits, labels, num_items=num_items_in_batch)
        out.logits = None if skip_logits and labels is not None else logits
        return out


class BertForSequenceClassification(BertPreTrainedModel):
    """The body, dropout, and a linear head on the pooled vector: one label a text."""

    fresh_head = True

    def __init__(self, config):
        self.config = config
        self.bert = BertModel(config)
        dropout = config.classifier_dropout
        self.dropout = nn.Dropout(config.hidden_dropout_prob if dropout is None else dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids, *args, labels=None, **options):
        """As BertModel's forward -> logits (B, num_labels); labels (B,) integers."""
        out = self.bert(input_ids, *args, **options)
        pooled, out.last_hidden_state, out.pooler_output = out.pooler_output, None, None
        out.logits = self.classifier(self.dropout(pooled))
        if labels is not None:
            if self.config.num_labels == 1:
                raise ValueError("num_labels is 1: there is no class to choose; use the logits")
            out.loss = F.cross_entropy(out.logits, as_array(labels).reshape(-1))
        return out
