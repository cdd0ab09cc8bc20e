"""Looking inside a model, and the four patients of chapter 13."""

import importlib.util
import json

import numpy as np
import pytest
from model_families import our_model

import tinyqwen as tq
from tinyqwen.analysis import interpret
from tinyqwen.course import faulty_models
from tinyqwen.text.corpus_files import split_files
from tinyqwen.training.data import open_corpus, prepare_corpus

DATA = faulty_models.ROOT / "data"
CHECKS = {name: getattr(faulty_models, f"check_{name}") for name in faulty_models.NAMES}


def small_model(**options):
    sizes = {"vocab_size": 19, "hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3}
    tq.manual_seed(0)
    return tq.Qwen2ForCausalLM(tq.Qwen2Config(**{**sizes, **heads, **options}))


def drawn_ids(rows=2, length=9, kinds=19):
    return np.random.default_rng(1).integers(0, kinds, (rows, length))


def small_gpt2():
    sizes = {"vocab_size": 19, "n_embd": 24, "n_layer": 3, "n_head": 4, "initializer_range": 0.3}
    tq.manual_seed(0)
    return tq.GPT2LMHeadModel(tq.GPT2Config(**sizes, bos_token_id=1, eos_token_id=1)).eval()


# ---------------------------------------------------------------------------------------------
# Scores, lens, ablation
# ---------------------------------------------------------------------------------------------


def test_scores_against_loops():
    rng = np.random.default_rng(0)
    weights, ids = rng.random((2, 3, 8, 8)), rng.integers(0, 4, (2, 8))
    previous, induction = [], []
    for head in range(3):
        w = weights[:, head]
        previous.append(np.mean([w[b, t, t - 1] for b in range(2) for t in range(1, 8)]))
        sums = []
        for b in range(2):
            for t in range(8):
                keys = [s for s in range(1, t + 1) if ids[b, s - 1] == ids[b, t]]
                sums += [sum(w[b, t, s] for s in keys)] if keys else []
        induction.append(np.mean(sums))
    np.testing.assert_allclose(interpret.previous_token_score(weights), previous, rtol=1e-12)
    np.testing.assert_allclose(interpret.induction_score(weights, ids), induction, rtol=1e-12)
    scores = interpret.head_scores(small_model(), drawn_ids())
    assert {s.shape for s in scores.values()} == {(3, 4)}
    assert all((s >= 0).all() and (s <= 1).all() for s in scores.values())


def test_scores_of_what_has_nothing_to_score():
    """One token has none before it; of tokens that are all different none comes again."""
    one = np.ones((2, 3, 1, 1), np.float32)
    four = np.full((1, 3, 4, 4), 0.25, np.float32)
    for score in (
        interpret.previous_token_score(one),
        interpret.induction_score(one, [[1], [1]]),
        interpret.induction_score(four, [[1, 2, 3, 4]]),
    ):
        assert score.tolist() == [0, 0, 0] and score.dtype == np.float32
    assert interpret.previous_token_score(four).dtype == np.float32


def test_where_a_curve_has_bent():
    """At 6 the fall from 10 to 0 is 9 of 10; the last step may have risen again."""
    assert interpret.bend_of([(0, 10.0), (3, 1.1), (6, 1.0), (9, 0.0), (12, 5.0)]) == 6
    assert interpret.bend_of([(5, 2.0), (6, 3.0)]) == 5


def test_lens_ends_in_the_models_logits_and_begins_at_the_embeddings():
    model, ids = small_model(rms_norm_eps=0.01), drawn_ids()
    model.model.norm.weight.data[...] = np.linspace(0.5, 2, 24)
    lens = interpret.layer_logits(model, ids)
    assert lens.shape == (4, 2, 9, 19)
    np.testing.assert_allclose(lens[-1], model(ids).logits.numpy(), rtol=1e-5, atol=1e-5)
    first = model.lm_head(model.model.norm(model.model.embed_tokens(ids))).numpy()
    np.testing.assert_allclose(lens[0], first, rtol=1e-5, atol=1e-5)


def test_ablation_is_the_model_whose_head_has_no_values():
    model, ids = small_model(num_key_value_heads=4), drawn_ids()
    losses = interpret.ablation_losses(model, ids)
    whole = model(ids, labels=ids).loss.item()
    for layer, head in ((0, 3), (2, 1)):
        silent = small_model(num_key_value_heads=4)
        values = silent.model.layers[layer].self_attn.v_proj
        values.weight.data[6 * head : 6 * head + 6] = 0
        values.bias.data[6 * head : 6 * head + 6] = 0
        expected = silent(ids, labels=ids).loss.item()
        assert losses[layer, head] == pytest.approx(expected, rel=1e-6)
        assert abs(expected - whole) > 1e-4
    assert model(ids, labels=ids).loss.item() == whole  # the weights are back
    with pytest.raises(ValueError, match=r"head 4 is not there; there are 4, from 0 to 3"):
        interpret.ablate_head(np.zeros((24, 24)), 4, 6)


def test_stream_is_the_sum_of_what_was_added():
    model, ids = small_model(), drawn_ids()
    seen = interpret.residual_stream(model, ids)
    assert seen["stream"].shape == (4, 2, 9, 24) and seen["mlp"].shape == (3, 2, 9, 24)
    total = seen["stream"][0] + seen["attention"].sum(0) + seen["mlp"].sum(0)
    np.testing.assert_allclose(seen["stream"][-1], total, rtol=1e-5, atol=1e-5)
    states = model(ids, output_hidden_states=True).hidden_states
    np.testing.assert_array_equal(seen["stream"][2], states[2].numpy())
    last = model.model.norm(tq.Tensor(seen["stream"][-1])).numpy()
    np.testing.assert_allclose(last, states[-1].numpy(), rtol=1e-5, atol=1e-6)


def test_recording_ends_with_the_block_and_keeps_gradients():
    model, ids = small_model(), drawn_ids()
    layer = model.model.layers[1]
    with interpret.recorded({"layer": layer, "mlp": layer.mlp}) as seen:
        loss = model(ids, labels=ids).loss
        model(ids)
    assert [len(outputs) for outputs in seen.values()] == [2, 2]
    assert tq.grad(loss, seen["mlp"][0]).shape == (2, 9, 24)
    model(ids)
    assert len(seen["mlp"]) == 2 and "forward" not in vars(layer)
    faulty_models.plant(model, "no causal mask")
    planted = layer.forward
    with pytest.raises(ZeroDivisionError), interpret.recorded({"layer": layer}):
        raise ZeroDivisionError
    assert layer.forward is planted


# ---------------------------------------------------------------------------------------------
# The patients
# ---------------------------------------------------------------------------------------------


def test_each_check_finds_its_patient_and_no_other():
    ids = drawn_ids(3, 12, 512)
    for name in (*faulty_models.NAMES, "sound"):
        seen = faulty_models.views(faulty_models.load(name))
        assert {k: c(*seen, ids) for k, c in CHECKS.items()} == {k: k != name for k in CHECKS}


def test_a_fault_in_one_layer_leaves_the_others_alone():
    whole = small_model(num_hidden_layers=2)
    ids = drawn_ids()
    first = interpret.residual_stream(whole, ids)["stream"][1]
    for fault in faulty_models.FAULTS:
        model = faulty_models.plant(small_model(num_hidden_layers=2), fault, layers=[1])
        stream = interpret.residual_stream(model, ids)["stream"]
        np.testing.assert_array_equal(stream[1], first)
        assert np.abs(model(ids).logits.numpy() - whole(ids).logits.numpy()).max() > 1e-3
    with pytest.raises(ValueError, match="'flu' cannot be planted; there are: no causal mask"):
        faulty_models.plant(whole, "flu")
    with pytest.raises(ValueError, match="there is no faulty model 'e'"):
        faulty_models.load("e")


@pytest.mark.parametrize("fault", faulty_models.FAULTS)
def test_a_fault_has_the_gradient_of_what_it_computes(fault):
    model = faulty_models.plant(small_model(num_hidden_layers=2, hidden_size=8), fault)
    model.astype(np.float64)
    ids, weight = drawn_ids(3, 4), model.model.layers[0].mlp.up_proj.weight

    def loss(weight):
        return model(ids, labels=ids).loss

    (gradient,) = tq.grad(loss(weight), [weight])
    for index in ((0, 0), (7, 3), (19, 7)):
        value, h = weight.data[index], 1e-5
        weight.data[index] = value + h
        above = loss(weight).item()
        weight.data[index] = value - h
        numeric = (above - loss(weight).item()) / (2 * h)
        weight.data[index] = value
        assert gradient[index] == pytest.approx(numeric, rel=1e-5, abs=1e-9)


@pytest.mark.nightly
def test_the_program_trains_them_with_their_faults(tmp_path):
    """The first losses are the committed ones, and what was saved has learned."""
    spec = importlib.util.spec_from_file_location(
        "make_faulty_models", DATA / "make_faulty_models.py"
    )
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    tokenizer = tq.Tokenizer.from_pretrained(DATA / "model")
    prepare_corpus(split_files(DATA / "stories"), tokenizer, tmp_path, program.LENGTH)
    rows, _, floor = open_corpus(tmp_path, tokenizer.vocab_size, program.LENGTH)
    for name in (*faulty_models.NAMES, "sound"):
        folder = faulty_models.FOLDER / name
        assert sum(file.stat().st_size for file in folder.iterdir()) < 300_000
        committed = json.loads((folder / "losses.json").read_text(encoding="utf-8"))
        assert len(committed) == program.STEPS / 10
        assert (committed[-1] < floor) == (name == "b")
        losses = program.train(program.new_model(name, tokenizer), rows, stop=21)
        assert losses[::10] == pytest.approx(committed[:3], rel=2e-3)
        ids = rows.batch(0, program.STEPS - 10, program.ROWS)
        with tq.no_grad():
            again = faulty_models.load(name)(ids, labels=ids).loss.item()
        assert again == pytest.approx(committed[-1], abs=0.02)


def test_mean_pooled_heads_of_equal_heads_changes_no_output():
    """Where the heads of a group are one head, repeated, one is as good as all."""
    rng = np.random.default_rng(0)
    few = rng.standard_normal((3, 4, 7))  # heads, size, inputs
    many = np.repeat(few, 2, axis=0).reshape(-1, 7)
    np.testing.assert_allclose(interpret.mean_pooled_heads(many, 4, 2), few.reshape(-1, 7))
    two = np.array([[1.0], [2.0], [5.0], [10.0]])
    np.testing.assert_allclose(interpret.mean_pooled_heads(two, 2, 2), [[3.0], [6.0]])
    with pytest.raises(ValueError, match="no multiple of 3 heads"):
        interpret.mean_pooled_heads(many[:16], 4, 3)


def test_attention_rollout_by_hand():
    """One head that looks back in two layers: half stays, half comes from before."""
    look_back = np.array([[1.0, 0.0], [1.0, 0.0]])
    out = interpret.attention_rollout(np.stack([look_back, look_back])[:, None, None])
    np.testing.assert_allclose(out, [[[1, 0], [0.75, 0.25]]])


def test_principal_components_keep_distances_and_are_uncorrelated():
    vectors = np.random.default_rng(1).standard_normal((9, 4)) * [3, 2, 1, 0.5]
    flat = interpret.principal_components(vectors, 4)
    for i in range(9):
        own = np.linalg.norm(vectors - vectors[i], axis=1)
        np.testing.assert_allclose(np.linalg.norm(flat - flat[i], axis=1), own)
    covariance = np.cov(flat.T)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-12)
    assert (np.diff(np.diag(covariance)) < 0).all()
    assert (flat[np.abs(flat).argmax(0), range(4)] > 0).all()


# ---------------------------------------------------------------------------------------------
# Other families
# ---------------------------------------------------------------------------------------------


def test_inside_gpt2():
    """Its stream adds up, its lens ends in its logits, and a head that is cut adds nothing."""
    model, ids = small_gpt2(), drawn_ids()
    for name, parameter in model.named_parameters():
        if "ln_" in name or name.endswith("bias"):
            parameter.data += tq.manual_seed(1).normal(0, 0.3, parameter.shape)
    parts = interpret.residual_stream(model, ids)
    stream = parts["stream"]
    np.testing.assert_allclose(
        stream[1:], stream[:-1] + parts["attention"] + parts["mlp"], rtol=1e-5, atol=1e-5
    )
    body = model.transformer
    embedded = body.wte(ids).numpy() + body.wpe(np.arange(9)).numpy()
    np.testing.assert_allclose(stream[0], embedded, rtol=1e-6)
    lens = interpret.layer_logits(model, ids)
    np.testing.assert_allclose(lens[-1], model(ids).logits.numpy(), rtol=1e-5, atol=1e-5)
    for i in range(3):
        said = model.lm_head(body.ln_f(stream[i])).numpy()
        np.testing.assert_allclose(lens[i], said, rtol=1e-5, atol=1e-5)
    before = model.transformer.h[1].attn.c_proj.weight.data.copy()
    losses = interpret.ablation_losses(model, ids)
    np.testing.assert_array_equal(model.transformer.h[1].attn.c_proj.weight.data, before)
    silent = small_gpt2()
    silent.load_state_dict(model.state_dict())
    values = silent.transformer.h[1].attn.c_attn
    values.weight.data[:, 48 + 12 : 48 + 18] = 0  # of the third head: queries, keys, values of 24
    values.bias.data[48 + 12 : 48 + 18] = 0
    assert losses[1, 2] == pytest.approx(silent(ids, labels=ids).loss.item(), rel=1e-6)
    assert {s.shape for s in interpret.head_scores(model, ids).values()} == {(3, 4)}


@pytest.mark.parametrize("family", ["bert", "marian"])
def test_who_has_no_stream(family):
    model = our_model(family)
    for look in (interpret.residual_stream, interpret.ablation_losses):
        with pytest.raises(ValueError, match="is no decoder whose layers add to a stream"):
            look(model, drawn_ids())


def test_heads_of_a_reader_are_scored():
    scores = interpret.head_scores(our_model("bert"), drawn_ids())
    assert {s.shape for s in scores.values()} == {(3, 4)}
