"""The command line: what it prints, how it refuses, and that it needs no weights and no memory."""

import json
import re
import subprocess
import sys
import tracemalloc

import pytest

import tinyqwen as tq
from tinyqwen import inspect
from tinyqwen.analysis import budget
from tinyqwen.analysis.costs import flops_per_token, part_counts
from tinyqwen.cli import run
from tinyqwen.models.auto import MODELS, config_class, empty
from tinyqwen.tuning.quantization import nbytes

QWEN_05B = {
    **{"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": 151936},
    **{"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24},
    **{"num_attention_heads": 14, "num_key_value_heads": 2, "tie_word_embeddings": True},
    **{"rope_theta": 1000000.0, "max_position_embeddings": 32768, "torch_dtype": "bfloat16"},
}


@pytest.fixture
def folder(tmp_path):
    def write(**changes):
        (tmp_path / "config.json").write_text(json.dumps({**QWEN_05B, **changes}))
        return tmp_path

    write()
    write.path = tmp_path
    return write


def printed(capsys, *arguments):
    inspect.main([str(argument) for argument in arguments])
    return capsys.readouterr().out


def test_qwen_05b(folder, capsys):
    out = printed(capsys, folder())
    assert out.startswith("Qwen2ForCausalLM(\n  (model): Qwen2Model(\n    (embed_tokens): ")
    for text in (
        *("(0-23): 24 x Qwen2DecoderLayer(", "494,032,768", "357,898,112", "317,800,448"),
        *("+209,190,912  SwiGLU", "-33,030,144  k and v", "+27,648  biases", "+43,904  weights"),
        *("172,032", "24,576        12,288   this model", "1000000.0", "tied to the embedding"),
        "2,964,196,608",
    ):
        assert text in out, text
    assert printed(capsys, folder() / "config.json") == out


def test_a_whole_report_by_hand(tmp_path, capsys):
    """h = 8, i = 12, two layers, four heads of two numbers, of which two share keys; V = 10."""
    config = tq.Qwen2Config(
        **{"vocab_size": 10, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2},
        **{"num_attention_heads": 4, "num_key_value_heads": 2},
    )
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    out = printed(capsys, tmp_path, "--seq-len", 4)
    assert re.search(r"\n  layer_types +2 × full_attention\n", out)
    told = out[out.index("\nParameters\n") :]
    lines = [tuple(re.split(r"\s{2,}", line.strip())) for line in told.splitlines() if line]
    assert lines == [
        ("Parameters",),
        ("embed_tokens", "80", "6.7%"),
        *(("q_proj", "144", "12.1%"), ("k_proj", "72", "6.0%"), ("v_proj", "72", "6.0%")),
        ("o_proj", "128", "10.7%"),
        *((name, "192", "16.1%") for name in ("gate_proj", "up_proj", "down_proj")),
        *(("norms", "40", "3.4%"), ("lm_head", "80", "6.7%")),
        *(("total", "1,192"), ("no embeddings", "1,112")),
        ("Rule of thumb",),
        ("784", "(4d² + d·d_ff)·l + V·d, -34% of what it is:"),
        ("+384", "SwiGLU has three d·d_ff matrices, gate, up and down, not one"),
        ("-128", "k and v lead to h_kv·d_h = 4 only, not to d = 8"),
        ("+32", "biases of q, k and v"),
        *(("+40", "weights of the norms"), ("+80", "an lm_head that is not tied to the embedding")),
        ("1,192", "parameters"),
        ("Floating-point operations per token, 4 tokens long",),
        ("forward", "and backward"),
        *(("attention projections", "768", "2,304"), ("attention scores", "256", "768")),
        *(("mlp", "1,152", "3,456"), ("heads", "160", "480"), ("total", "2,336", "7,008")),
        ("2N, 6N", "2,384", "7,152"),
        ("A multiplication with its addition is two; every token is scored against all.",),
        ("KV cache, bytes per token",),
        ("K/V heads", "float32", "bfloat16"),
        ("MHA", "4", "128", "64"),
        ("GQA", "2", "64", "32", "this model"),
        ("MQA", "1", "32", "16"),
        ("Memory of training in float32, one text 4 tokens long",),
        *(("weights", "4,768"), ("gradients", "4,768"), ("moments of AdamW", "9,536")),
        ("activations", "4,864"),  # 4 · 4 tokens · (2 · 2 · 72 out of matrices and norms + 4 · 4)
        ("total", "23,936"),
    ]


@pytest.mark.parametrize("family", MODELS)
def test_every_family(family, tmp_path, capsys):
    """Exact counts of whatever parts there are, from a config alone."""
    config = config_class(family)()
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    out = printed(capsys, tmp_path)
    model = empty(config)
    assert out.startswith(repr(model) + "\n\nConfig\n")
    counts = part_counts(model)
    assert sum(counts.values()) == model.num_parameters()
    assert all(f"{count:,}" in out for count in counts.values())
    assert ("active" in out) == (model.num_active_parameters() < model.num_parameters())


def test_active_parameters_by_hand(tmp_path, capsys):
    """Of 8 experts 2 work; each has 3 matrices of 12 × 5 numbers, in each of 3 layers."""
    config = tq.Qwen2MoeConfig(
        **{"vocab_size": 20, "hidden_size": 12, "num_hidden_layers": 3, "intermediate_size": 16},
        **{"num_attention_heads": 3, "num_key_value_heads": 3, "num_experts": 8},
        **{"num_experts_per_tok": 2, "moe_intermediate_size": 5},
    )
    model = tq.Qwen2MoeForCausalLM(config)
    active = model.num_parameters() - 3 * 6 * 3 * 12 * 5
    assert model.num_active_parameters() == active
    model.save_pretrained(tmp_path)
    assert f"2N, 6N{2 * active:>38,}{6 * active:>22,}\n" in printed(capsys, tmp_path)


@pytest.mark.parametrize("training", [False, True])
def test_operations_by_the_tree_and_by_formulas(training):
    config = tq.Qwen2Config.from_dict(QWEN_05B)
    by_tree = flops_per_token(empty(config), 100, training)
    by_formula = budget.flops_per_token(config, 100, training)
    assert list(by_tree.values()) == list(by_formula.values())


def test_a_run_is_what_it_says(tmp_path, capsys):
    config = tq.Qwen2Config(
        vocab_size=20,
        hidden_size=12,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=3,
        num_labels=5,
    )
    for cls in (
        *(tq.Qwen2ForCausalLM, tq.Qwen2Model),
        *(tq.Qwen2ForSequenceClassification, tq.Qwen2ForTokenClassification),
    ):
        model = cls(config)
        model.save_pretrained(tmp_path)
        out = printed(capsys, tmp_path)
        assert out.startswith(repr(model) + "\n\nConfig\n")
        assert f"total{model.num_parameters():>27,}\n" in out


@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantized_folder_is_what_it_says(tmp_path, capsys, bits):
    config = tq.Qwen2Config(
        **{"vocab_size": 24, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": bits == 4},
    )
    tq.quantize(tq.Qwen2ForCausalLM(config), bits, 16).save_pretrained(tmp_path)
    model = tq.Qwen2ForCausalLM.from_pretrained(tmp_path)
    out = printed(capsys, tmp_path)
    assert out.startswith(repr(model) + "\n\nConfig\n")
    assert f"{nbytes(model):,}  bytes, packed" in out
    full = tq.Qwen2ForCausalLM(config).num_parameters()
    assert f"{4 * full:,}  bytes in float32" in out and f"total{full:>27,}\n" in out


def test_no_memory_is_used(folder):
    path = folder(hidden_size=32768, num_hidden_layers=80, num_attention_heads=64)
    tracemalloc.start()
    model = inspect.build(path)
    lines = [line for _, lines in inspect.sections(model, 2048) for line in lines]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert model.num_parameters() > 1e11 and lines
    assert peak < 50e6


def test_sequence_length(folder, capsys):
    assert "2,048 tokens long" in printed(capsys, folder())
    assert "7 tokens long" in printed(capsys, folder(), "--seq-len", 7)
    assert "100 tokens long" in printed(capsys, folder(max_position_embeddings=100))
    for length in (0, -1, 32769):
        with pytest.raises(ValueError, match="--sequence-length must be from 1 to 32768"):
            inspect.main([str(folder()), "--sequence-length", str(length)])


def test_scaled_rope_is_told_and_reaches_further(folder, capsys):
    for scaling in ({"type": "yarn", "factor": 4.0}, {"rope_type": "linear", "factor": 4}):
        out = printed(capsys, folder(rope_scaling=scaling), "--seq-len", 131072)
        kind = scaling.get("type", scaling.get("rope_type"))
        assert f"'rope_type': '{kind}', 'factor': 4" in out and "131,072 tokens long" in out
    with pytest.raises(ValueError, match="must be from 1 to 131072, not 131073"):
        inspect.main([str(folder.path), "--seq-len", "131073"])


def test_an_encoder_and_a_decoder_by_hand(tmp_path, capsys):
    """The base model of Vaswani et al. 2017, table 3: 65M parameters with about 37,000 tokens.

    With exactly so many it has 63.1M, and 1.0M of sines that are not learned.
    """
    config = tq.MarianConfig(
        **{"vocab_size": 37000, "d_model": 512, "encoder_layers": 6, "encoder_ffn_dim": 2048},
        **{"encoder_attention_heads": 8, "pad_token_id": 0, "decoder_start_token_id": 0},
    )
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    out = printed(capsys, tmp_path, "--seq-len", 10)
    tables = 37000 * 512 + 2 * 1024 * 512 + 37000  # of tokens, of positions, of the logits' biases
    attention = 18 * 4 * 512 * 513
    layers = 12 * (2 * 512 * 2048 + 2560) + 30 * 1024
    assert f"{tables + attention + layers:,}" in out
    assert f"{18 * 4 * 2 * 512 * 512:,}" in out  # operations of the projections
    assert f"{18 * 4 * 10 * 512:,}" in out  # and of the scores
    assert f"{2 * 6 * 512 * 4:,}" in out and "of the source" in out  # the cache, in float32


@pytest.mark.parametrize("name", ["budget.png", "budget.SVG"])
def test_plot(folder, capsys, name):
    folder()
    out = printed(capsys, folder.path, "--plot", folder.path / name)
    assert "494,032,768" in out
    assert (folder.path / name).stat().st_size > 5000
    assert len(list(folder.path.iterdir())) == 2


def test_plot_refuses_what_is_no_picture(folder, capsys):
    with pytest.raises(ValueError, match=r"ends in \.png"):
        printed(capsys, folder(), "--plot", folder.path / "budget.txt")
    with pytest.raises(OSError, match="no such folder"):
        printed(capsys, folder(), "--plot", folder.path / "nowhere" / "budget.png")
    assert len(list(folder.path.iterdir())) == 1


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "tinyqwen.inspect", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=250,
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "mamba"}, "model_type is 'mamba'; known are qwen2"),
        ({"hidden_size": 897}, "hidden_size 897 is not divisible"),
        ({"architectures": ["LlamaForCausalLM"]}, "architectures is ['LlamaForCausalLM']"),
        ({"architectures": 5}, "architectures is 5"),
        (None, "config.json: there is no such file"),
    ],
)
def test_bad_input_is_refused(folder, changes, says, capsys):
    if changes is None:
        (folder.path / "config.json").unlink()
    else:
        folder(**changes)
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(says)) as caught:
        inspect.main([str(folder.path)])
    assert "\n" not in str(caught.value) and str(folder.path) in str(caught.value)
    assert capsys.readouterr().out == ""


def test_help_and_usage():
    assert command("--help").returncode == 0
    done = command("no/such/folder")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("tinyqwen.inspect: ") and done.stderr.count("\n") == 1


# ---------------------------------------------------------------------------------------------
# How command lines end
# ---------------------------------------------------------------------------------------------


def ending(main, capsys):
    with pytest.raises(SystemExit) as caught:
        run(main)
    return caught.value.code, capsys.readouterr()


def raising(error):
    def main():
        raise error

    return main


def test_endings(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["somewhere/train.py"])
    assert ending(lambda: None, capsys)[0] is None
    assert ending(lambda: 7, capsys)[0] == 7
    code, out = ending(raising(ValueError("first\n  second")), capsys)
    assert (code, out.err) == (2, "tinyqwen.train: first second\n")
    code, out = ending(raising(FileNotFoundError(2, "not here", "a.txt")), capsys)
    assert (code, out.err) == (2, "tinyqwen.train: a.txt: not here\n")
    code, out = ending(raising(MemoryError()), capsys)
    assert (code, out.err) == (2, "tinyqwen.train: MemoryError\n")
    assert ending(raising(KeyboardInterrupt()), capsys)[0] == 130
    with pytest.raises(KeyError):  # our own mistakes keep their traceback
        run(raising(KeyError("x")))


def test_warnings_are_one_line(capsys, monkeypatch):
    import warnings

    monkeypatch.setattr(sys, "argv", ["train.py"])
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        _, out = ending(lambda: warnings.warn("mind\nthis", stacklevel=1), capsys)
    assert out.err == "tinyqwen.train: warning: mind this\n"


def test_a_reader_that_leaves(folder):
    """`inspect … | head -1`: no traceback."""
    program = "import sys; sys.argv[0] = 'inspect'; import tinyqwen.inspect as i\n"
    program += f"i.run(lambda: [i.main([{str(folder())!r}]) for _ in range(100)] and None)"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 141
