"""Compare the line of decoders, GPT-2 to Qwen3, for chapter 16: same stories, same processor time.

    python data/compare_decoders.py SEED …           train all of them, once for each seed
    python data/compare_decoders.py SEED … --fine-tune        L_FT + λ L_PT, for several λ

Each decoder of `tinyqwen.analysis.decoders` gets as many steps as `SECONDS` of one processor pay
for: the first run measures what a step costs. Seconds are the process's own, so that a busy
machine changes little; steps of all decoders are timed in turns, so that it changes all alike. A
seed takes a minute or two. What is found is added to data/decoders.json, and no run is repeated:
delete the file to begin anew.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import numpy as np

import tinyqwen as tq
from tinyqwen import functional as F
from tinyqwen.analysis.decoders import Decoder, line
from tinyqwen.optim import AdamW, clip_grad_norm_, cosine_with_warmup, decay_groups
from tinyqwen.parallel.resources import keep_memory
from tinyqwen.storage.files import read_json, write_json
from tinyqwen.text.corpus_files import split_files
from tinyqwen.training.data import open_corpus, prepare_corpus

DATA = Path(__file__).parent
TABLE = DATA / "decoders.json"
SECONDS, ROWS, LENGTH, RATE, WARMUP = 6, 8, 96, 3e-3, 20
TEXTS = 100  # with labels, for fine-tuning


def train(model, rows, steps, rate, seed=0, warmup=WARMUP):
    """Train in place with AdamW and a cosine schedule; yields after every step."""
    optimizer = AdamW(decay_groups(model, 0.1), rate, betas=(0.9, 0.95))
    for step in range(steps):
        ids = rows.batch(seed, step, ROWS)
        loss = model(ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(optimizer.params, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = cosine_with_warmup(step, rate, warmup, steps)
        optimizer.step()
        yield loss.item()


def validation_loss(model, rows):
    """Nats per token of all validation stories."""
    nats = 0.0
    with tq.no_grad():
        for batch in rows.evaluation_batches(32):
            count = int((batch["labels"][:, 1:] != -100).sum())
            nats += count * model(batch["input_ids"], labels=batch["labels"]).loss.item()
    return nats / rows.num_targets


def cost(rows, steps=30):
    """Processor seconds of a training step of each decoder: the median over `steps`, in turns."""
    tq.manual_seed(0)
    models = {name: Decoder(config) for name, config in line().items()}
    runs = {name: train(model, rows, steps, RATE) for name, model in models.items()}
    taken = {name: [] for name in runs}
    for _ in range(steps):
        for name, run in runs.items():
            began = time.process_time()
            next(run)
            taken[name].append(time.process_time() - began)
    return {
        name: {
            "parameters": models[name].num_parameters(),
            "milliseconds": round(1000 * float(np.median(taken[name])), 1),
            "steps": round(SECONDS / float(np.median(taken[name]))),
        }
        for name in runs
    }


def fine_tuned(seed, lm_weight, count, tokenizer, held_out, steps=50, rows=16):
    """The bundled model, fine-tuned on `count` labelled stories: how often it is right about unseen
    ones, and how well it still writes, in nats per token of the validation stories.
    """
    texts, labels = labelled("train", tokenizer)
    picked = np.random.default_rng(seed).permutation(len(texts))[:count]
    tq.manual_seed(seed)
    model = tq.AutoModelForSequenceClassification.from_pretrained(
        DATA / "model", num_labels=2, pad_token_id=0
    )
    optimizer, rng = AdamW(decay_groups(model, 0.1), 5e-4), np.random.default_rng(seed)
    for step in range(steps):
        batch = rng.choice(picked, rows)
        ids, mask = filled([texts[i] for i in batch])
        out = model(ids, attention_mask=mask, output_hidden_states=True)
        table = model.model.embed_tokens.weight
        loss = F.fine_tuning_loss(
            *(out.logits, out.hidden_states[-1], table, labels[batch], ids, mask), lm_weight
        )
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(optimizer.params, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = cosine_with_warmup(step, 5e-4, 10, steps)
        optimizer.step()
    texts, labels = labelled("validation", tokenizer)
    right = 0
    with tq.no_grad():
        for first in range(0, len(texts), 50):
            ids, mask = filled(texts[first : first + 50])
            guesses = model(ids, attention_mask=mask).logits.numpy().argmax(-1)
            right += int((guesses == labels[first : first + 50]).sum())
    writer = story_writer()
    writer.model.load_state_dict(model.model.state_dict())
    nats = validation_loss(writer, held_out)
    return {"accuracy": round(right / len(texts), 4), "loss": round(nats, 4)}


def story_writer():
    """The bundled model as it comes."""
    return tq.AutoModelForCausalLM.from_pretrained(DATA / "model").eval()


def labelled(split, tokenizer):
    """Token ids of the labelled stories, and their labels as numbers."""
    lines = (DATA / "labels" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    names = sorted({record["label"] for record in records})
    texts = [np.array(tokenizer.encode(record["text"])) for record in records]
    return texts, np.array([names.index(record["label"]) for record in records])


def filled(texts):
    """Rows of one length, zeros behind the shorter ones, and their mask."""
    longest = max(map(len, texts))
    ids = np.stack([np.pad(text, (0, longest - len(text))) for text in texts])
    return ids, (np.arange(longest) < [[len(text)] for text in texts]).astype(int)


def found():
    """The table, as far as it is filled."""
    return read_json(TABLE) if TABLE.exists() else {}


def done(name, run):
    """Whether one of the table's lists has a run of these settings."""
    return any(run.items() <= other.items() for other in found().get(name, ()))


def add(name, run):
    """Append a run to one of the table's lists."""
    print(json.dumps(run), flush=True)
    table = found()
    write_json(TABLE, {**table, name: [*table.get(name, ()), run]})


def compare_lm_weights(seeds, tokenizer, held_out):
    if "before_tuning" not in found():
        loss = round(validation_loss(story_writer(), held_out), 4)
        write_json(TABLE, {**found(), "before_tuning": {"loss": loss}})
    for seed in seeds:
        for lm_weight in (0.0, 0.5, 2.0):
            run = {"seed": seed, "texts": TEXTS, "lm_weight": lm_weight}
            if not done("fine_tuning", run):
                results = fine_tuned(seed, lm_weight, TEXTS, tokenizer, held_out)
                add("fine_tuning", {**run, **results})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="+", type=int, metavar="SEED")
    parser.add_argument("--fine-tune", action="store_true", help="compare λ instead")
    args = parser.parse_args()
    keep_memory()
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = tq.Tokenizer.from_pretrained(DATA / "model")
        prepare_corpus(split_files(DATA / "stories"), tokenizer, folder, LENGTH)
        rows, held_out, floor = open_corpus(folder, tokenizer.vocab_size, LENGTH)
        if args.fine_tune:
            return compare_lm_weights(args.seeds, tokenizer, held_out)
        if "decoders" not in found():
            facts = {"seconds": SECONDS, "floor": round(floor, 4), "decoders": cost(rows)}
            write_json(TABLE, {**found(), **facts})
        for seed in args.seeds:
            for name, config in line().items():
                run = {"decoder": name, "seed": seed}
                if done("runs", run):
                    continue
                tq.manual_seed(seed)
                model, steps = Decoder(config), found()["decoders"][name]["steps"]
                for _ in train(model, rows, steps, RATE, seed):
                    pass
                add("runs", {**run, "loss": round(validation_loss(model, held_out), 4)})


if __name__ == "__main__":
    main()
