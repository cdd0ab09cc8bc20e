"""Adapters from peft open here with its logits and gradients, and ours open there."""

import copy
import warnings

import numpy as np
import pytest

import tinyqwen as tq

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
transformers.utils.logging.set_verbosity_error()

SMALL = dict(
    **dict(vocab_size=30, hidden_size=16, intermediate_size=24, num_hidden_layers=2),
    **dict(num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=40),
)
CASES = [
    dict(r=4, lora_alpha=6, target_modules="all-linear"),
    dict(r=2, target_modules=["q_proj", "v_proj"], use_rslora=True),
    dict(r=3, target_modules=r".*\.1\..*(up|down)_proj", lora_dropout=0.2),
    dict(r=2, target_modules="all-linear", exclude_modules=["o_proj"]),
    dict(r=2, task_type="SEQ_CLS", target_modules="all-linear"),
]
HEADS = {"SEQ_CLS": "Qwen2ForSequenceClassification"}
HEADS_DEFAULT = "Qwen2ForCausalLM"


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def bases(case):
    """The same random base, ours and theirs."""
    name = HEADS.get(case.get("task_type"), HEADS_DEFAULT)
    theirs = getattr(transformers, name)(transformers.Qwen2Config(**SMALL, pad_token_id=0)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    ours = getattr(tq, name)(tq.Qwen2Config(**SMALL, pad_token_id=0)).eval()
    ours.load_state_dict({name: p.numpy() for name, p in theirs.state_dict().items()})
    return ours, theirs


def same(ours, theirs, rng):
    """Logits, loss and the gradients of everything trained."""
    ids = rng.integers(1, 30, (2, 6))
    classifier = "Classification" in type(ours.get_base_model()).__name__
    labels = np.array([1, 0]) if classifier else ids
    expected = theirs(torch.tensor(ids), labels=torch.tensor(labels))
    expected.loss.backward()
    found = ours(ids, labels=labels)
    found.loss.backward()
    np.testing.assert_allclose(found.logits.data, expected.logits.detach(), rtol=2e-5, atol=2e-5)
    gradients = {}
    for name, parameter in theirs.named_parameters():
        if parameter.grad is not None:
            gradients[name.replace("modules_to_save.default.", "")] = parameter.grad.numpy()
    trained = {name: p.grad for name, p in ours.named_parameters() if p.requires_grad}
    assert set(trained) == set(gradients) and trained
    for name, gradient in gradients.items():
        size = np.abs(gradient).max()
        np.testing.assert_allclose(trained[name], gradient, rtol=0, atol=3e-5 * size, err_msg=name)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_theirs_open_here(tmp_path, case, rng):
    ours, theirs = bases(case)
    theirs = peft.get_peft_model(theirs, peft.LoraConfig(**case))
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape))
    theirs.save_pretrained(tmp_path)
    same(tq.PeftModel.from_pretrained(ours, tmp_path, is_trainable=True).eval(), theirs.eval(), rng)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_ours_open_there(tmp_path, case, rng):
    ours, theirs = bases(case)
    ours = tq.get_peft_model(ours, tq.LoraConfig(**case))
    for name, parameter in ours.named_parameters():
        if "lora_B" in name:
            parameter.data[...] = 0.2 * rng.normal(size=parameter.shape)
    ours.save_pretrained(tmp_path)
    theirs = peft.PeftModel.from_pretrained(theirs, tmp_path, is_trainable=True)
    same(ours.eval(), theirs.eval(), rng)


def test_merged_alike(tmp_path, rng):
    ours, theirs = bases({})
    ours = tq.get_peft_model(ours, tq.LoraConfig(r=2, lora_alpha=5, target_modules="all-linear"))
    for name, parameter in ours.named_parameters():
        if "lora_B" in name:
            parameter.data[...] = 0.2 * rng.normal(size=parameter.shape)
    ours.save_pretrained(tmp_path)
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(theirs), tmp_path).merge_and_unload()
    merged = ours.merge_and_unload().state_dict()
    for name, weight in theirs.state_dict().items():
        np.testing.assert_allclose(merged[name], weight.numpy(), rtol=1e-5, atol=1e-6, err_msg=name)


def test_gpt2_and_its_transposed_layers(tmp_path, rng):
    sizes = dict(vocab_size=30, n_embd=16, n_layer=2, n_head=2, n_positions=20)
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes)).eval()
    theirs.save_pretrained(tmp_path / "base")
    case = dict(r=2, lora_alpha=5, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True)
    theirs = peft.get_peft_model(theirs, peft.LoraConfig(**case))
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape))
    theirs.save_pretrained(tmp_path / "adapter")

    def ours():
        base = tq.GPT2LMHeadModel.from_pretrained(tmp_path / "base")
        return tq.PeftModel.from_pretrained(base, tmp_path / "adapter", is_trainable=True).eval()

    same(ours(), theirs.eval(), rng)
    ids = rng.integers(0, 30, (2, 6))
    with tq.no_grad():
        merged, adapted = (m(ids).logits.data for m in (ours().merge_and_unload(), ours()))
    np.testing.assert_allclose(merged, adapted, rtol=1e-5, atol=1e-5)
