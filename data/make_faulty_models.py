"""Train the patients of chapter 13: one sound model, and four with a fault in their code.

python data/make_faulty_models.py [NAME …]       a b c d sound; all of them unless named

All have one size, one seed, one recipe and the tokenizer of data/model; only the fault differs.
Each takes a minute or two. data/faulty_models/NAME/ is a checkpoint in float16, with losses.json:
the loss of every tenth step, in nats per token.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

import tinyqwen as tq
from tinyqwen.course import faulty_models
from tinyqwen.optim import AdamW, clip_grad_norm_, cosine_with_warmup, decay_groups
from tinyqwen.text.corpus_files import split_files
from tinyqwen.training.data import open_corpus, prepare_corpus

DATA = Path(__file__).parent
STEPS, ROWS, LENGTH, RATE, WARMUP = 1000, 16, 96, 4e-3, 40
SIZES = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.08,
    "tie_word_embeddings": True,
}


def new_model(name, tokenizer):
    """The untrained model, with the fault of patient `name` unless that is "sound"."""
    tq.manual_seed(0)
    end = tokenizer.eos_token_id
    model = tq.Qwen2ForCausalLM(tq.Qwen2Config(**SIZES, bos_token_id=end, eos_token_id=end))
    return model if name == "sound" else faulty_models.plant(model, faulty_models.diagnoses()[name])


def train(model, rows, stop=STEPS):
    """Train in place, the first `stop` steps of the recipe; returns the loss of every step."""
    optimizer = AdamW(decay_groups(model, 0.1), RATE, betas=(0.9, 0.95))
    losses = []
    for step in range(stop):
        ids = rows.batch(0, step, ROWS)
        loss = model(ids, labels=ids, skip_logits=True).loss
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(optimizer.params, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = cosine_with_warmup(step, RATE, WARMUP, STEPS)
        optimizer.step()
        losses.append(loss.item())
    return losses


def make(name, rows, tokenizer):
    """Train one patient, or the sound model, and write its folder; returns the loss at the end."""
    model = new_model(name, tokenizer)
    losses = train(model, rows)
    model.astype(np.float16).save_pretrained(faulty_models.FOLDER / name)
    text = json.dumps([round(loss, 4) for loss in losses[::10]])
    (faulty_models.FOLDER / name / "losses.json").write_text(text + "\n", encoding="utf-8")
    return np.mean(losses[-50:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    everyone = (*faulty_models.NAMES, "sound")
    parser.add_argument("names", nargs="*", choices=everyone, default=everyone, metavar="NAME")
    names = parser.parse_args().names
    tokenizer = tq.Tokenizer.from_pretrained(DATA / "model")
    with tempfile.TemporaryDirectory() as folder:
        prepare_corpus(split_files(DATA / "stories"), tokenizer, folder, LENGTH)
        rows, _, floor = open_corpus(folder, tokenizer.vocab_size, LENGTH)
        print(f"no model can be below {floor:.3f} on average")
        for name in names:
            print(f"{name}: loss {make(name, rows, tokenizer):.3f}", flush=True)


if __name__ == "__main__":
    main()
