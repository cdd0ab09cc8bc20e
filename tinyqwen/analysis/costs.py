"""What a model costs, read off its module tree: any family, any head, built without memory.

`budget.py` counts the same from a config by formulas, for decoders like Qwen2; this counts what is
there.
"""

from tinyqwen import nn
from tinyqwen.analysis.budget import flops_per_token as flops_by_formula


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
    only those that a token goes to. Heads on one token of a text count as if they were on all.
    """
    passes, seen = (3 if training else 1), {"attention projections": 0, "mlp": 0, "heads": 0}
    for path, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            continue
        share = getattr(module, "active_share", 1)
        size = sum(value.size for value in vars(module).values() if _is_matrix(value))
        in_layer = any(part.isdigit() for part in path.split("."))
        kind = ("attention projections" if "att" in path else "mlp") if in_layer else "heads"
        seen[kind] += round(2 * passes * size * share)
    projections = seen.pop("attention projections")
    scores = flops_by_formula(model.config, sequence_length, training, causal)["attention scores"]
    return {"attention projections": projections, "attention scores": scores, **seen}


def _is_matrix(value):
    return isinstance(value, nn.Parameter) and value.ndim > 1
