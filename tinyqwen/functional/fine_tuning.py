"""The loss of GPT-1's fine-tuning: a label to name, and the text to go on with."""

import numpy as np

from tinyqwen.autograd.tensor import primitive
from tinyqwen.functional.losses import cross_entropy, linear_cross_entropy


@primitive
def fine_tuning_loss(
    class_logits, hidden, weight, labels, input_ids, attention_mask, lm_weight=0.5, num_items=None
):
    """L_FT + λ L_PT: name a text's label, and go on writing (Radford et al. 2018, eq. 5).

        L_FT = mean over texts of -ln p(label | text)
        L_PT = mean over tokens of -ln p(token t + 1 | tokens 0 … t)

    class_logits (B, labels); hidden (B, T, d), the body's last states; weight (V, d), the table
    that reads them; labels (B,); input_ids (B, T); attention_mask (B, T), 0 for padding, which is
    no token to predict; lm_weight λ. num_items: both divisors (texts, tokens) where a batch is
    split and its parts are to add up. Returns a scalar in nats.

    Two sums that do not meet: their gradients are `cross_entropy`'s and `linear_cross_entropy`'s,
    the latter times λ; the last state predicts nothing and gets none.
    """
    texts, tokens = num_items or (None, None)
    following = np.where(np.asarray(attention_mask) == 1, input_ids, -100)[:, 1:]
    loss, class_vjp = cross_entropy.raw(class_logits, labels, num_items=texts)
    lm_loss, lm_vjp = linear_cross_entropy.raw(hidden[:, :-1], weight, following, num_items=tokens)

    def vjp(g):
        dhidden = np.zeros_like(hidden)
        dhidden[:, :-1], dweight = lm_vjp(g * lm_weight)
        return *class_vjp(g), dhidden, dweight

    return loss + lm_weight * lm_loss, vjp
