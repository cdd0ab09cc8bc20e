"""Models to and from Hugging Face folders: config.json, safetensors in one file or in shards.

A folder holds config.json, perhaps generation_config.json, and the weights: model.safetensors, or
several files and model.safetensors.index.json, which says which array is in which. Nothing here
knows of a particular model: names and shapes are the module tree's.

Nothing is ever unpickled: a folder with only pytorch_model.bin is refused.
"""

import re
import warnings
from contextlib import nullcontext
from pathlib import Path
from secrets import token_hex

import numpy as np

from tinyqwen import nn
from tinyqwen.functional.memory_layout import laid_in_a_row
from tinyqwen.storage import safetensors
from tinyqwen.storage.files import file_in, make_folder, read_json, write_json

CONFIG, GENERATION_CONFIG = "config.json", "generation_config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
IGNORED = re.compile(r"rotary_emb\.inv_freq$")  # a table that old checkpoints stored
BAR_BYTES = 1 << 28  # weights that take long enough to read for a progress bar


class PreTrainedModel(nn.Module):
    """A model with a config that is loaded from and saved to a Hugging Face folder.

    A subclass sets `config_class` (with `from_dict` and `to_dict`), and builds its module tree from
    a config alone; a body, as opposed to a body in the attribute `model` and a head, sets
    `base_model_prefix` to "".
    """

    config_class = None
    base_model_prefix = "model"
    fresh_head = False  # True for a head that a pretrained checkpoint need not have
    generation_config = None

    @classmethod
    def from_pretrained(cls, path, dtype=np.float32):
        """Load a folder's weights, whatever floating-point type they are stored in, as `dtype`.

        A body loads from a checkpoint with a head, and a model with a head from one without it if
        the head is a classifier, to be trained. The model is in evaluation mode.

        Warns (UserWarning) of arrays that are not used, of heads that are new and random, of NaN
        and infinity in the weights (they load: one may want to look at them), and of tied weights
        that are stored twice and differ (they are untied then, as transformers does).

        Raises FileNotFoundError, or ValueError, in one line: a config of another architecture or of
        a model that cannot be; arrays missing, unexpected or misshapen, all listed by name; files
        damaged or cut off; links and shard names that lead out of the folder; weights only as
        pickles.
        """
        if dtype not in (np.float32, np.float64, float, "float32", "float64"):
            raise ValueError(f"dtype must be float32 or float64, not {dtype}")
        path, dtype = Path(path), np.dtype(dtype)
        config = read_config(path, cls.config_class)
        entries = find_weights(path)
        with nn.empty_parameters():
            model = cls(config)
        entries = _fit_prefix(model, path, entries)
        jobs = _match(model, path, entries)
        arrays = laid_in_a_row([parameter.shape for parameter, _ in jobs], dtype)
        for (parameter, _), array in zip(jobs, arrays):
            parameter.data = array
        _read(path, jobs)
        model.generation_config = {}
        if (path / GENERATION_CONFIG).exists():
            model.generation_config = read_json(file_in(path, GENERATION_CONFIG))
        return model.eval()

    def save_pretrained(self, path, max_shard_size="5GB"):
        """Write a folder that `from_pretrained`, and transformers', open.

        path: made if it is not there. max_shard_size: bytes, or a string like "200MB"; larger
        models are written in shards, with an index. Tied weights are written once.

        A crash leaves the old weights or the new ones, also when they are in shards. Raises OSError
        that names the file if it cannot be written, ValueError for a model without weights.
        """
        path, limit = Path(path), _bytes(max_shard_size)
        arrays = {name: parameter.data for name, parameter in self.named_parameters()}
        for name, parameter in self.named_parameters():
            if not nn.has_memory(parameter):
                raise ValueError(f"{name} has a shape but no values; there is nothing to save")
        make_folder(path)
        config = self.config.to_dict()
        config.pop("torch_dtype", None)  # the old name of dtype, perhaps with another value
        dtype = next(iter(arrays.values())).dtype.name
        config.update(architectures=[type(self).__name__], dtype=dtype)
        write_json(path / CONFIG, config)
        if self.generation_config:
            write_json(path / GENERATION_CONFIG, self.generation_config)
        write_weights(path, arrays, limit)


# ---------------------------------------------------------------------------------------------
# Folders
# ---------------------------------------------------------------------------------------------


def read_config(path, config_class):
    """The config of a folder, or of a config.json itself; errors begin with the file's name."""
    path = Path(path)
    file = path if path.is_file() or path.suffix == ".json" else file_in(path, CONFIG)
    try:
        return config_class.from_dict(read_json(file))
    except (TypeError, AttributeError) as error:  # a value of a kind that no config has
        raise ValueError(f"{file}: {error}") from error
    except ValueError as error:
        if str(error).startswith(str(file)):
            raise
        raise ValueError(f"{file}: {error}") from error


def find_weights(folder):
    """{name: safetensors.Entry} of all arrays in a folder, from one file or its shards."""
    folder = Path(folder)
    if (folder / WEIGHTS).exists():
        return safetensors.read_header(file_in(folder, WEIGHTS))[0]
    if (folder / INDEX).exists():
        return _find_shards(folder)
    for name in PICKLES:
        if (folder / name).exists():
            raise ValueError(
                f"{folder / name}: a pickle, which may run any code, is not opened; convert it "
                "with transformers' save_pretrained, which writes safetensors"
            )
    raise FileNotFoundError(f"{folder}: no {WEIGHTS} and no {INDEX} there")


def _find_shards(folder):
    index = file_in(folder, INDEX)
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(f, str) for f in weight_map.values()):
        raise ValueError(f"{index}: has no weight_map of array names to file names")
    shards = {f: safetensors.read_header(file_in(folder, f))[0] for f in set(weight_map.values())}
    absent = [f"{name} in {file}" for name, file in weight_map.items() if name not in shards[file]]
    if absent:
        raise ValueError(f"{index}: not found: {', '.join(absent)}")
    return {name: shards[file][name] for name, file in weight_map.items()}


def write_weights(folder, arrays, limit):
    """Write {name: array} as model.safetensors, or as shards of at most `limit` bytes and an index.

    The file that a reader looks at first is replaced last, and what it no longer needs is deleted
    after that: at no moment does a reader find half of the old weights and half of the new.
    """
    folder, metadata = Path(folder), {"format": "pt"}  # what transformers asks for
    old = set(_find_shard_files(folder))
    shards = _split(arrays, limit)
    if len(shards) == 1:
        safetensors.save(folder / WEIGHTS, arrays, metadata)
        new = set()
        (folder / INDEX).unlink(missing_ok=True)
    else:
        stem = f"model-{token_hex(4)}" if old else "model"  # never over a shard that is in use
        files = [f"{stem}-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
        for file, names in zip(files, shards):
            safetensors.save(folder / file, {name: arrays[name] for name in names}, metadata)
        index = {
            "metadata": {"total_size": sum(array.nbytes for array in arrays.values())},
            "weight_map": {name: file for file, names in zip(files, shards) for name in names},
        }
        write_json(folder / INDEX, index)
        new = set(files)
        (folder / WEIGHTS).unlink(missing_ok=True)
    for file in old - new:
        (folder / file).unlink(missing_ok=True)


def _find_shard_files(folder):
    pattern = re.compile(r"model-([0-9a-f]{8}-)?\d{5}-of-\d{5}\.safetensors")
    return [file.name for file in folder.iterdir() if pattern.fullmatch(file.name)]


def _split(arrays, limit):
    """Names in the arrays' order, in lists whose arrays together take at most `limit` bytes."""
    shards, room = [[]], limit
    for name, array in arrays.items():
        if array.nbytes > room and shards[-1]:
            shards.append([])
            room = limit
        shards[-1].append(name)
        room -= array.nbytes
    return shards


def _bytes(size):
    """5000 -> 5000, "200MB" -> 200,000,000."""
    match = re.fullmatch(r"(\d+) ?([KMGT]?)B?", str(size).strip(), re.IGNORECASE)
    limit = int(match[1]) * 1000 ** " KMGT".index(match[2].upper() or " ") if match else 0
    if not limit:
        raise ValueError(f"max_shard_size must be bytes or a string like '200MB', not {size!r}")
    return limit


# ---------------------------------------------------------------------------------------------
# Arrays and parameters
# ---------------------------------------------------------------------------------------------


def _fit_prefix(model, path, entries):
    """Rename a checkpoint's arrays if it has a head and the model has none, or the reverse."""
    entries = {name: entry for name, entry in entries.items() if not IGNORED.search(name)}
    body = PreTrainedModel.base_model_prefix + "."
    has_head = any(name.startswith(body) for name in entries)
    if model.base_model_prefix and not has_head:
        own = set(model.state_dict())
        return {name if name in own else body + name: entry for name, entry in entries.items()}
    if not model.base_model_prefix and has_head:
        _warn_unused(model, path, [name for name in entries if not name.startswith(body)])
        return {
            name.removeprefix(body): entry
            for name, entry in entries.items()
            if name.startswith(body)
        }
    return entries


def _warn_unused(model, path, names):
    if names:
        warnings.warn(
            f"{path}: not used by {type(model).__name__}: {', '.join(names)}", stacklevel=4
        )


def _match(model, path, entries):
    """(parameter, entry) pairs; all that does not match is told at once."""
    names = {}  # parameter id -> its names, several if it is tied
    own = dict(model.named_parameters(remove_duplicate=False))
    for name, parameter in own.items():
        names.setdefault(id(parameter), []).append(name)

    unexpected = [name for name in entries if name not in own]
    if model.fresh_head:
        head = [n for n in unexpected if not n.startswith(f"{model.base_model_prefix}.")]
        _warn_unused(model, path, head)
        unexpected = [name for name in unexpected if name not in head]
    problems = [f"{name} is unexpected" for name in unexpected]

    jobs, new = [], []
    for group in names.values():
        stored = [name for name in group if name in entries]
        for name in stored:
            entry = entries[name]
            if entry.shape != own[name].shape:
                problems.append(f"{name} has shape {entry.shape}, expected {own[name].shape}")
            elif entry.dtype not in safetensors.FLOATS:
                problems.append(f"{name} has dtype {entry.dtype}, expected a floating-point type")
        if stored:
            jobs.append((own[stored[0]], entries[stored[0]]))
        elif model.fresh_head and not group[0].startswith(f"{model.base_model_prefix}."):
            new.append(group[0])
        else:
            problems.append(f"{group[0]} is missing")
        for name in stored[1:]:
            if not problems and not safetensors.same_bytes(entries[name], entries[stored[0]]):
                jobs.append((_untie(model, path, name, stored[0]), entries[name]))
    if problems:
        raise ValueError(f"{path}: does not fit {type(model).__name__}: {'; '.join(problems)}")
    if new:
        warnings.warn(f"{path}: new and random, to be trained: {', '.join(new)}", stacklevel=3)
        for name in new:
            own[name].data = np.zeros(own[name].shape, np.float32)
        model.post_init()  # initializes what has memory, and that is only these
    return jobs


def _untie(model, path, name, other):
    warnings.warn(
        f"{path}: {name} and {other} are tied by the config, but stored with different values; "
        "they are loaded as two",
        stacklevel=4,
    )
    *parents, attribute = name.split(".")
    module = model
    for parent in parents:
        module = dict(module.named_children())[parent]
    with nn.empty_parameters():
        parameter = nn.Parameter(getattr(module, attribute).data)
    setattr(module, attribute, parameter)
    model.config.tie_word_embeddings = False
    return parameter


def _read(path, jobs):
    total = sum(entry.nbytes for _, entry in jobs)
    bar = nullcontext()
    if total >= BAR_BYTES:
        from tqdm import tqdm  # a third of the time of `import tinyqwen`, for large models alone

        bar = tqdm(total=total, unit="B", unit_scale=True, desc="loading", disable=None)
    with bar as shown:
        bad = safetensors.read_into(
            [(entry, parameter.data) for parameter, entry in jobs], shown and shown.update
        )
    if bad:
        warnings.warn(f"{path}: NaN or infinity in {', '.join(sorted(bad))}", stacklevel=3)
