"""Graders of chapter 09: the decoder layer, and what a model has and computes, from its config."""

from fractions import Fraction

import numpy as np

from tinyqwen.course import (
    check,
    check_close,
    check_equal,
    check_example,
    exchange_of,
    likely,
    made_of,
    normal,
    points,
    reference,
    rng,
)

TITLE = "Qwen2, whole"
ASSIGNED = {
    "decoder_layer": "models.qwen2",
    "parameter_counts": "analysis.budget",
    "flops_per_token": "analysis.budget",
    "training_memory": "analysis.budget",
}
STRETCH = ("training_memory",)

AXES = "batch time feature"


# ---------------------------------------------------------------------------------------------
# decoder_layer, 8 points
# ---------------------------------------------------------------------------------------------


class Parts:
    """Two different norms, an attention and an mlp, random and small, which note their calls."""

    def __init__(self, width, dtype=np.float64):
        self.scales = [normal(width, dtype=dtype) for _ in range(2)]
        self.mix, self.turn = normal(7, 7, dtype=dtype), normal(width, width, dtype=dtype)
        self.weights = normal(2, 3, 4, 4)
        self.calls = []
        self.kept = []  # pairs: what a part was given, itself, and a copy of it

    def _noted(self, name, x):
        self.calls.append(name)
        self.kept.append((x, np.array(x)))

    def norm(self, which, x):
        with np.errstate(all="ignore"):  # whatever a student hands in
            size = np.sqrt((x * x).mean(-1, keepdims=True) + x.dtype.type(1e-6))
            return x / size * self.scales[which]

    def input_layernorm(self, x):
        self._noted("input_layernorm", x)
        return self.norm(0, x)

    def self_attn(self, x):
        self._noted("self_attn", x)
        return self.attend(x), self.weights

    def post_attention_layernorm(self, x):
        self._noted("post_attention_layernorm", x)
        return self.norm(1, x)

    def mlp(self, x):
        self._noted("mlp", x)
        return self.feed(x)

    def attend(self, x):
        return np.tril(self.mix[: x.shape[1], : x.shape[1]]) @ x

    def feed(self, x):
        return np.tanh(x @ self.turn)

    @property
    def four(self):
        return self.input_layernorm, self.self_attn, self.post_attention_layernorm, self.mlp


def run(fn, x, parts):
    """The student's layer: the new stream and the weights."""
    result = fn(x, *parts.four)
    check(
        type(result) in (tuple, list) and len(result) == 2,
        f"decoder_layer must return two things, the new stream and the attention weights; it "
        f"returned {'nothing' if result is None else f'a {type(result).__name__}'}.",
        "a return statement is missing" if result is None else "the attention weights are missing",
    )
    check(
        not np.array_equal(result[0], parts.weights),
        "decoder_layer: the first result is what self_attn gave for its weights.",
        "the two results are in each other's place: the stream, then the weights",
    )
    return result


def right(x, parts):
    h = x + parts.attend(parts.norm(0, x))
    return h + parts.feed(parts.norm(1, h))


def wrong_layers(x, parts):
    """{mistake: what it gives}."""
    first, second = (lambda x, n=n: parts.norm(n, x) for n in range(2))
    attend, feed = parts.attend, parts.feed
    h = x + attend(first(x))
    normed = first(x)
    after = normed + attend(normed)
    post = first(x + attend(x))
    return {
        "the mlp is subtracted; it is added": h - feed(second(h)),
        "the residual connection around the attention is missing": (
            (y := attend(first(x))) + feed(second(y))
        ),
        "the residual connection around the mlp is missing": feed(second(h)),
        "both residual connections are missing": feed(second(attend(first(x)))),
        "what the norm returns is added; the stream before the norm is": (
            after + feed(second(after))
        ),
        "the mlp's sum takes what the norm returned; the stream before the norm is added to": (
            second(h) + feed(second(h))
        ),
        "the second sum adds the stream from before the attention: that part is lost": (
            x + feed(second(h))
        ),
        "attention and mlp run side by side on x; the mlp reads what the attention has added to": (
            h + feed(second(x))
        ),
        "this is post-norm, the norm after the sum; Qwen2's is pre-norm, before the block": (
            second(post + feed(post))
        ),
        "the norm comes after the block; it comes before": (
            (y := x + first(attend(x))) + second(feed(y))
        ),
        "the two norms are exchanged": (y := x + attend(second(x))) + feed(first(y)),
        "the first norm is used twice; the mlp has post_attention_layernorm": h + feed(first(h)),
        "the mlp comes first; the attention does": ((y := x + feed(second(x))) + attend(first(y))),
        "the mlp's sum adds what the attention put out; the stream h is added to": (
            attend(first(x)) + feed(second(h))
        ),
        "the first norm comes after the attention; it comes before": (
            (y := x + first(attend(x))) + feed(second(y))
        ),
        "the second norm comes after the mlp; it comes before": h + second(feed(h)),
        "the mlp's input is not normalized": h + feed(h),
        "the attention's input is not normalized": (y := x + attend(x)) + feed(second(y)),
        "the stream x is added a second time": x + h + feed(second(h)),
        "the mlp's part is missing": h,
        "the attention's part is missing": x + feed(second(x)),
        "the sums are halved; they are sums": (y := (x + attend(first(x))) / 2) + feed(second(y)),
        "the attention is subtracted; it is added": (y := x - attend(first(x))) + feed(second(y)),
        "the mlp reads what the attention put out; it reads the stream": (
            h + feed(second(attend(first(x))))
        ),
        "the new stream is normalized at the end; the next layer's norm does that": first(
            h + feed(second(h))
        ),
    }


@points(1, "decoder_layer: the example")
def test_decoder_layer_example(submission):
    """Two features, worked out on paper."""
    check_example(submission.decoder_layer)


@points(1, "decoder_layer: the stream goes through")
def test_decoder_layer_residual(submission):
    """Where attention and mlp have nothing to say, the layer changes nothing."""
    x, parts = normal(2, 5, 6), Parts(6)
    parts.attend = parts.feed = np.zeros_like
    out, _ = run(submission.decoder_layer, x, parts)
    check_close(
        out,
        x,
        "the output for an attention and an mlp that return zeros",
        axes=AXES,
        mistakes={
            "a residual connection is missing": np.zeros_like(x),
            "what the norm returns is added; the stream before the norm is": parts.norm(0, x),
            "the mlp's sum takes what the norm returned": parts.norm(1, x),
            "the stream is normalized after the sum": parts.norm(1, parts.norm(0, x)),
            "the stream is added twice": 2 * x,
        },
    )


@points(3, "decoder_layer: value")
def test_decoder_layer_value(submission):
    """norm, attention, add; norm, mlp, add."""
    for shape in ((2, 5, 6), (1, 1, 3), (3, 7, 2)):
        x, parts = normal(*shape, scale=2), Parts(shape[-1])
        out, _ = run(submission.decoder_layer, x, parts)
        check_close(
            out,
            right(x, parts),
            "decoder_layer: the output",
            case=f"x {shape}, two norms, an attention, an mlp",
            axes=AXES,
            mistakes=wrong_layers(x, parts),
        )


@points(1, "decoder_layer: each part once")
def test_decoder_layer_calls(submission):
    """Four parts, four calls, in the order in which they stand in the model."""
    x, parts = normal(1, 3, 4), Parts(4)
    run(submission.decoder_layer, x, parts)
    order = ["input_layernorm", "self_attn", "post_attention_layernorm", "mlp"]
    twice = [name for name in order if parts.calls.count(name) > 1]
    mistake = f"called more than once: {', '.join(twice)}; keep the result"
    mistakes = {mistake: parts.calls} if twice else None
    check_equal(parts.calls, order, "the calls of the parts", mistakes=mistakes)


@points(1, "decoder_layer: the attention weights")
def test_decoder_layer_weights(submission):
    """They are handed on as self_attn gave them, or as None."""
    x, parts = normal(1, 4, 6), Parts(6)
    _, weights = run(submission.decoder_layer, x, parts)
    check(
        weights is not None,
        "the attention weights are None, and self_attn gave an array.",
        "the second thing that self_attn returns is dropped: hand it on",
    )
    check_close(
        weights,
        parts.weights,
        "the attention weights",
        mistakes={"this is the attention's output": parts.attend(parts.norm(0, x))},
    )
    parts.weights = None
    _, weights = run(submission.decoder_layer, x, parts)
    check(weights is None, f"self_attn gave None for its weights; {type(weights).__name__} came")


@points(1, "decoder_layer: fit for the model")
def test_decoder_layer_manners(submission):
    """float32 in, float32 out; x is not changed."""
    fn, x, parts = submission.decoder_layer, normal(2, 5, 6, dtype=np.float32), None
    parts = Parts(6, np.float32)
    out, _ = run(fn, x, parts)
    check(
        0 not in fn.edited,
        "decoder_layer changed its argument x.",
        "x is changed in place (x += …): write x = x + …",
    )
    check(
        all(np.array_equal(given, copy) for given, copy in parts.kept),
        "decoder_layer: an array that a part was given holds other numbers by the end.",
        "h += … writes into what a part may have kept for its gradient: write h = h + …",
    )
    check(
        getattr(out, "dtype", None) == np.float32,
        f"the output has dtype {getattr(out, 'dtype', type(out).__name__)}; float32 went in",
        "float64 comes out where float32 went in: an array of another dtype takes part",
    )
    again, _ = run(fn, x, parts)
    check_close(again, out, "the output of a second call with the same x")


# ---------------------------------------------------------------------------------------------
# parameter_counts, 9 points
# ---------------------------------------------------------------------------------------------


def some_config(**changes):
    """A config in which no two sizes are alike, another one in every test; H·D is not h."""
    draw = rng().integers
    kv, groups, depth = int(draw(2, 5)), int(draw(3, 6)), 2 * int(draw(3, 9))
    width = kv * groups * depth
    hidden = width + 2 * int(draw(3, 20))
    return {
        "hidden_size": hidden + 2 * (hidden % (kv * groups) == 0),  # no number of heads divides it
        "intermediate_size": 3 * width + int(draw(1, 50)),
        "num_hidden_layers": 2 * int(draw(3, 12)) + 1,
        "vocab_size": 4 * width + int(draw(1, 90)),
        "num_attention_heads": kv * groups,
        "num_key_value_heads": kv,
        "head_dim": depth,
        "tie_word_embeddings": False,
        **changes,
    }


def narrow(**changes):
    """One in which D is h / H, and need not be said."""
    config = some_config(**changes)
    config["hidden_size"] = config["num_attention_heads"] * config.pop("head_dim")
    return config


def sizes(config):
    """h, i, L, V, H·D, H_kv·D."""
    H, h = config["num_attention_heads"], config["hidden_size"]
    depth = config.get("head_dim") or h // H
    kv = config.get("num_key_value_heads") or H
    rest = (config[n] for n in ("intermediate_size", "num_hidden_layers", "vocab_size"))
    return h, *rest, H * depth, kv * depth


def made_of_sizes(config, expected, **more):
    """{what a number is made of: that number} of a wrong part, as `check_equal` takes mistakes."""
    h, i, L, V, queries, keys = sizes(config)
    named = {
        "num_hidden_layers": L,
        "hidden_size": h,
        "intermediate_size": i,
        "vocab_size": V,
        "(query heads · head_dim)": queries,
        "(key/value heads · head_dim)": keys,
        **more,
    }
    single = {
        "num_attention_heads": config["num_attention_heads"],
        "num_key_value_heads": config.get("num_key_value_heads"),
        "head_dim": queries // config["num_attention_heads"],
    }
    known = {name: n for name, n in {**named, **single}.items() if n}
    beside = "sequence_length" not in more  # so many products make operations that some fit

    def told(yours):
        return exchange_of(yours, expected, known) or made_of(yours, expected, named, beside=beside)

    return told


def part_told(config, part, expected, counted, **length):
    """What a wrong part is made of: of nothing, of a size in the place of another, of a product."""
    made = made_of_sizes(config, expected, **length)
    *_, queries, keys = sizes(config)

    def told(yours):
        if yours == 0:
            return "nothing is counted here"
        return made(yours) or taken_for(yours) or _share(yours, expected)

    def taken_for(yours):
        """The one size that stands where another belongs."""
        full = {**config, "head_dim": queries // config["num_attention_heads"]}
        full["num_key_value_heads"] = keys // full["head_dim"]
        known = [key for key in SIZES if isinstance(full.get(key), int)]
        found = []
        for a, b in ((a, b) for a in known for b in known if full[a] != full[b]):
            if a == "num_hidden_layers" and "layer_types" in full:
                continue
            other = counted({**full, a: full[b]})
            found += [f"{b} is taken where {a} belongs"] if other[part] == yours else []
        return found[0] if len(found) == 1 else None

    return told


def _share(yours, expected):
    """A small fraction, or multiple, of the right number, or None."""
    share = Fraction(yours) / Fraction(expected) if expected and yours > 0 else 0
    small = share and max(share.numerator, share.denominator) <= 8
    return f"this is {share} of the right number" if small else None


SIZES = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size"),
    *("num_attention_heads", "num_key_value_heads", "head_dim"),
)


def check_parts(fn, config, right, mistakes, equal, counted, **options):
    """fn's dict against the right one, part by part.

    mistakes: {part: {mistake: number}};  counted: config -> the right parts of another one
    """
    name = fn.__name__
    words = f"config {config}" + "".join(f", {k}={v}" for k, v in options.items())
    length = {k: options[k] for k in ("sequence_length",) if k in options}
    arguments = [options.pop(k) for k in length]
    yours = fn(config, *arguments, **options)
    check(
        isinstance(yours, dict),
        f"{name} must return a dict; it returned "
        f"{'nothing' if yours is None else f'a {type(yours).__name__}'}.\n  input     {words}",
        "a return statement is missing" if yours is None else None,
    )
    missing, unknown = sorted(set(right) - set(yours)), sorted(set(yours) - set(right))
    check(
        not missing and not unknown,
        f"{name}: {'missing: ' + ', '.join(missing) if missing else 'unknown: '}"
        f"{', '.join(map(str, unknown)) if not missing else ''}\n"
        f"  expected  the parts {', '.join(right)}",
        "a part's name is misspelled"
        if missing and unknown
        else "the head has its place where it is tied, too, with a 0"
        if missing == ["lm_head"]
        else "the sum is no part: whoever wants it adds the values"
        if len(unknown) == 1 and yours[unknown[0]] == sum(v for k, v in yours.items() if k in right)
        else "a look-up multiplies nothing"
        if unknown and "embed" in unknown[0]
        else None,
    )
    check(
        0 not in getattr(fn, "edited", ()),
        f"{name} changed the config that it was given.",
        "the config is changed in place (setdefault, pop, …): work on a copy",
    )
    for part, expected in right.items():
        equal(
            yours[part],
            expected,
            f"{name}: {part}",
            case=words,
            mistakes=mistakes.get(part, {}),
            told_by=part_told(config, part, expected, counted, **length),
        )


def check_counts(fn, config):
    """parameter_counts of a config, with the mistakes that can be made in each part."""
    h, i, L, V, queries, keys = sizes(config)
    bias = config.get("attention_bias") is not False
    right = reference("parameter_counts")(config)
    one_layer = "the number of layers is missing"
    no_bias = "the bias is missing" if bias else "attention_bias is False: there are no biases"
    if config.get("attention_bias", True) is None:
        no_bias = "attention_bias is null, which stands for its default: q, k and v have biases"
    other = int(not bias)
    heads, kv = config["num_attention_heads"], config.get("num_key_value_heads")
    plain, wide = h // heads, h // (kv or heads)
    weight_only = {"q_proj": queries, "k_proj": keys, "v_proj": keys}
    mistakes = {
        part: {
            one_layer: n * (h + bias),
            no_bias: L * n * (h + other),
            "the bias has a number for each input; it is one for each output": L * (n * h + h),
            "the query heads are counted; k and v have num_key_value_heads": (
                L * queries * (h + bias)
            ),
            "its outputs are hidden_size in number; they are heads times head_dim": (
                L * h * (h + bias) if h != queries else None
            ),
            "head_dim is not used: this is hidden_size / num_attention_heads": (
                L * (n * heads // queries * plain) * (h + bias) if h != heads * plain else None
            ),
            "a head has hidden_size / num_attention_heads numbers, for keys and values as well": (
                L * heads * wide * (h + bias) if part == "q_proj" else None
            ),
            "each layer has its biases; here they are counted once": L * n * h + n,
        }
        for part, n in weight_only.items()
    }
    mistakes["o_proj"] = {
        one_layer: h * queries,
        "o_proj has no bias": L * h * (queries + 1),
        "its inputs are hidden_size in number; they are heads times head_dim": L * h * h,
        "its inputs are those of the key/value heads; every query head has an output": L * h * keys,
    }
    for part in ("gate_proj", "up_proj", "down_proj"):
        mistakes[part] = {
            one_layer: i * h,
            "the mlp has no biases": L * (i * h + (h if part == "down_proj" else i)),
            "hidden_size stands in the place of intermediate_size": L * h * h,
            "all three matrices of the mlp are in one": 3 * L * i * h,
            "intermediate_size is not used: this is 4 times hidden_size": L * 4 * h * h,
        }
    mistakes["norms"] = {
        "the norm after the last layer is missing": 2 * L * h,
        "each layer has two norms": (L + 1) * h,
        "a norm has a weight for each of the hidden_size numbers, not for those of the heads": (
            (2 * L + 1) * queries
        ),
        "RMSNorm has a weight and no bias": 2 * (2 * L + 1) * h,
        "the final norm is there once, not in every layer": 3 * L * h,
    }
    tied = config.get("tie_word_embeddings", False)
    mistakes["lm_head"] = {
        "the head is tied to the embedding, which is counted already"
        if tied
        else "the head is not tied: it has a table of its own": V * h if tied else 0,
        "lm_head has no bias": V * (h + 1),
    }
    mistakes["embed_tokens"] = {
        "the embedding is there once, not in every layer": L * V * h,
        "this is the size of the vocabulary": V,
    }
    check_parts(fn, config, right, mistakes, check_equal, reference("parameter_counts"))


@points(1, "parameter_counts: the example")
def test_parameter_counts_example(submission):
    """A model of 632 parameters."""
    check_example(submission.parameter_counts)


@points(3, "parameter_counts: value")
def test_parameter_counts_value(submission):
    """Every part, for key/value heads that are shared and heads of any width."""
    check_counts(submission.parameter_counts, some_config())
    check_counts(submission.parameter_counts, narrow())


@points(1, "parameter_counts: tied or not")
def test_parameter_counts_tied(submission):
    """A head that reads the embedding table has nothing of its own."""
    fn = submission.parameter_counts
    check_counts(fn, narrow(tie_word_embeddings=True))
    config = narrow()
    del config["tie_word_embeddings"]
    check_counts(fn, config)


@points(2, "parameter_counts: fields that may be missing")
def test_parameter_counts_defaults(submission):
    """No key/value heads: as many as query heads. No head_dim: h / H. No attention_bias: biases."""
    fn = submission.parameter_counts
    check_counts(fn, narrow(num_key_value_heads=None))
    config = narrow()
    del config["num_key_value_heads"]
    with likely("config.json need not have the field: config.get(…) gives None then"):
        check_counts(fn, config)
    check_counts(fn, {**narrow(), "head_dim": None})
    for bias in (True, False):
        check_counts(fn, some_config(attention_bias=bias))
    check_counts(fn, some_config(attention_bias=None))


@points(2, "parameter_counts: Qwen2.5 and LLaMA")
def test_parameter_counts_published(submission):
    """494,032,768 and 6,738,415,616: the numbers that the checkpoints hold."""
    qwen = {
        **{"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24},
        **{"vocab_size": 151936, "num_attention_heads": 14, "num_key_value_heads": 2},
        "tie_word_embeddings": True,
    }
    llama = {
        **{"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32},
        **{"vocab_size": 32000, "num_attention_heads": 32, "attention_bias": False},
    }
    for name, config, total, biases in (
        ("Qwen2.5-0.5B", qwen, 494_032_768, 24 * (896 + 2 * 128)),
        ("LLaMA-7B", llama, 6_738_415_616, -32 * 3 * 4096),
    ):
        counts = submission.parameter_counts(config)
        check(isinstance(counts, dict), "parameter_counts must return a dict")
        other_bias = (
            "the biases of q, k and v are missing"
            if biases > 0
            else "attention_bias is False: there are no biases"
        )
        check_equal(
            sum(counts.values()),
            total,
            f"the sum of {name}'s parts",
            mistakes={
                other_bias: total - biases,
                "the head is tied to the embedding, which is counted already": (
                    total + config["vocab_size"] * config["hidden_size"]
                ),
                "the norm after the last layer is missing": total - config["hidden_size"],
            },
        )


# ---------------------------------------------------------------------------------------------
# flops_per_token, 8 points
# ---------------------------------------------------------------------------------------------


def check_number(yours, expected, what, case, mistakes, told_by):
    """Equal within rounding: a mean may be a fraction."""
    exact = {n: np.float64(number) for n, number in mistakes.items() if number is not None}
    settings = {"case": case, "mistakes": exact, "told_by": lambda mine: told_by(float(mine))}
    check_close(yours, np.float64(expected), what, **settings)


def seen_by(config, s, causal):
    """For each layer the number of keys that a token is scored against, mean over s tokens."""
    kinds = config.get("layer_types") or ["full_attention"] * config["num_hidden_layers"]
    for kind in kinds:
        window = config["sliding_window"] if kind == "sliding_attention" else s
        tokens = range(1, s + 1) if causal else [s]
        yield np.mean([min(t, window) for t in tokens])


def check_flops(fn, config, s, training=False, causal=False, wrong_scores=None):
    """flops_per_token of a config, with the mistakes that can be made in each part."""
    h, _, L, _, queries, keys = sizes(config)
    passes = 3 if training else 1
    seen = sum(seen_by(config, s, causal))
    right = reference("flops_per_token")(config, s, training, causal)
    twice = {
        "multiplications alone are counted; their additions are as many again": 0.5,
        "the number of layers is missing": 1 / L,
    }
    if training:
        twice["training is not used: the backward pass takes twice the forward pass"] = 1 / 3
        both = "forward once and backward twice: the backward pass has two products for each"
        twice[both] = 2 / 3
        twice["forward once and backward twice are three passes, not four"] = 4 / 3
    else:
        twice["training is False by default: the forward pass alone"] = 3

    of_passes = ", or the backward pass" if training else ""

    def scaled(part, factors, **more):
        return {name: right[part] * factor for name, factor in factors.items()} | more

    attention = L * 2 * passes
    mistakes = {
        "attention projections": scaled("attention projections", twice)
        | {
            "the biases are counted; they are small beside the products and left out": (
                attention * (2 * h * (queries + keys) + queries + 2 * keys)
            ),
            "k and v lead to the key/value heads alone": attention * 4 * h * queries,
            "o_proj is missing": attention * (h * queries + 2 * h * keys),
            "the query heads' width is H·D, which need not be hidden_size": (
                attention * (2 * h * h + 2 * h * keys)
            ),
        },
        "attention scores": {
            name: number * passes * 4 * queries for name, number in (wrong_scores or {}).items()
        }
        | {
            "causal is False by default: a token sees all s" if not causal else "": (
                None if causal else 4 * passes * sum(seen_by(config, s, True)) * queries
            ),
            "only the scores are counted, or only the weighted sum; both are as much": (
                2 * passes * seen * queries
            ),
            "multiplications alone are counted; their additions are as many again": (
                2 * passes * seen * queries
            ),
            "every query head has scores of its own, whoever shares the keys": (
                4 * passes * seen * keys
            ),
            "every query head has a weighted sum of its own, whoever shares the values": (
                2 * passes * seen * (queries + keys)
            ),
            "a token is scored in H heads of D numbers; H·D need not be hidden_size": (
                4 * passes * seen * h
            ),
            "these are the scores of all tokens; one token's are asked for": (
                4 * passes * seen * queries * s
            ),
            "the text's length is missing": 4 * passes * L * queries,
        }
        | {k: f * right["attention scores"] for k, f in twice.items() if f != 0.5},
        "mlp": scaled("mlp", {k: factor for k, factor in twice.items() if factor != 4 / 3})
        | {
            "the mlp has three matrices, gate, up and down; this is four": right["mlp"] * 4 / 3,
            "the mlp has three matrices, gate, up and down; this is two" + of_passes: (
                right["mlp"] * 2 / 3
            ),
            "the mlp has three matrices, gate, up and down; this is one" + of_passes: (
                right["mlp"] / 3
            ),
        },
        "lm_head": {k: f * right["lm_head"] for k, f in twice.items() if f != 1 / L}
        | {
            "a tied head computes, too: only its parameters are not its own"
            if config.get("tie_word_embeddings")
            else "the head's product with its table is missing": 0,
            "the head is there once, not in every layer": right["lm_head"] * L,
            "the embedding is a look-up: no multiplication": 2 * right["lm_head"],
        },
    }
    options = {"sequence_length": s}
    options |= {"training": True} if training else {}
    options |= {"causal": True} if causal else {}

    def counted(config):
        return reference("flops_per_token")(config, s, training, causal)

    check_parts(fn, config, right, mistakes, check_number, counted, **options)


@points(1, "flops_per_token: the example")
def test_flops_per_token_example(submission):
    """Two layers, on paper."""
    check_example(submission.flops_per_token)


@points(2, "flops_per_token: value")
def test_flops_per_token_value(submission):
    """Two operations a parameter, and 4·s·H·D for the scores of each layer."""
    fn = submission.flops_per_token
    check_flops(fn, narrow(tie_word_embeddings=True), 8)  # even: no number of layers
    check_flops(fn, some_config(), 12)
    check_flops(fn, narrow(num_key_value_heads=None), 1)


@points(1, "flops_per_token: as in the textbooks")
def test_flops_per_token_textbook(submission):
    """24·b·s·h² + 4·b·s²·h a layer, for heads of full width and a gated mlp of 8h/3."""
    b, s, h = 3, 40, 96
    config = {
        **{"hidden_size": h, "intermediate_size": 8 * h // 3, "num_hidden_layers": 5},
        **{"vocab_size": 7, "num_attention_heads": 8, "num_key_value_heads": 8},
    }
    flops = submission.flops_per_token(config, s)
    check(isinstance(flops, dict), "flops_per_token must return a dict")
    layers = b * s * (sum(flops.values()) - flops.get("lm_head", 0)) / 5
    check_close(
        layers,
        np.float64(24 * b * s * h**2 + 4 * b * s**2 * h),
        f"a layer's operations for {b} texts of {s} tokens, h = {h}",
        mistakes={
            "multiplications alone are counted; their additions are as many again": np.float64(
                12 * b * s * h**2 + 2 * b * s**2 * h
            ),
            "only the scores are counted, or only the weighted sum; both are as much": np.float64(
                24 * b * s * h**2 + 2 * b * s**2 * h
            ),
        },
    )


@points(1, "flops_per_token: training")
def test_flops_per_token_training(submission):
    """Forward once, backward twice."""
    check_flops(submission.flops_per_token, some_config(), 6, training=True)
    check_flops(submission.flops_per_token, narrow(), 10, training=True)


@points(2, "flops_per_token: causal")
def test_flops_per_token_causal(submission):
    """The first token sees 1, the last s: (s + 1) / 2 in the mean."""
    for s in (7, 6, 1):
        config = some_config()
        L = config["num_hidden_layers"]
        half = "a token sees itself as well: the mean is (s + 1) / 2"
        if s % 2 == 0:  # s / 2 is also (s + 1) / 2 rounded down
            half = "the mean is (s + 1) / 2, here a fraction: not s / 2, and not rounded"
        check_flops(
            submission.flops_per_token,
            config,
            s,
            causal=True,
            wrong_scores={
                "causal is not used": L * s,
                half: L * s / 2,
                "a token sees itself as well: the first sees 1, the last s": L * (s - 1) / 2,
                "this is the sum over all tokens; the mean is asked for": L * s * (s + 1) / 2,
            },
        )


def mean_of_window(s, window, causal):
    """How many keys a token sees, of the s so far at most as many as the window has."""
    return np.mean([min(t, window) for t in range(1, s + 1)]) if causal else min(s, window)


@points(1, "flops_per_token: sliding windows")
def test_flops_per_token_windows(submission):
    """Some layers see the last few tokens only."""
    for s, window, causal in ((12, 4, False), (3, 4, False), (12, 4, True), (3, 4, True)):
        config = some_config()
        L = config["num_hidden_layers"]
        full = L // 2
        kinds = ["full_attention"] * full + ["sliding_attention"] * (L - full)
        config |= {"layer_types": kinds, "sliding_window": window}
        mean = (s + 1) / 2 if causal else s
        one = mean_of_window(s, window, causal)
        check_flops(
            submission.flops_per_token,
            config,
            s,
            causal=causal,
            wrong_scores={
                "the sliding window is not used": L * mean,
                "only the layers of sliding_attention have a window": L * one,
                "full and sliding layers are exchanged": full * one + (L - full) * mean,
                "the layers of full_attention have scores as well": (L - full) * one,
                "the layers of sliding_attention have scores as well": full * mean,
                "the longer of window and text is taken; a token sees the shorter": (
                    full * mean + (L - full) * (max(s, window) if not causal else np.nan)
                ),
                **{
                    f"off by one: this is a window of {window + step}": (
                        full * mean + (L - full) * mean_of_window(s, window + step, causal)
                    )
                    for step in (1, -1)
                },
                "a window that is longer than the text shows the text and no more": (
                    full * mean + (L - full) * (window if window > s else np.nan)
                ),
                "with a window of w the first tokens still see 1, 2, …, and not w": (
                    full * mean + (L - full) * min(s, window)
                ),
                "under a window the mean is not half of w + 1: all later tokens see w": (
                    full * mean + (L - full) * (min(s, window) + 1) / 2
                ),
            },
        )


# ---------------------------------------------------------------------------------------------
# training_memory, for honor
# ---------------------------------------------------------------------------------------------


@points(0, "training_memory: the example")
def test_training_memory_example(submission):
    """The example in the docstring."""
    check_example(submission.training_memory)


@points(0, "training_memory: value")
def test_training_memory_value(submission):
    """Weights, gradients and moments are counted by parameters, activations by tokens."""
    for config in (some_config(), narrow(), some_config(tie_word_embeddings=True)):
        for batch, s, each in ((3, 10, 4), (5, 16, 2), (2, 7, 4)):
            check_memory(submission.training_memory, config, batch, s, each)
    odd = {"num_attention_heads": 15, "num_key_value_heads": 3}
    check_memory(submission.training_memory, some_config(**odd), 2, 7, 4)


def check_memory(fn, config, batch, s, each):
    h, i, L, _, queries, keys = sizes(config)
    H = config["num_attention_heads"]
    N = int(np.sum([*reference("parameter_counts")(config).values()])) * each
    per_token = 8 * h + 2 * queries + 3 * keys + 4 * i + H * s / 2
    tokens = batch * s
    right = {"weights": N, "gradients": N, "moments of AdamW": 2 * N}
    right["activations"] = int(tokens * L * per_token) * each
    plain = {
        "bytes_per_number is not used: this is what four bytes each give": lambda n: n // each * 4,
        "these are numbers, not bytes": lambda n: n // each,
    }
    mistakes = {part: {told: made(n) for told, made in plain.items()} for part, n in right.items()}
    for part in right:
        twice = right[part] + h * config["vocab_size"] * right[part] // right["weights"] * each
        mistakes[part]["the table that is tied is counted twice"] = twice
    mistakes["moments of AdamW"]["AdamW keeps two moments a parameter, m and v"] = N
    mistakes["activations"] |= {
        "the number of layers is missing": tokens * per_token * each,
        "the batch is missing": s * L * per_token * each,
        "the tokens are batch_size · sequence_length": batch * L * per_token * each,
        "h·s/2 may end in a half: // drops it": (
            tokens * L * (per_token - (H * s % 2) / 2) * each if H * s % 2 else None
        ),
        "the attention weights, h·s/2, are missing": tokens * L * (per_token - H * s / 2) * each,
        "each query sees about half of the keys: s/2, not s": (
            tokens * L * (per_token + H * s / 2) * each
        ),
        "the query heads are counted for keys and values": (
            tokens * L * (per_token + 3 * (queries - keys)) * each
        ),
    }
    options = {"sequence_length": s, "bytes_per_number": each}

    def fitted(config, length, **options):
        return fn(config, batch, length, **options)

    fitted.__name__ = "training_memory"

    def counted(config):
        return reference("training_memory")(config, batch, s, each)

    check_parts(fitted, config, right, mistakes, check_equal, counted, **options)
