"""Marian against transformers: its files, and what it writes, by all settings of generation."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import tinyqwen as tq  # noqa: E402

SMALL = {
    **{"vocab_size": 50, "d_model": 16, "max_position_embeddings": 40, "init_std": 0.3},
    **{"encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32},
    **{"decoder_layers": 3, "decoder_attention_heads": 4, "decoder_ffn_dim": 24},
    **{"pad_token_id": 49, "decoder_start_token_id": 49, "eos_token_id": 0},
}
KINDS = {
    "opus-mt": {"activation_function": "swish", "scale_embedding": True},
    "2017": {"activation_function": "relu", "scale_embedding": True, "tie_word_embeddings": True},
    "two tables": {
        **{"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 44},
        **{"pad_token_id": 43, "decoder_start_token_id": 43, "activation_function": "gelu"},
    },
}
KIND = pytest.mark.parametrize("kind", KINDS, scope="module")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """{kind: a folder that transformers has written}; weights, norms and biases are random."""
    folders = {}
    generator = torch.Generator().manual_seed(0)
    for kind, more in KINDS.items():
        config = transformers.MarianConfig(**SMALL | more, attn_implementation="eager")
        model = transformers.MarianMTModel(config)
        with torch.no_grad():
            for name, parameter in [*model.named_parameters(), *model.named_buffers()]:
                if "embed_positions" not in name:
                    mean = 1.0 if "norm.weight" in name else 0.0
                    noise = torch.randn(parameter.shape, generator=generator)
                    parameter.copy_(mean + 0.4 * noise)
        model.generation_config.bad_words_ids = [[config.pad_token_id]]
        model.generation_config.renormalize_logits = True
        folders[kind] = tmp_path_factory.mktemp("marian")
        model.save_pretrained(folders[kind])
    return folders


def theirs(folder):
    model = transformers.MarianMTModel.from_pretrained(folder, attn_implementation="eager")
    for half in (model.model.encoder, model.model.decoder):
        half.embed_positions.requires_grad_(False)  # as it is in a model that was not loaded
    return model.double().eval()


@pytest.fixture(scope="module")
def models(folders):
    """{kind: (ours, theirs)}, in float64: what differs then is no rounding."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield {
        kind: (tq.MarianMTModel.from_pretrained(folder, dtype=np.float64), theirs(folder))
        for kind, folder in folders.items()
    }
    torch.set_num_threads(threads)


def batch(pad):
    """Sources padded on the right, on the left, and not at all; targets, one of them padded."""
    rng = np.random.default_rng(0)
    ids, labels = rng.integers(1, 43, (3, 9)), rng.integers(1, 43, (3, 7))
    mask = np.ones_like(ids)
    mask[1, 6:] = mask[2, :3] = 0
    ids[mask == 0] = pad
    labels[0, 4:] = labels[1, 2] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def close(ours, theirs, what, atol=1e-10):
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape, what
    np.testing.assert_allclose(ours.data, theirs, rtol=0, atol=atol, err_msg=what)


@KIND
@pytest.mark.filterwarnings("ignore:.*not used by MarianModel. final_logits_bias")
def test_files_and_print(folders, models, kind, tmp_path):
    ours, theirs = models[kind]
    assert str(ours) == str(theirs)
    states = theirs.state_dict()
    own = ours.state_dict()
    assert {name: tuple(x.shape) for name, x in states.items()} == {
        name: x.shape for name, x in own.items()
    }
    close(own["model.decoder.embed_positions.weight"],
          states["model.decoder.embed_positions.weight"], "positions")  # fmt: skip
    tq.MarianMTModel.from_pretrained(folders[kind]).save_pretrained(tmp_path)
    again = transformers.MarianMTModel.from_pretrained(tmp_path)
    for name, x in again.state_dict().items():
        np.testing.assert_array_equal(x.numpy(), states[name].float().numpy(), err_msg=name)
    names = {*theirs.config.to_dict()} - {"dtype", "_name_or_path"}
    for name in names:
        assert getattr(again.config, name) == getattr(theirs.config, name), name
    body = tq.MarianModel.from_pretrained(tmp_path, dtype=np.float64)
    given = batch(theirs.config.pad_token_id)
    labels = given.pop("labels").clip(0)
    expected = theirs.model(
        **{name: torch.from_numpy(x) for name, x in given.items()},
        decoder_input_ids=torch.from_numpy(labels),
    )
    close(body(**given, decoder_input_ids=labels).last_hidden_state,
          expected.last_hidden_state, "body")  # fmt: skip


WRITING = [
    {},
    {"num_beams": 4},
    {"num_beams": 3, "num_return_sequences": 2, "length_penalty": 2.0, "use_cache": False},
    {"num_beams": 4, "early_stopping": True, "forced_bos_token_id": 5, "bad_words_ids": [[3, 8]]},
    {"num_beams": 2, "no_repeat_ngram_size": 2, "repetition_penalty": 1.5},
]


@pytest.mark.parametrize("options", WRITING, ids=str)
@KIND
def test_what_it_writes(models, kind, options):
    ours, theirs = models[kind]
    given = batch(theirs.config.pad_token_id)
    del given["labels"]
    tensors = {name: torch.from_numpy(x) for name, x in given.items()}
    for new in (6, 25):
        expected = theirs.generate(**tensors, max_new_tokens=new, **options).numpy()
        result = ours.generate(**given, max_new_tokens=new, **options)
        np.testing.assert_array_equal(result, expected)
        assert (result[:, 0] == theirs.config.decoder_start_token_id).all()
