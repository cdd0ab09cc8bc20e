"""Folders between us and transformers, both ways: equal logits, equal arrays, equal names."""

import json

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.storage import safetensors

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

SMALL = {
    **{"vocab_size": 50, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64},
    **{"pad_token_id": 0, "rope_theta": 5e4},
}
IDS = np.random.default_rng(0).integers(1, 50, (2, 7))
HEADS = ["ForCausalLM", "ForSequenceClassification", "ForTokenClassification", "Model"]


def output(out):
    out = out.last_hidden_state if getattr(out, "logits", None) is None else out.logits
    return out.detach().numpy() if isinstance(out, torch.Tensor) else out.data


def assert_equal_outputs(ours, theirs, tolerance=1e-5):
    ours = output(ours(IDS))
    with torch.no_grad():
        theirs = output(theirs.eval()(torch.tensor(IDS)))
    assert np.abs(ours - theirs).max() < tolerance * np.abs(theirs).max()


def their_model(head, seed=0, **changes):
    torch.manual_seed(seed)
    config = transformers.Qwen2Config(**{**SMALL, **changes})
    model = getattr(transformers, "Qwen2" + head)(config)
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases too
            parameter.normal_(0.2, 0.3)
    return model


def auto(head):
    return getattr(transformers, "AutoModel" + head.removeprefix("Model"))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("shard_size", ["5GB", 8000])
def test_both_ways(tmp_path, head, tied, shard_size):
    theirs = their_model(head, tie_word_embeddings=tied, num_labels=3)
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size=shard_size)
    ours = getattr(tq, "Qwen2" + head).from_pretrained(tmp_path / "theirs")
    assert repr(ours) == str(theirs)
    assert_equal_outputs(ours, theirs)

    ours.save_pretrained(tmp_path / "ours", max_shard_size=shard_size)
    back, report = auto(head).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert type(back) is type(theirs)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert_equal_outputs(ours, back)
    for name, parameter in theirs.state_dict().items():
        np.testing.assert_array_equal(back.state_dict()[name], parameter, err_msg=name)


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16, torch.float64])
def test_stored_types(tmp_path, stored):
    theirs = their_model("ForCausalLM").to(stored)
    theirs.save_pretrained(tmp_path)
    ours = tq.Qwen2ForCausalLM.from_pretrained(tmp_path)
    for name, parameter in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name], parameter.float(), err_msg=name)
    ours.save_pretrained(tmp_path / "again")  # float32 now, and the config says so
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "again")
    assert back.dtype == torch.float32
    assert_equal_outputs(ours, back)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_our_types(tmp_path, dtype):
    config = tq.Qwen2Config(**SMALL)
    tq.Qwen2ForCausalLM(config).astype(dtype).save_pretrained(tmp_path)
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert str(back.dtype) == f"torch.{np.dtype(dtype)}"


def test_both_spellings_of_rope(tmp_path):
    theirs = their_model("ForCausalLM")
    theirs.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    assert config.pop("rope_parameters")["rope_theta"] == 5e4
    for rope in (
        {"rope_parameters": {"rope_theta": 5e4, "rope_type": "default"}},
        {"rope_theta": 5e4},
        {"rope_theta": 5e4, "rope_scaling": None},
        {"rope_theta": 1e4, "rope_parameters": {"rope_theta": 5e4, "rope_type": "default"}},
    ):
        file.write_text(json.dumps({**config, **rope}))
        assert_equal_outputs(tq.Qwen2ForCausalLM.from_pretrained(tmp_path), theirs)


def test_what_version_4_wrote(tmp_path):
    """A config.json as the hub holds them: other names, and names that have gone."""
    theirs = their_model("ForCausalLM", tie_word_embeddings=True)
    theirs.save_pretrained(tmp_path)
    old = {
        **{"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 43},
        **{"eos_token_id": 43, "hidden_act": "silu", "hidden_size": 24, "initializer_range": 0.02},
        **{"intermediate_size": 40, "max_position_embeddings": 64, "max_window_layers": 24},
        **{"model_type": "qwen2", "num_attention_heads": 4, "num_hidden_layers": 2},
        **{"num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 50000.0},
        **{"sliding_window": 32768, "tie_word_embeddings": True, "torch_dtype": "bfloat16"},
        **{"transformers_version": "4.40.1", "use_cache": True, "use_mrope": False},
        **{"use_sliding_window": False, "vocab_size": 50},
    }
    (tmp_path / "config.json").write_text(json.dumps(old))
    ours = tq.Qwen2ForCausalLM.from_pretrained(tmp_path)
    assert_equal_outputs(ours, theirs)
    ours.save_pretrained(tmp_path / "again")
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "again")
    assert back.dtype == torch.float32 and back.config.eos_token_id == 43
    assert_equal_outputs(ours, back)


def test_tied_but_stored_twice_and_different(tmp_path):
    their_model("ForCausalLM", tie_word_embeddings=True).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    arrays, metadata = safetensors.load(file)
    arrays["lm_head.weight"] = arrays["model.embed_tokens.weight"][::-1]
    safetensors.save(file, arrays, metadata)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="tied by the config"):
        ours = tq.Qwen2ForCausalLM.from_pretrained(tmp_path)
    assert_equal_outputs(ours, theirs)


def test_a_body_gets_a_head_as_theirs_does(tmp_path):
    their_model("Model", tie_word_embeddings=True).save_pretrained(tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert_equal_outputs(tq.Qwen2ForCausalLM.from_pretrained(tmp_path), theirs)

    theirs.save_pretrained(tmp_path / "whole")
    body = transformers.AutoModel.from_pretrained(tmp_path / "whole")
    assert_equal_outputs(tq.Qwen2Model.from_pretrained(tmp_path / "whole"), body)


def test_generation_config(tmp_path):
    theirs = their_model("ForCausalLM")
    theirs.generation_config.update(do_sample=True, temperature=0.7, top_k=20)
    theirs.save_pretrained(tmp_path)
    ours = tq.Qwen2ForCausalLM.from_pretrained(tmp_path)
    assert ours.generation_config["temperature"] == 0.7 and ours.generation_config["top_k"] == 20
    ours.save_pretrained(tmp_path / "again")
    back = transformers.GenerationConfig.from_pretrained(tmp_path / "again")
    assert (back.do_sample, back.temperature, back.top_k) == (True, 0.7, 20)
