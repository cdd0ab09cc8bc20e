"""What a model costs, read off its module tree: any family, any head, built without memory.

`budget.py` counts the same from a config by formulas, for decoders like Qwen2; this counts what is
there.
"""

from tinyqwen import nn
from tinyqwen.analysis.budget import as_dict
from tinyqwen.analysis.budget import flops_per_token as flops_by_formula
from tinyqwen.models.heads import ForCausalLM


def part_counts(model):
    """{part: number of parameters}, exact, in the order of the tree; norms are one part.

    A part has the name of its module, with those above it where that alone would be ambiguous. A
    head that is tied to the embedding counts 0.
    """
    owners, seen = [], set()
    for path, module in model.named_modules():
        own = [value for value in vars(module).values() if isinstance(value, nn.Parameter)]
        if own:
            size = sum(one.size for one in own if id(one) not in seen)
            seen |= {id(one) for one in own}
            owners.append((_below_layer(path), module, size))
    last = {}
    for path, _, _ in owners:
        last.setdefault(path.rpartition(".")[2], set()).add(path)
    counts = {}
    for path, module, size in owners:
        name = path.rpartition(".")[2]
        name = path if len(last[name]) > 1 else name
        name = "norms" if isinstance(module, (nn.RMSNorm, nn.LayerNorm)) else name
        counts[name] = counts.get(name, 0) + size
    return counts


def _below_layer(path):
    """ "model.layers.3.mlp.up_proj" -> "mlp.up_proj"."""
    parts = path.split(".")
    numbers = [i for i, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[numbers[0] + 1 :] if numbers else parts[-2:])


def flops_per_token(model, sequence_length, training=False, causal=False):
    """{part: floating-point operations} a token, as `budget.flops_per_token` counts them.

    Every matrix that is not looked up in is multiplied with: 2 a number, of a mixture's experts
    only those that a token goes to. Heads on one token of a text count as if they were on all. Of
    an encoder and a decoder this is one token of the source and one of the target together, both
    texts sequence_length long.
    """
    passes, seen = (3 if training else 1), {"attention projections": 0, "mlp": 0, "heads": 0}
    for path, module in model.named_modules():
        if not path or isinstance(module, nn.Embedding):  # Marian's bias of the logits has two axes
            continue
        share = getattr(module, "active_share", 1)
        size = sum(value.size for value in vars(module).values() if _is_matrix(value))
        kind = ("attention projections" if "att" in path else "mlp") if _in_layer(path) else "heads"
        seen[kind] += round(2 * passes * size * share)
    projections = seen.pop("attention projections")
    scores = sum(
        flops_by_formula(one, sequence_length, training, causal and own)["attention scores"]
        for one, own in attentions(model.config)
    )
    return {"attention projections": projections, "attention scores": scores, **seen}


def attentions(config):
    """[(config with one stack's layers and heads, whether a token may see only those before it)].

    One of most models; three of an encoder and a decoder: of the source to itself, of the target to
    itself, and of the target to the source.
    """
    values = as_dict(config)
    if not values.get("is_encoder_decoder"):
        return [(values, config.causal)]
    decoder = {
        **{"num_hidden_layers": values["decoder_layers"]},
        **{"num_attention_heads": values["decoder_attention_heads"]},
    }
    return [(values, False), ({**values, **decoder}, True), ({**values, **decoder}, False)]


def training_memory(model, batch_size, sequence_length, bytes_per_number=4):
    """{part: bytes} that one training step holds at its peak, an estimate to within a third or so.

    weights, gradients and the two moments of AdamW are exact: N numbers, N, and 2N. activations is
    what the tape keeps for the backward pass, of a token: what comes out of each matrix and each
    norm, twice, as it is and as what is made of it (queries rotated, a gate bent, a sum), and a
    weight for each token that each head sees. Next-token logits are there a piece at a time, and do
    not count.
    """
    parameters = model.num_parameters() * bytes_per_number
    piecewise = isinstance(model, ForCausalLM)
    widths = sum(
        _width(module)
        for path, module in model.named_modules()
        if path and not isinstance(module, nn.Embedding) and (_in_layer(path) or not piecewise)
    )
    weights = sum(
        one["num_hidden_layers"] * one["num_attention_heads"] * (0.5 if causal else 1)
        for one, causal in attentions(model.config)
    )
    per_token = 2 * widths + weights * sequence_length
    return {
        "weights": parameters,
        "gradients": parameters,
        "moments of AdamW": 2 * parameters,
        "activations": int(batch_size * sequence_length * per_token) * bytes_per_number,
    }


def _width(module):
    """Numbers that come out of a module's own matrices, or its norm, for one token."""
    if isinstance(module, (nn.RMSNorm, nn.LayerNorm)):
        return module.weight.size
    if hasattr(module, "out_features"):
        return module.out_features
    # All experts in one array, (experts, out, in): the chosen ones' outputs.
    stacked = [value for value in vars(module).values() if _is_matrix(value)]
    share = getattr(module, "active_share", 1)
    return sum(value.size // value.shape[-1] for value in stacked) * share


def _in_layer(path):
    return any(part.isdigit() for part in path.split("."))


def _is_matrix(value):
    return isinstance(value, nn.Parameter) and value.ndim > 1
