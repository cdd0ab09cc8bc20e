"""`python -m tinyqwen.inspect PATH`: what a model is made of and what it costs, from its config.

No weights are read and no memory is used for them: a model of any size is told in an instant.
"""

from pathlib import Path

from tinyqwen.analysis.budget import (
    kv_cache_table,
    parameter_counts,
    rule_of_thumb,
    rule_of_thumb_corrections,
)
from tinyqwen.analysis.costs import attentions, flops_per_token, part_counts, training_memory
from tinyqwen.cli import ArgumentParser, path, run
from tinyqwen.models import auto
from tinyqwen.tuning.quantization import nbytes, packed_shape
from tinyqwen.viz.budget import budget
from tinyqwen.viz.style import save


def parse_arguments(arguments=None):
    """Command line -> argparse.Namespace."""
    parser = ArgumentParser(
        prog="python -m tinyqwen.inspect",
        description="Print a model's modules, config, parameters, arithmetic and cache size.",
    )
    parser.add_argument(
        "path", type=path, metavar="PATH", help="a run, a checkpoint, or its config.json"
    )
    parser.add_argument(
        *("--sequence-length", "--seq-len"),
        type=int,
        metavar="N",
        help="tokens that attention looks at (2048, or what fits)",
    )
    parser.add_argument(
        "--plot", type=path, metavar="FILE", help="draw the budget: .png, .svg or .pdf"
    )
    return parser.parse_args(arguments)


def build(path):
    """The model of a folder or config.json, in shape only; its class as the config names it."""
    config = auto.AutoConfig.from_pretrained(path)
    try:
        return auto.empty(config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def packed(model):
    """The model; where its config says that it is in few bits, one with the packed layers."""
    if "quantization_config" not in model.config.extra:
        return model
    return packed_shape(auto.empty(model.config))


def sections(model, sequence_length):
    """The report on a model: (title, lines) pairs."""
    config, of_texts = model.config, f"{sequence_length:,} tokens long"
    yield "Modules", repr(packed(model)).split("\n")
    yield "Config", _config_lines(config)
    yield "Parameters", _parameter_lines(model)
    if "quantization_config" in config.extra:
        yield "Weights in memory", _packed_lines(model)
    if _is_as_the_formulas_say(model):
        yield "Rule of thumb", _rule_of_thumb_lines(model)
    if hasattr(config, "decoder_layers"):
        token = "token of the source and one of the target, both texts"
    else:
        token = "token,"
    yield f"Floating-point operations per {token} {of_texts}", _flops_lines(model, sequence_length)
    if hasattr(model, "lm_head"):
        yield "KV cache, bytes per token", _cache_lines(config)
    title = f"Memory of training in float32, one text {of_texts}"
    yield title, _memory_lines(training_memory(model, 1, sequence_length))


def _is_as_the_formulas_say(model):
    """Whether `budget.py`, which counts decoders like Qwen2 from a config, is right for it."""
    is_decoder = hasattr(model, "lm_head") and hasattr(model.config, "rope_theta")
    return is_decoder and sum(parameter_counts(model.config).values()) == model.num_parameters()


def _has_experts(model):
    return model.num_active_parameters() != model.num_parameters()


def _config_lines(config):
    values = config.to_dict()
    kinds = values.get("layer_types", ())
    if len(set(kinds)) == 1:
        values["layer_types"] = f"{len(kinds)} × {kinds[0]}"
    width = max(map(len, values)) + 2
    return [f"{name:<{width}}{value}" for name, value in sorted(values.items())]


def _parameter_lines(model):
    counts, total = part_counts(model), model.num_parameters()
    width = max(14, *(len(part) + 2 for part in counts))
    lines = [
        f"{part:<{width}}{n:>18,}{n / total:8.1%}" + ("" if n else "   tied to the embedding")
        for part, n in counts.items()
    ]
    lines.append(f"{'total':<{width}}{total:>18,}")
    if _has_experts(model):
        lines.append(f"{'active':<{width}}{model.num_active_parameters():>18,}   for one token")
    bare = model.num_parameters(exclude_embeddings=True)
    return [*lines, f"{'no embeddings':<{width}}{bare:>18,}"]


def _packed_lines(model):
    size, full = nbytes(packed(model)), 4 * model.num_parameters()
    return [
        f"{size:>18,}  bytes, packed",
        f"{full:>18,}  bytes in float32, of which that is {size / full:.3f}",
    ]


def _rule_of_thumb_lines(model):
    config, total = model.config, sum(parameter_counts(model.config).values())
    estimate = rule_of_thumb(config)
    lines = [f"{estimate:>18,}  (4d² + d·d_ff)·l + V·d, {estimate / total - 1:+.0%} of what it is:"]
    lines += [f"{number:>+18,}  {reason}" for reason, number in rule_of_thumb_corrections(config)]
    return [*lines, f"{total:>18,}  parameters"]


def _flops_lines(model, sequence_length):
    forward = flops_per_token(model, sequence_length)
    training = flops_per_token(model, sequence_length, training=True)
    lines = [f"{'':<24}{'forward':>20}{'and backward':>22}"]
    lines += [f"{part:<24}{forward[part]:>20,}{training[part]:>22,}" for part in forward]
    both = sum(forward.values()), sum(training.values())
    N = model.num_active_parameters()
    lines.append(f"{'total':<24}{both[0]:>20,}{both[1]:>22,}")
    lines.append(f"{'2N, 6N':<24}{2 * N:>20,}{6 * N:>22,}")
    lines.append("A multiplication with its addition is two; every token is scored against all.")
    return lines


def _cache_lines(config):
    lines = [f"{'':<6}{'K/V heads':>10}{'float32':>14}{'bfloat16':>14}"]
    stack = attentions(config)[-1][0]
    own = stack.get("num_key_value_heads") or stack["num_attention_heads"]
    for name, heads, size in kv_cache_table(stack):
        mark = "   this model" if heads == own else ""
        lines.append(f"{name:<6}{heads:>10}{size:>14,}{size // 2:>14,}{mark}")
    if len(attentions(config)) > 1:
        lines.append("As much for each token of the target as, once for all beams, of the source.")
    return lines


def _memory_lines(memory):
    rows = {**memory, "total": sum(memory.values())}
    return [f"{part:<24}{size:>20,}" for part, size in rows.items()]


def main(arguments=None):
    """The command line."""
    options = parse_arguments(arguments)
    model = build(Path(options.path))
    longest = model.config.max_sequence_length
    length = min(2048, longest) if options.sequence_length is None else options.sequence_length
    if not 1 <= length <= longest:
        raise ValueError(f"--sequence-length must be from 1 to {longest}, not {length}")
    for title, lines in sections(model, length):
        if title != "Modules":
            print(f"\n{title}")
        for line in lines:
            print(line if title == "Modules" else f"  {line}")
    if options.plot and not _is_as_the_formulas_say(model):
        raise ValueError(f"--plot draws decoders like Qwen2, and not {type(model).__name__}")
    if options.plot:
        save(budget(model.config, length), options.plot)


if __name__ == "__main__":
    run(main, only_prints=True)
