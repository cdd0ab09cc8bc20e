"""`python -m tinyqwen.inspect PATH`: what a model is made of and what it costs, from its config.

No weights are read and no memory is used for them: a model of any size is told in an instant.
"""

from pathlib import Path

from tinyqwen.analysis.budget import (
    flops_per_token,
    kv_cache_table,
    parameter_counts,
    rule_of_thumb,
    rule_of_thumb_corrections,
    six_n,
)
from tinyqwen.cli import ArgumentParser, run
from tinyqwen.models import auto
from tinyqwen.viz.budget import budget
from tinyqwen.viz.style import save


def parse_arguments(arguments=None):
    """Command line -> argparse.Namespace."""
    parser = ArgumentParser(
        prog="python -m tinyqwen.inspect",
        description="Print a model's modules, config, parameters, arithmetic and cache size.",
    )
    parser.add_argument("path", metavar="PATH", help="a run, a checkpoint, or its config.json")
    parser.add_argument(
        *("--sequence-length", "--seq-len"),
        type=int,
        metavar="N",
        help="tokens that attention looks at (2048, or what fits)",
    )
    parser.add_argument("--plot", metavar="FILE", help="draw the budget: .png, .svg or .pdf")
    return parser.parse_args(arguments)


def build(path):
    """The model of a folder or config.json, in shape only; its class as the config names it."""
    config = auto.AutoConfig.from_pretrained(path)
    try:
        return auto.empty(config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def part_counts(model):
    """{part: parameters}, exact, whatever head the model has."""
    counts = parameter_counts(model.config)
    if not hasattr(model, "lm_head"):
        del counts["lm_head"]
    head = model.num_parameters() - sum(counts.values())
    return {**counts, "score": head} if head else counts


def sections(model, sequence_length):
    """The report on a model: (title, lines) pairs."""
    config, counts = model.config, part_counts(model)
    yield "Modules", repr(model).split("\n")
    yield "Config", _config_lines(config)
    yield "Parameters", _parameter_lines(counts)
    if hasattr(model, "lm_head"):
        yield "Rule of thumb", _rule_of_thumb_lines(config)
        yield (
            f"Floating-point operations per token, {sequence_length:,} tokens long",
            _flops_lines(config, sequence_length),
        )
    yield "KV cache, bytes per token", _cache_lines(config)


def _config_lines(config):
    values = config.to_dict()
    kinds = values["layer_types"]
    if len(set(kinds)) == 1:
        values["layer_types"] = f"{len(kinds)} × {kinds[0]}"
    width = max(map(len, values)) + 2
    return [f"{name:<{width}}{value}" for name, value in sorted(values.items())]


def _parameter_lines(counts):
    total = sum(counts.values())
    lines = [f"{part:<14}{n:>18,}{n / total:8.1%}" for part, n in counts.items()]
    if counts.get("lm_head") == 0:
        lines[-1] = f"{'lm_head':<14}{0:>18,}   tied to embed_tokens"
    lines.append(f"{'total':<14}{total:>18,}")
    lines.append(f"{'no embeddings':<14}{total - counts['embed_tokens']:>18,}")
    return lines


def _rule_of_thumb_lines(config):
    estimate, total = rule_of_thumb(config), sum(parameter_counts(config).values())
    lines = [f"{estimate:>18,}  (4h² + h·i)·L + V·h, {estimate / total - 1:+.0%} of what it is:"]
    lines += [f"{number:>+18,}  {reason}" for reason, number in rule_of_thumb_corrections(config)]
    return [*lines, f"{total:>18,}  parameters"]


def _flops_lines(config, sequence_length):
    forward = flops_per_token(config, sequence_length)
    training = flops_per_token(config, sequence_length, training=True)
    lines = [f"{'':<24}{'forward':>20}{'and backward':>22}"]
    lines += [f"{part:<24}{forward[part]:>20,}{training[part]:>22,}" for part in forward]
    both = sum(forward.values()), sum(training.values())
    lines.append(f"{'total':<24}{both[0]:>20,}{both[1]:>22,}")
    lines.append(f"{'2N, 6N':<24}{six_n(config) // 3:>20,}{six_n(config):>22,}")
    lines.append("A multiplication with its addition is two; every token is scored against all.")
    return lines


def _cache_lines(config):
    lines = [f"{'':<6}{'K/V heads':>10}{'float32':>14}{'bfloat16':>14}"]
    for name, heads, size in kv_cache_table(config):
        own = "   this model" if heads == config.num_key_value_heads else ""
        lines.append(f"{name:<6}{heads:>10}{size:>14,}{size // 2:>14,}{own}")
    return lines


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
    if options.plot:
        save(budget(model.config, length), options.plot)


if __name__ == "__main__":
    run(main)
