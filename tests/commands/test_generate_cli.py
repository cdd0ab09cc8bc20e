"""`python -m tinyqwen.generate`: what it prints, what it refuses, how it ends."""

import io
import json
import os
import re
import shutil
import signal
import string
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen import generate
from tinyqwen.text.tokenizer import Tokenizer
from tinyqwen.training.train_config import RUN_CONFIG

PROMPT = "the cat "


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint of a random model over characters, with room for long texts."""
    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer = Tokenizer.train([string.ascii_letters + " .?"], kind="char")
    tokenizer.save_pretrained(folder)
    tq.manual_seed(0)
    model = tq.Qwen2ForCausalLM(
        tq.Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=30_000,
            initializer_range=0.5,
        )
    )
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def parts(folder):
    return tq.Qwen2ForCausalLM.from_pretrained(folder), Tokenizer.from_pretrained(folder)


def test_a_run_begins_after_the_end_of_another_text(parts, folder, tmp_path, capsys):
    """As its training rows did; a checkpoint from elsewhere gets what was typed, and no more."""
    model, tokenizer = parts
    run = tmp_path / "run"
    shutil.copytree(folder, run / "best")
    shutil.copytree(folder, run, dirs_exist_ok=True)
    (run / RUN_CONFIG).write_text("{}")
    ids = tokenizer.encode(PROMPT)
    for place, start in ((folder, []), (run, [tokenizer.eos_token_id])):
        expected = model.generate([start + ids], 20, eos_token_id=tokenizer.eos_token_id)
        for where in (place, run / "best") if start else (place,):
            generate.main([str(where), PROMPT, "--greedy", "--max-new-tokens", "20"])
            assert capsys.readouterr().out.rstrip("\n") == tokenizer.decode(
                expected[0], skip_special_tokens=True
            )
    generate.main([str(run), "<|endoftext|>" + PROMPT, "--greedy", "--max-new-tokens", "20"])
    assert capsys.readouterr().out.rstrip("\n") == tokenizer.decode(
        expected[0], skip_special_tokens=True
    )


@pytest.fixture
def stdin(monkeypatch):
    """Stands in for the standard input: stdin("typed text", terminal=False)."""

    def set_stdin(text="", terminal=False):
        stream = io.StringIO(text)
        stream.isatty = lambda: terminal
        monkeypatch.setattr(sys, "stdin", stream)

    set_stdin(terminal=True)
    return set_stdin


@pytest.fixture
def printed(folder, capsys, stdin):
    """printed("prompt", "--flag"): what the command writes to stdout, with `folder` as RUN."""

    def call(*arguments):
        assert generate.main([str(folder), *map(str, arguments)]) == 0
        return capsys.readouterr().out

    return call


def expected(parts, prompt, **options):
    """The text that `model.generate` gives, up to the end-of-text token."""
    model, tokenizer = parts
    ids = [tokenizer.encode(prompt)]
    settings = {"max_new_tokens": 20, "eos_token_id": tokenizer.eos_token_id, "do_sample": True}
    out = model.generate(ids, **(settings | {"temperature": 0.8} | options))
    return tokenizer.decode(out[0], skip_special_tokens=True) + "\n"


FLAGS = {
    "": {},
    "--greedy": {"do_sample": False},
    "--temperature 0": {"do_sample": False},
    "--temperature 1.7": {"temperature": 1.7},
    "--top-k 3": {"top_k": 3},
    "--top-p 0.4 --temperature 1": {"top_p": 0.4, "temperature": 1.0},
    "--min-p 0.3 --repetition-penalty 1.5": {"min_p": 0.3, "repetition_penalty": 1.5},
    "--greedy --repetition-penalty 1.5": {"do_sample": False, "repetition_penalty": 1.5},
}


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("no_stream", [[], ["--no-stream"]])
def test_options_reach_the_model(printed, parts, flags, no_stream):
    out = printed(PROMPT, "--max-new-tokens", 20, "--seed", 3, *flags.split(), *no_stream)
    assert out == expected(parts, PROMPT, seed=3, **FLAGS[flags])


def test_generation_config_of_the_folder_applies(printed, parts, folder):
    file = folder / "generation_config.json"
    file.write_text(json.dumps({"do_sample": False, "repetition_penalty": 1.5}))
    arguments = (PROMPT, "--max-new-tokens", 20, "--seed", 3)
    try:
        greedy = expected(parts, PROMPT, do_sample=False, repetition_penalty=1.5)
        assert printed(*arguments) == greedy
        drawn = expected(parts, PROMPT, seed=3, repetition_penalty=1.5)
        assert printed(*arguments, "--do-sample") == drawn
        file.write_text(json.dumps({"do_sample": True, "temperature": 1.7, "top_k": 5}))
        drawn = expected(parts, PROMPT, seed=3, temperature=1.7, top_k=5)
        assert printed(*arguments) == drawn
    finally:
        file.unlink()


def test_several_prompts_and_samples_come_one_after_another(printed, parts):
    prompts = [PROMPT, "the mat sat on", "a"]
    out = printed(*prompts, "--greedy", "--max-new-tokens", 20)
    texts = [expected(parts, prompt, do_sample=False) for prompt in prompts]
    assert out == "---\n".join(texts)
    samples = printed(PROMPT, "--num-samples", 3, "--seed", 1, "--temperature", 3)
    samples = samples[:-1].split("\n---\n")
    assert len(set(samples)) == 3 and all(text.startswith(PROMPT) for text in samples)


def test_stop_string_ends_the_text(printed, parts):
    whole = expected(parts, PROMPT, do_sample=False)
    stop = whole[len(PROMPT) + 6 : len(PROMPT) + 8]
    end = whole.index(stop, len(PROMPT)) + len(stop)
    for more in ([], ["--no-stream"]):
        out = printed(PROMPT, "--greedy", "--max-new-tokens", 20, "--stop", stop, *more)
        assert out == whole[:end] + "\n"


def test_prompt_from_a_pipe_and_empty_prompt(printed, parts, stdin):
    stdin(PROMPT + "\n")
    assert printed("--greedy", "--max-new-tokens", 20) == expected(parts, PROMPT, do_sample=False)
    model, tokenizer = parts
    begun = model.generate([[tokenizer.eos_token_id]], 20, eos_token_id=tokenizer.eos_token_id)
    text = tokenizer.decode(begun[0], skip_special_tokens=True)
    assert printed("", "--greedy", "--max-new-tokens", 20) == text + "\n"


def chat_reply(parts, messages):
    model, tokenizer = parts
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    end = [tokenizer.eos_token_id, tokenizer.token_to_id("<|im_end|>")]
    out = model.generate([ids], 12, eos_token_id=end)
    return tokenizer.decode(out[0, len(ids) :], skip_special_tokens=True)


@pytest.mark.filterwarnings("ignore:this tokenizer does not know")
def test_chat_prompt(printed, parts):
    system, user = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}
    options = ("--chat", "--greedy", "--max-new-tokens", 12)
    assert printed("Hi", *options) == chat_reply(parts, [user]) + "\n"
    assert printed("Hi", *options, "--no-stream") == chat_reply(parts, [user]) + "\n"
    out = printed("Hi", *options, "--system", "Be brief.")
    assert out == chat_reply(parts, [system, user]) + "\n"


@pytest.mark.filterwarnings("ignore:this tokenizer does not know")
def test_conversation_remembers(printed, parts, monkeypatch):
    typed = iter(["Hi", "", "And \\", "you?"])
    monkeypatch.setattr("builtins.input", lambda _: _next(typed))
    out = printed("--chat", "--greedy", "--max-new-tokens", 12)
    messages = [{"role": "user", "content": "Hi"}]
    first = chat_reply(parts, messages)
    messages += [
        {"role": "assistant", "content": first},
        {"role": "user", "content": "And\nyou?"},
    ]
    assert out == f"{first}\n{chat_reply(parts, messages)}\n\n"


def test_first_word(folder, tmp_path, monkeypatch):
    bundled = tmp_path / "bundled"
    bundled.mkdir()
    (bundled / "config.json").touch()
    monkeypatch.setattr(generate, "BUNDLED", bundled)
    assert generate.split_words([str(folder), "a", "b"]) == (folder, ["a", "b"])
    assert generate.split_words([str(folder)]) == (folder, [])
    assert generate.split_words(["Once"]) == (bundled, ["Once"])
    assert generate.split_words(["Once a", "b"]) == (bundled, ["Once a", "b"])
    monkeypatch.setenv("HOME", str(folder.parent))
    assert generate.split_words([f"~/{folder.name}", "a"]) == (folder, ["a"])
    with pytest.raises(FileNotFoundError, match="no folder 'nowehre'; if that is one of 2 texts"):
        generate.split_words(["nowehre", "Once"])
    assert generate.split_words(["either/or, he said"]) == (bundled, ["either/or, he said"])
    assert generate.split_words([]) == (bundled, [])
    with pytest.raises(FileNotFoundError, match=r"runs/none is no folder"):
        generate.split_words(["runs/none", "Once"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty holds no config\.json"):
        generate.split_words([str(tmp_path / "empty"), "Once"])
    monkeypatch.setattr(generate, "BUNDLED", tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="bundled model is not in"):
        generate.split_words(["Once"])


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "tinyqwen.generate", *map(str, arguments)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        **options,
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["./nowhere", "Once"], "nowhere is no folder"),
        (["nowehre", "Once"], "there is no folder 'nowehre'"),
        (["RUN", PROMPT, "--top-k", "-3"], "a positive integer, or 0 for all tokens, not -3"),
        (["RUN", PROMPT, "--num-beams", "3", "--greedy"], "say it alone"),
        (["RUN", PROMPT, "--top-p", "3"], "top_p must be a number from 0 to 1, not 3.0"),
        (["RUN", PROMPT, "--temperature", "-1"], "temperature must be a number, 0 or more"),
        (["RUN", PROMPT, "--max-new-tokens", "50000"], "do not fit into max_position_embeddings"),
        (["RUN", PROMPT, "--num-samples", "0"], "--num-samples must be at least 1"),
        (["RUN", PROMPT, "--threads", "-1"], "--threads must be at least 0, not -1"),
        (["RUN", PROMPT, "--seed", "-1"], "--seed must be at least 0, not -1"),
        (["RUN", PROMPT, "--system", "Be brief."], "add --chat"),
        (["RUN", PROMPT, "--stop", ""], "stop_strings must be texts that are not empty"),
        (["RUN", PROMPT, "--greedy", "--top-k", "0"], "leave out --top-k"),
        (["RUN", PROMPT, "--greedy", "--temperature", "0.7"], "leave out --temperature"),
        (["RUN", PROMPT, "--temperature", "0", "--do-sample"], "leave out --do-sample"),
        (["RUN", PROMPT, "--greedy", "--num-samples", "2"], "all texts would be the same"),
        (["RUN", PROMPT, "--num-beams", "2", "--num-samples", "2"], "all texts would be the same"),
    ],
)
def test_bad_input_is_refused(folder, arguments, message, capsys):
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)):
        generate.main([str(folder) if word == "RUN" else word for word in arguments])
    assert not capsys.readouterr().out


def test_bad_input_is_one_line_and_exit_2(folder):
    result = command(folder, PROMPT, "--top-p", "3")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "top_p must be a number from 0 to 1, not 3.0" in result.stderr


def test_a_text_under_the_c_locale(folder, parts, stdin, capsys, monkeypatch):
    """Python hands on the bytes of what is no ASCII undecoded, in arguments and in what is read."""
    text = "the caf\u00e9"
    undecoded = text.encode().decode("ascii", "surrogateescape")
    assert generate.split_words([str(folder), undecoded])[1] == [text]
    options = generate.parse_arguments(["--stop", undecoded, "--system", undecoded])
    assert (options.stop, options.system) == ([text], text)
    stdin(undecoded)
    with pytest.warns(UserWarning, match="does not know '\u00e9'"):
        generate.main([str(folder), "--greedy", "--max-new-tokens", "20"])
    assert capsys.readouterr().out == expected(parts, text, do_sample=False)
    typed = iter([undecoded + "\\", undecoded])
    monkeypatch.setattr("builtins.input", lambda _: _next(typed))
    heard = []
    generate.chat(SimpleNamespace(encode_chat=heard.append, show=lambda *_, **__: ""), turns := [])
    assert heard == [turns] and turns[0]["content"] == f"{text}\n{text}"
    stdin("caf\udce9")
    with pytest.raises(ValueError, match=r"is no text in UTF-8 \(byte 3\)"):
        generate.main([str(folder)])


def test_no_prompt_at_a_terminal(folder, stdin):
    with pytest.raises(ValueError, match="no TEXT"):
        generate.main([str(folder)])


def test_output_of_the_command_and_threads(folder, parts):
    for threads in (0, 1):
        result = command(folder, PROMPT, "--greedy", "--max-new-tokens", 20, "--threads", threads)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout == expected(parts, PROMPT, do_sample=False)


def test_closed_streams_and_narrow_code_pages(folder, stdin, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ValueError, match="no TEXT"):
        generate.main([str(folder)])
    environment = os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    result = command(folder, "a \u732b", "--greedy", "--max-new-tokens", 3, env=environment)
    assert result.returncode == 0
    assert "does not know '\\u732b'" in result.stderr
    typed = io.TextIOWrapper(io.BytesIO(b"ab\xff"), "utf-8")
    monkeypatch.setattr(sys, "stdin", typed)
    with pytest.raises(ValueError, match=r"no text in utf-8 \(byte 2\)"):
        generate.main([str(folder)])


@pytest.mark.filterwarnings("ignore:this tokenizer does not know")
def test_a_run_that_learned_to_chat_chats(parts, folder, tmp_path, capsys, stdin, monkeypatch):
    """Without --chat: a TEXT is answered, --system is heard, and a terminal is talked with."""
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    (run / RUN_CONFIG).write_text('{"task": "chat"}')
    system, user = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}
    options = ["--greedy", "--max-new-tokens", "12"]
    generate.main([str(run), "Hi", *options, "--system", "Be brief."])
    assert capsys.readouterr().out == chat_reply(parts, [system, user]) + "\n"
    for more in ([], ["--no-stream"]):
        typed = iter(["Hi"])
        monkeypatch.setattr("builtins.input", lambda _, typed=typed: _next(typed))
        generate.main([str(run), *options, *more])
        assert capsys.readouterr().out == chat_reply(parts, [user]) + "\n\n"
    with pytest.raises(ValueError, match="one answer at a time"):
        generate.main([str(run), "--num-samples", "2"])


def _next(typed):
    try:
        return next(typed)
    except StopIteration:
        raise EOFError from None


def test_what_a_run_never_began_with(folder, tmp_path, parts, monkeypatch):
    """A random model finds nothing impossible: the limit is moved to where all is, or none."""
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / RUN_CONFIG).write_text("{}")
    model, tokenizer = parts
    begun = model.generate([[tokenizer.eos_token_id]], 6)
    begun = tokenizer.decode(begun[0], skip_special_tokens=True).strip()
    for limit in (0.0, 2.0):
        monkeypatch.setattr(generate, "STRANGE", limit)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            generate.main([str(tmp_path / "run"), PROMPT, "--greedy", "--max-new-tokens", "3"])
        told = [str(warning.message) for warning in caught]
        if limit:
            assert f"began like {PROMPT!r}; they began like {begun!r}" in told[0]
        else:
            assert not told


# -- other kinds of models ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    """A random encoder and decoder, and a tokenizer of words."""
    folder = tmp_path_factory.mktemp("translator")
    tokenizer = Tokenizer.train(["the cat sat on the mat and ran"] * 2, kind="word")
    tokenizer.save_pretrained(folder)
    tq.manual_seed(1)
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    config = tq.MarianConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, init_std=0.7,
        encoder_attention_heads=2, encoder_ffn_dim=16, pad_token_id=pad, eos_token_id=end,
        decoder_start_token_id=pad, forced_eos_token_id=None, max_position_embeddings=40,
    )  # fmt: skip
    model = tq.MarianMTModel(config).eval()
    model.generation_config = {"do_sample": False, "eos_token_id": end, "pad_token_id": pad}
    model.save_pretrained(folder)
    return folder, model, tokenizer


@pytest.mark.filterwarnings("ignore:this tokenizer does not know")
def test_a_translator_translates(translator, capsys):
    folder, model, tokenizer = translator
    texts = ["the cat sat", "mat"]

    def alone(text, **options):
        ids = model.generate([tokenizer.encode(text)], 12, **options)[0, 1:]
        return tokenizer.decode(ids, skip_special_tokens=True).strip()

    for flags, options in ([], {}), (["--num-beams", "3"], {"num_beams": 3}):
        for given in ([texts[0]], texts):
            generate.main([str(folder), *given, "--max-new-tokens", "12", *flags])
            printed = [line.strip() for line in capsys.readouterr().out.split("---")]
            assert printed == [alone(text, **options) for text in given]
    with pytest.raises(ValueError, match="MarianMTModel does not chat"):
        generate.main([str(folder), "the cat", "--chat"])


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A random BERT, and WordPiece."""
    folder = tmp_path_factory.mktemp("encoder")
    tokenizer = Tokenizer.train(["the cat sat on the mat and ran"] * 9, kind="wordpiece")
    tokenizer.save_pretrained(folder)
    tq.manual_seed(1)
    config = tq.BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=40, initializer_range=0.7,
    )  # fmt: skip
    model = tq.BertForMaskedLM(config).eval()
    model.save_pretrained(folder)
    return folder, model, tokenizer


def test_a_reader_fills_in(encoder, capsys):
    folder, model, tokenizer = encoder
    text = "the [MASK] sat on the [MASK]"
    generate.main([str(folder), text])
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == text and len(lines) == 11
    ids = tokenizer.encode(text)
    with tq.no_grad():
        logits = model(np.array([ids])).logits.data[0].astype(np.float64)
    places = [i for i, token in enumerate(ids) if token == tokenizer.mask_token_id]
    for place, told in zip(places, (lines[:5], lines[6:])):
        probabilities = np.exp(logits[place]) / np.exp(logits[place]).sum()
        for token, line in zip(np.argsort(-probabilities), told):
            share, word = line.split()
            assert word == tokenizer.decode([token]).strip()
            assert float(share.rstrip("%")) == pytest.approx(100 * probabilities[token], abs=0.06)


def test_a_reader_does_not_continue(encoder):
    for flags, message in ([], r"does not continue it; write \[MASK\]"), (["--chat"], "not chat"):
        with pytest.raises(ValueError, match=message):
            generate.main([str(encoder[0]), "the cat", *flags])


@pytest.mark.parametrize(
    "flag", ["--temperature 0", "--seed 1", "--num-samples 1", "--greedy", "--stop x", "--top-k 0"]
)
def test_a_reader_takes_no_flag_of_writers(encoder, flag):
    with pytest.raises(ValueError, match=f"BertForMaskedLM .* leave out {flag.split()[0]}"):
        generate.main([str(encoder[0]), "the [MASK] sat", *flag.split()])


@pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")
def test_ctrl_c_while_streaming(folder):
    endless = ["--greedy", "--repetition-penalty", "0.1"]  # old tokens are liked better than an end
    process = subprocess.Popen(
        [sys.executable, "-m", "tinyqwen.generate", folder, PROMPT]
        + ["--max-new-tokens", "29000", *endless],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    begun = process.stdout.read(len(PROMPT) + 1)  # it comes while the rest is being made
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=250)
    assert process.returncode == 130
    assert begun.startswith(PROMPT.encode())
    assert errors.strip() == b""
