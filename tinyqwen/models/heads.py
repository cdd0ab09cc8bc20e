"""Heads of decoders: from hidden states to logits and a loss. A family names the body."""

import numpy as np

from tinyqwen import functional as F
from tinyqwen import nn
from tinyqwen.models.inputs import as_array, check_ids, check_labels
from tinyqwen.models.pretrained import PreTrainedModel


def shift_labels(labels):
    """labels (B, T) -> the labels of the next position, -100 (not counted) at the last."""
    labels = check_labels(labels)
    shifted = np.full_like(labels, -100)
    shifted[:, :-1] = labels[:, 1:]
    return shifted


def shift_tokens_right(labels, pad_token_id, decoder_start_token_id):
    """What a decoder reads while it is to write the labels: one place later, behind a start token.

    labels (B, T) integers, -100 where no loss is wanted. Returns (B, T): decoder_start_token_id,
    then the labels but the last, with pad_token_id for -100.  (Vaswani et al. 2017, section 3.1:
    "the output embeddings are offset by one position".)

    >>> shift_tokens_right(np.array([[5, 6, 7], [8, 9, -100]]), 0, 2)
    array([[2, 5, 6],
           [2, 8, 9]])
    """
    if pad_token_id is None:
        raise ValueError("labels need pad_token_id in the config, for the places without one")
    shifted = np.full_like(labels, decoder_start_token_id)
    shifted[:, 1:] = np.where(labels[:, :-1] == -100, pad_token_id, labels[:, :-1])
    return shifted


class ForCausalLM(PreTrainedModel):
    """A body and a linear head over the vocabulary: next-token logits."""

    body_class = None

    def __init__(self, config):
        self.config = config
        setattr(self, self.base_model_prefix, self.body_class(config))
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()
        self.tie_weights()

    def tie_weights(self):
        """Let the head read the embedding table, if the config says so."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.base_model.embed_tokens.weight

    def forward(
        self,
        input_ids,
        attention_mask=None,
        position_ids=None,
        labels=None,
        past_key_values=None,
        use_cache=False,
        output_hidden_states=False,
        output_attentions=False,
        num_items_in_batch=None,
        logits_to_keep=0,
        skip_logits=False,
        **more,
    ):
        """As the body's forward, and:

        labels: (B, T), usually input_ids themselves, with -100 where no loss is wanted. They are
            shifted inside: position t is scored on labels[t + 1]. loss is the mean over the labels
            that count, or their sum over num_items_in_batch where that is given.
        logits_to_keep: logits of only that many last positions; 0 means all.
        skip_logits: with labels, compute the loss without ever holding the logits.
        more: what else the family's body takes.
        """
        out = self.base_model(
            *(input_ids, attention_mask, position_ids, past_key_values),
            *(use_cache, output_hidden_states, output_attentions),
            **more,
        )
        hidden, out.last_hidden_state = out.last_hidden_state, None
        if labels is not None:
            labels = shift_labels(labels)
            if skip_logits and type(self.lm_head) is nn.Linear:  # a packed or adapted one has them
                out.loss = F.linear_cross_entropy(
                    hidden, self.lm_head.weight, labels, num_items=num_items_in_batch
                )
                return self.with_own_losses(out, attention_mask)
        out.logits = self.lm_head(hidden[:, -logits_to_keep:] if logits_to_keep else hidden)
        if labels is not None:
            out.loss = F.cross_entropy(out.logits, labels, num_items=num_items_in_batch)
        return self.with_own_losses(out, attention_mask)

    def with_own_losses(self, out, attention_mask):
        """The output, its loss complete: what a family adds to that of the next token."""
        return out


class ForSequenceClassification(PreTrainedModel):
    """A body and a linear head on the last token that is not padding: one label a text."""

    body_class = None
    fresh_head = True

    def __init__(self, config):
        self.config = config
        setattr(self, self.base_model_prefix, self.body_class(config))
        self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids,
        attention_mask=None,
        position_ids=None,
        labels=None,
        output_hidden_states=False,
    ):
        """input_ids (B, T) -> logits (B, num_labels); labels (B,) integers."""
        ids = check_ids(input_ids)
        out = self.base_model(
            ids, attention_mask, position_ids, output_hidden_states=output_hidden_states
        )
        hidden, out.last_hidden_state = out.last_hidden_state, None
        logits = self.score(hidden)  # (B, T, num_labels)
        out.logits = logits[np.arange(len(ids)), self._last_token(ids)]
        if labels is not None:
            if self.config.num_labels == 1:
                raise ValueError("num_labels is 1: there is no class to choose; use the logits")
            out.loss = F.cross_entropy(out.logits, as_array(labels).reshape(-1))
        return out

    def _last_token(self, ids):
        pad = self.config.pad_token_id
        if pad is None:
            if len(ids) > 1:
                raise ValueError("a batch of several texts needs pad_token_id in the config")
            return np.array([ids.shape[1] - 1])
        return (np.arange(ids.shape[1]) * (ids != pad)).argmax(1)


class ForTokenClassification(PreTrainedModel):
    """A body, dropout, and a linear head on every token."""

    body_class = None
    fresh_head = True

    def __init__(self, config):
        self.config = config
        setattr(self, self.base_model_prefix, self.body_class(config))
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.score = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, position_ids=None, labels=None):
        """input_ids (B, T) -> logits (B, T, num_labels); labels (B, T), -100 not counted."""
        out = self.base_model(input_ids, attention_mask, position_ids)
        hidden, out.last_hidden_state = out.last_hidden_state, None
        out.logits = self.score(self.dropout(hidden))
        if labels is not None:
            out.loss = F.cross_entropy(out.logits, as_array(labels))
        return out
