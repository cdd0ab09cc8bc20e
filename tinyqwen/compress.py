"""`python -m tinyqwen.compress RUN OUT`: a smaller relative of a model, by one way of four."""

import shlex
import shutil
import tempfile
from pathlib import Path

from tinyqwen.cli import ArgumentParser, path, run
from tinyqwen.models.auto import AutoConfig, AutoModelForCausalLM, architecture
from tinyqwen.storage.files import make_folder
from tinyqwen.text.tokenizer import Tokenizer
from tinyqwen.training.train_config import RUN_CONFIG
from tinyqwen.tuning.pruning import prune_heads, prune_layers, prune_weights
from tinyqwen.tuning.quantization import quantize
from tinyqwen.tuning.texts import STORIES, calibration_and_validation, mean_loss


def parse_arguments(arguments=None):
    """Command line -> argparse.Namespace."""
    parser = ArgumentParser(
        prog="python -m tinyqwen.compress",
        description="Write a smaller relative of the model in RUN to the new folder OUT.",
        epilog="A pruned model heals with a little training: "
        "python -m tinyqwen.train --init-from OUT --learning-rate 5e-4",
    )
    add = parser.add_argument
    checkpoint = "a run, or another checkpoint of a model that continues text"
    add("run", type=path, metavar="RUN", help=checkpoint)
    add("out", type=path, metavar="OUT", help="a folder that is not there yet")
    way = parser.add_mutually_exclusive_group(required=True).add_argument
    way("--bits", type=int, metavar="8|4|2", help="quantize the weights")
    way("--prune-heads", type=int, metavar="N", help="cut N attention heads out of every layer")
    way("--prune-layers", type=int, metavar="N", help="cut out N neighboring layers")
    way("--sparsity", metavar="P", help="set this share of the weights to zero; 2:4: two of four")
    add("--group-size", type=int, metavar="N", help="weights that share a scale (128)")
    add("--method", help="of --bits: rtn, gptq (rtn); of --sparsity: magnitude, wanda (wanda)")
    text = "text to calibrate and measure on (bundled stories)"
    add("--data", type=path, default=str(STORIES), metavar="PATH", help=text)
    add("--texts", type=int, default=128, metavar="N", help="documents to calibrate on (128)")
    options = parser.parse_args(arguments)
    methods = {"bits": ("rtn", "gptq"), "sparsity": ("wanda", "magnitude")}
    known = next((m for name, m in methods.items() if getattr(options, name) is not None), ())
    if options.method is None:
        options.method = known[0] if known else None
    elif options.method not in known:
        raise ValueError(f"--method {options.method} is not for this: {' or '.join(known) or '-'}")
    if options.group_size is not None and options.bits is None:
        raise ValueError("--group-size is for --bits")
    if options.texts < 1:
        raise ValueError(f"--texts must be at least 1, not {options.texts}")
    if options.sparsity not in (None, "2:4"):
        try:
            options.sparsity = float(options.sparsity)
        except ValueError:
            raise ValueError(
                f"--sparsity must be above 0 and below 1, or 2:4, not {options.sparsity}"
            ) from None
    return options


def compress(model, options, texts):
    """The model made smaller as the options say."""
    if options.bits is not None:
        size = 128 if options.group_size is None else options.group_size
        settings = {"group_size": size, "method": options.method}
        return quantize(model, options.bits, calibration=texts, **settings)
    if options.prune_heads is not None:
        return prune_heads(model, options.prune_heads, texts)
    if options.prune_layers is not None:
        return prune_layers(model, options.prune_layers, texts)
    return prune_weights(model, options.sparsity, texts if options.method == "wanda" else None)


def main(arguments=None):
    """The command; returns the exit status."""
    options = parse_arguments(arguments)
    folder, out = Path(options.run), Path(options.out)
    if out.exists():
        raise FileExistsError(f"{out} exists already; choose another folder")
    kind = architecture(AutoConfig.from_pretrained(folder))
    if not kind.__name__.endswith(AutoModelForCausalLM.endings):
        raise ValueError(f"{folder} holds a {kind.__name__}; compress takes models that write on")
    model = kind.from_pretrained(folder)
    tokenizer = Tokenizer.from_pretrained(folder)
    length = min(model.config.max_sequence_length, 512)
    texts, held_out = calibration_and_validation(tokenizer, options.data, options.texts, length)
    before = mean_loss(model, held_out)
    model = compress(model, options, texts)
    after = mean_loss(model, held_out)
    _write(out, folder, model, tokenizer)
    sizes = [sum(f.stat().st_size for f in p.glob("*.safetensors")) for p in (folder, out)]
    sizes[0] -= sum(f.stat().st_size for f in folder.glob("trainer_state.safetensors"))
    print(f"weights on disk  {sizes[0]:>13,} -> {sizes[1]:>13,} bytes  ({sizes[1] / sizes[0]:.3f})")
    print(f"validation loss  {before:>13.4f} -> {after:>13.4f} nats   ({after - before:+.4f})")
    prompt = " ".join(tokenizer.decode(texts[0][0], skip_special_tokens=True).split()[:4])
    print(f"Try:  python -m tinyqwen.generate {shlex.quote(str(out))} {shlex.quote(prompt)}")
    return 0


def _write(out, folder, model, tokenizer):
    """Write all of OUT beside it, and give it its name when it is whole."""
    make_folder(out.parent)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as room:
        whole = Path(room) / out.name
        model.save_pretrained(whole)
        tokenizer.save_pretrained(whole)
        if (folder / RUN_CONFIG).exists():
            shutil.copy(folder / RUN_CONFIG, whole)
        whole.rename(out)


if __name__ == "__main__":
    run(main)
