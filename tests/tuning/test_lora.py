"""LoRA: its gradient, what it adapts, adapters on one base, files, and what is refused."""

import json

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.storage import safetensors
from tinyqwen.tuning import lora as room
from tinyqwen.tuning.lora import find_targets, lora, low_rank, merge

SMALL = dict(
    **dict(vocab_size=30, hidden_size=16, intermediate_size=24, num_hidden_layers=2),
    **dict(num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=40),
)


def base(seed=0, **changes):
    tq.manual_seed(seed)
    return tq.Qwen2ForCausalLM(tq.Qwen2Config(**{**SMALL, **changes})).eval()


def adapted(model=None, seed=1, name="default", **settings):
    """A model with an adapter that changes something."""
    settings = {"r": 3, "lora_alpha": 6, "target_modules": "all-linear", **settings}
    config = tq.LoraConfig(**settings)
    if isinstance(model, tq.PeftModel):
        model.add_adapter(name, config)
    else:
        model = tq.get_peft_model(model or base(), config, name)
    return randomize(model, name, seed)


def randomize(model, name, seed=1):
    rng = np.random.default_rng(seed)
    for path, parameter in model.named_parameters():
        if f".{name}." in path:
            parameter.data[...] = 0.3 * rng.normal(size=parameter.shape)
    return model


@pytest.fixture
def ids(rng):
    return rng.integers(0, 30, (2, 7))


def logits(model, ids):
    with tq.no_grad():
        return model(ids).logits.data


@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 4)])
def test_gradients_of_the_primitive(rng, shape):
    A, B = rng.normal(size=(2, 4)), rng.normal(size=(3, 2))
    tq.gradcheck(lambda x, A, B: lora(x, A, B, 0.7), rng.normal(size=shape), A, B)


def test_the_primitive_by_hand(rng):
    x, A, B = rng.normal(size=(5, 4)), rng.normal(size=(2, 4)), rng.normal(size=(3, 2))
    expected = [0.5 * B @ (A @ row) for row in x]
    np.testing.assert_allclose(lora.raw(x, A, B, 0.5)[0], expected, rtol=1e-12)
    np.testing.assert_allclose(x @ merge(np.zeros((3, 4)), A, B, 0.5).T, expected, rtol=1e-12)
    np.testing.assert_allclose(lora.raw(x, A, B)[0], x @ (B @ A).T, rtol=1e-12)  # as it is, unless
    np.testing.assert_allclose(merge(A, np.eye(2, 4), np.eye(2)), A + np.eye(2, 4))  # it is said


@pytest.mark.parametrize("shape", [(5, 7), (7, 5)])
def test_low_rank_is_the_nearest(rng, shape):
    """What is lost is what the squared singular values say; any other pair loses more."""
    matrix = rng.normal(size=shape)
    values = np.linalg.svd(matrix, compute_uv=False)
    for r in (1, 3, 5):
        A, B = low_rank(matrix, r)
        assert A.shape == (r, shape[1]) and B.shape == (shape[0], r)
        lost = ((matrix - B @ A) ** 2).sum()
        assert lost == pytest.approx((values[r:] ** 2).sum(), abs=1e-12)
        for _ in range(20):
            moved = [x + 1e-3 * rng.normal(size=x.shape) for x in (B, A)]
            assert ((matrix - moved[0] @ moved[1]) ** 2).sum() > lost
    np.testing.assert_allclose(np.linalg.norm(A, axis=1), np.linalg.norm(B, axis=0))
    for r in (0, 6):
        with pytest.raises(ValueError, match="expected 1 to 5"):
            low_rank(matrix, r)


def test_a_new_adapter_changes_nothing(ids):
    model = base()
    before = logits(model, ids)
    peft = tq.get_peft_model(model, tq.LoraConfig(target_modules="all-linear"))
    np.testing.assert_array_equal(logits(peft, ids), before)


@pytest.mark.parametrize("rslora", [False, True])
def test_merged_is_unmerged(ids, rslora):
    model = adapted(use_rslora=rslora)
    before, names = logits(model, ids), set(base().state_dict())
    merged = model.merge_and_unload()
    np.testing.assert_allclose(logits(merged, ids), before, rtol=1e-5, atol=1e-5)
    assert set(merged.state_dict()) == names
    assert np.abs(before - logits(base(), ids)).max() > 0.1


def test_one_at_a_time_of_several(ids):
    model = adapted(adapted(), seed=2, name="other", r=5, target_modules=["o_proj"])
    alone = {"default": logits(adapted(), ids)}
    alone["other"] = logits(adapted(seed=2, r=5, target_modules=["o_proj"]), ids)
    for name in ("default", "other", "default"):
        model.set_adapter(name)
        np.testing.assert_array_equal(logits(model, ids), alone[name])
    with model.disable_adapter():
        np.testing.assert_array_equal(logits(model, ids), logits(base(), ids))
    np.testing.assert_array_equal(logits(model, ids), alone["default"])
    np.testing.assert_array_equal(logits(model.unload(), ids), logits(base(), ids))


def test_only_the_active_adapter_is_trained(ids):
    model = adapted(adapted(r=1), name="other", r=2)
    for name in ("other", "default"):
        model.set_adapter(name)
        model(ids, labels=ids).loss.backward()
        trained = {path for path, p in model.named_parameters() if p.grad is not None}
        assert trained and all(f".{name}." in path for path in trained)
        assert trained == {path for path, p in model.named_parameters() if p.requires_grad}
        model.zero_grad()
    # q, o: 16 to 16; k, v: 16 to 8; gate, up, down: 16 and 24; rank 1, two layers
    assert model.num_trainable_parameters()[0] == 2 * (2 * 32 + 2 * 24 + 3 * 40)


def test_gradients_against_the_dense_weight(ids):
    """dA = s Bᵀ dW and dB = s dW Aᵀ, where dW is the gradient of the merged weight."""
    model = adapted().astype(np.float64)
    model(ids, labels=ids).loss.backward()
    dense = adapted().astype(np.float64).merge_and_unload().requires_grad_()
    dense(ids, labels=ids).loss.backward()
    weights = dict(dense.named_parameters())
    for path, layer in model.get_base_model().named_modules():
        if isinstance(layer, room.LoraLinear):
            A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            dW = weights[f"{path}.weight"].grad
            np.testing.assert_allclose(A.grad, 2 * B.data.T @ dW, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(B.grad, 2 * dW @ A.data.T, rtol=1e-9, atol=1e-12)


def test_dropout_is_on_the_adapter_alone_and_in_training(ids):
    model = adapted(lora_dropout=1.0)
    assert np.abs(logits(model, ids) - logits(base(), ids)).max() > 0.1
    np.testing.assert_array_equal(logits(model.train(), ids), logits(base(), ids))


def test_it_is_used_as_its_base_is(ids):
    model = adapted()
    merged = adapted().merge_and_unload()
    settings = dict(max_new_tokens=6, do_sample=False)
    np.testing.assert_array_equal(model.generate(ids, **settings), merged.generate(ids, **settings))
    model.gradient_checkpointing_enable()
    model(ids, labels=ids).loss.backward()
    recomputed = [p.grad for p in model.parameters() if p.requires_grad]
    model.gradient_checkpointing_enable(False)
    model.zero_grad()
    model(ids, labels=ids).loss.backward()
    for a, p in zip(recomputed, (p for p in model.parameters() if p.requires_grad)):
        np.testing.assert_allclose(a, p.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "targets, count",
    [("all-linear", 14), (None, 4), (["k_proj"], 2), (["0.self_attn.k_proj"], 1)]
    + [(r".*\.1\.mlp\.(up|down)_proj", 2), (r".*_proj", 14), (["lm_head", "q_proj"], 3)],
)
def test_what_is_adapted(targets, count):
    config = tq.LoraConfig(target_modules=targets)
    model = base()
    paths = list(find_targets(model, config))
    assert len(paths) == count
    assert list(find_targets(tq.get_peft_model(model, config).get_base_model(), config)) == paths


def test_files(tmp_path, ids):
    model = adapted(adapted(), name="other", seed=3, target_modules=["q_proj"])
    model.save_pretrained(tmp_path)
    again = tq.PeftModel.from_pretrained(base(), tmp_path)
    again.load_adapter(tmp_path / "other", "other")
    assert not any(p.requires_grad for p in again.parameters())
    for name in ("default", "other"):
        for one in (model, again):
            one.set_adapter(name)
        np.testing.assert_array_equal(logits(again, ids), logits(model, ids))
    trainable = tq.PeftModel.from_pretrained(base(), tmp_path, is_trainable=True)
    assert trainable.training and trainable.num_trainable_parameters()[0] > 0


def test_a_new_head_is_trained_whole_and_stored(tmp_path, ids):
    def classifier():
        tq.manual_seed(0)
        return tq.Qwen2ForSequenceClassification(tq.Qwen2Config(**SMALL, pad_token_id=0)).eval()

    config = tq.LoraConfig(r=2, target_modules="all-linear", task_type="SEQ_CLS")
    model = randomize(tq.get_peft_model(classifier(), config), "default")
    assert model.score.weight.requires_grad
    model.score.weight.data += 1
    model.save_pretrained(tmp_path)
    again = tq.PeftModel.from_pretrained(classifier(), tmp_path)
    np.testing.assert_array_equal(logits(again, ids), logits(model, ids))
    for refused in (
        lambda: adapted(model, name="other"),
        lambda: model.disable_adapter().__enter__(),
    ):
        with pytest.raises(ValueError, match="modules_to_save"):
            refused()


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"hidden_size": 24}, r"rank 3 for another base.*q_proj.lora_A.weight has shape \(3, 16\)"),
        ({"num_hidden_layers": 1}, r"layers.1.self_attn.q_proj.lora_A.weight is unexpected"),
        ({"num_hidden_layers": 3}, r"layers.2.self_attn.q_proj.lora_A.weight is missing"),
    ],
)
def test_an_adapter_for_another_base_is_refused(tmp_path, changes, words):
    adapted(target_modules=["q_proj"]).save_pretrained(tmp_path)
    model = base(**changes)
    before = repr(model)
    with pytest.raises(ValueError, match=words) as error:
        tq.PeftModel.from_pretrained(model, tmp_path)
    assert str(error.value).startswith(str(tmp_path)) and "\n" not in str(error.value)
    assert repr(model) == before and all(p.requires_grad for p in model.parameters())


def change_config(folder, **values):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    "values, words",
    [
        ({"r": 4}, r"rank 4 .* has shape \(3, 16\), expected \(4, 16\)"),
        ({"r": 0}, "r must be a positive integer, not 0"),
        ({"lora_alpha": "8"}, "lora_alpha must be a number"),
        ({"lora_dropout": 1.5}, "lora_dropout must be from 0 to 1"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"use_dora": True}, "use_dora is True: not supported"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern"),
        ({"bias": "all"}, "bias 'all'"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"target_modules": ["query"]}, "has no such linear layer"),
        ({"target_modules": ["q_proj", "norm"]}, "norm .*not a linear layer"),
    ],
)
def test_bad_configs_are_refused(tmp_path, values, words):
    adapted(target_modules=["q_proj"]).save_pretrained(tmp_path)
    change_config(tmp_path, **values)
    with pytest.raises(ValueError, match=words):
        tq.PeftModel.from_pretrained(base(), tmp_path)


def test_more_that_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"adapter_config\.json"):
        tq.PeftModel.from_pretrained(base(), tmp_path)
    model = adapted()
    for name in ("default", "a.b", "", "train"):
        with pytest.raises(ValueError, match="adapter"):
            adapted(model, name=name)
    with pytest.raises(ValueError, match="no adapter 'other'; expected one of 'default'"):
        model.set_adapter("other")
    tied = adapted(base(tie_word_embeddings=True), target_modules=["lm_head"])
    with pytest.raises(ValueError, match="lm_head shares its weight"):
        tied.merge_and_unload()
    model.save_pretrained(tmp_path)
    arrays = safetensors.load(tmp_path / "adapter_model.safetensors")[0]
    integers = {name: array.astype(np.int32) for name, array in arrays.items()}
    safetensors.save(tmp_path / "adapter_model.safetensors", integers)
    with pytest.raises(ValueError, match="has dtype I32, expected a floating-point type"):
        tq.PeftModel.from_pretrained(base(), tmp_path)


def test_how_much_an_adapter_weighs_and_how_it_begins():
    assert (tq.LoraConfig().r, tq.LoraConfig().scaling) == (8, 1.0)
    assert tq.LoraConfig(r=16, lora_alpha=8).scaling == 0.5
    assert tq.LoraConfig(r=16, lora_alpha=8, use_rslora=True).scaling == 2.0
    for how, deviation, most in ((True, 0.25 / 3**0.5, 0.25), ("gaussian", 1 / 12, 1.0)):
        config = tq.LoraConfig(r=12, target_modules="all-linear", init_lora_weights=how)
        model = tq.get_peft_model(base().astype(np.float64), config)
        values = [p for n, p in model.named_parameters() if ".q_proj.lora_A" in n]
        values = np.concatenate([p.data.ravel() for p in values])  # of 16 inputs
        assert values.std() == pytest.approx(deviation, rel=0.1) and abs(values).max() <= most
        assert {p.dtype for p in model.parameters()} == {np.dtype(np.float64)}
        assert not any(p.data.any() for n, p in model.named_parameters() if ".lora_B" in n)


def test_what_is_left_out_and_what_is_trained_whole():
    model = base()

    def found(**settings):
        return list(find_targets(model, tq.LoraConfig(**settings)))

    assert found(target_modules=["q_proj", "o_proj"], exclude_modules=["0.self_attn.q_proj"]) == [
        "model.layers.0.self_attn.o_proj", "model.layers.1.self_attn.q_proj",
        "model.layers.1.self_attn.o_proj",
    ]  # fmt: skip
    whole = found(target_modules="all-linear", modules_to_save=["down_proj"])
    assert len(whole) == 12 and not any(path.endswith("down_proj") for path in whole)
    with pytest.raises(ValueError, match="no such linear layer"):
        found(target_modules=["proj"])  # the end of a name is no name
    for kind in ("SEQ_CLS", "TOKEN_CLS"):
        assert tq.LoraConfig(task_type=kind).modules_to_save == ["classifier", "score"]


@pytest.mark.parametrize("training", [False, True])
def test_a_new_adapter_trains_where_its_model_does(ids, training):
    model = adapted(base().train(training), lora_dropout=1.0)
    silent = np.array_equal(logits(model, ids), logits(base(), ids))
    assert model.training == training == silent


def test_a_read_adapter_is_for_use_unless_it_is_to_be_trained(tmp_path, ids):
    adapted(lora_dropout=1.0).save_pretrained(tmp_path)
    for trainable in (False, True):
        model = tq.PeftModel.from_pretrained(base().train(), tmp_path, is_trainable=trainable)
        silent = np.array_equal(logits(model, ids), logits(base(), ids))
        assert silent == trainable and any(p.requires_grad for p in model.parameters()) == trainable
        model.load_adapter(tmp_path, "other", is_trainable=trainable)
        others = [p for n, p in model.named_parameters() if ".other." in n]
        assert {p.requires_grad for p in others} == {trainable}
        model.set_adapter("other")
        trained = [n for n, p in model.named_parameters() if p.requires_grad]
        assert trained and all(".other." in name for name in trained)


def test_a_square_layer_of_gpt2_is_merged_the_right_way_round(ids):
    """Its weight is (in, out): of a square one the shape does not tell."""
    config = dict(vocab_size=30, n_embd=16, n_layer=2, n_head=2, n_positions=12)
    model = tq.GPT2LMHeadModel(tq.GPT2Config(**config)).eval()
    model = adapted(model, target_modules=["attn.c_proj", "c_attn"], fan_in_fan_out=True)
    before = logits(model, ids)
    np.testing.assert_allclose(logits(model.merge_and_unload(), ids), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("packed", [False, True])
def test_what_is_saved_merged_stays_as_it_was(tmp_path, ids, packed):
    model = base(hidden_size=32, intermediate_size=32)
    model = adapted(tq.quantize(model, 4, 8) if packed else model, target_modules=["q_proj"])
    before, printed, settings = logits(model, ids), repr(model), dict(model.config.extra)
    model.save_merged(tmp_path)
    np.testing.assert_array_equal(logits(model, ids), before)
    assert repr(model) == printed and model.config.extra == settings
    merged = tq.Qwen2ForCausalLM.from_pretrained(tmp_path)
    np.testing.assert_allclose(logits(merged, ids), before, rtol=1e-3, atol=1e-4)


def test_notes_of_peft_are_kept_and_what_is_switched_off_is_no_matter(tmp_path):
    adapted(target_modules=["q_proj"]).save_pretrained(tmp_path)
    change_config(tmp_path, peft_version="0.17", use_dora=False, rank_pattern={}, r=3)
    config = tq.PeftModel.from_pretrained(base(), tmp_path).peft_config["default"]
    config.save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "adapter_config.json").read_text())
    assert stored["peft_version"] == "0.17" and stored["peft_type"] == "LORA"


@pytest.mark.parametrize(
    ("path", "names", "found"),
    [
        ("model.layers.0.q_proj", ["k_proj", "q_proj"], True),
        ("model.layers.0.q_proj", ["0.q_proj"], True),
        ("q_proj", ["q_proj"], True),
        ("model.aq_proj", ["q_proj"], False),
        ("model.q_proj.inner", ["q_proj"], False),
        ("model.q_proj", r".*q_pro.", True),
        ("model.q_proj", r"q_proj", False),  # a regular expression is of the whole path
        ("model.q_proj", [], False),
        ("model.q_proj", None, False),
    ],
)
def test_which_paths_are_named(path, names, found):
    assert room.matches(path, names) is found


def test_settings_at_their_limits():
    assert tq.LoraConfig(lora_alpha=0).scaling == 0
    assert tq.LoraConfig(r=1, lora_alpha=1e9, lora_dropout=1).scaling == 1e9


@pytest.mark.parametrize(
    "wrong",
    [{"r": True}, {"r": 8.0}, {"r": -1}, {"lora_alpha": True}, {"lora_alpha": -1e-9},
     {"lora_alpha": 1.1e9}, {"lora_dropout": -0.1}, {"lora_dropout": 1.01},
     {"lora_dropout": None}, {"init_lora_weights": False}, {"bias": None}],
)  # fmt: skip
def test_settings_behind_their_limits(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        tq.LoraConfig(**wrong)


def test_settings_that_make_no_difference_are_kept():
    notes = {"peft_version": "0.1", "revision": "main", "loftq_config": {}}
    assert tq.LoraConfig(extra=notes).extra == notes
    made = [
        tq.LoraConfig(task_type=kind).modules_to_save for kind in ("SEQ_CLS", "TOKEN_CLS", None)
    ]
    assert made == [["classifier", "score"]] * 2 + [None]
    own = tq.LoraConfig(task_type="SEQ_CLS", modules_to_save=["score"])
    assert own.modules_to_save == ["score"]
