"""Hugging Face folders: config.json, and safetensors in one file or in shards.

A folder holds config.json, perhaps generation_config.json, and the weights: model.safetensors, or
several files and model.safetensors.index.json, which says which array is in which. Nothing here
knows of models: weights are named arrays.

Nothing is ever unpickled: a folder with only pytorch_model.bin is refused.
"""

import re
from pathlib import Path
from secrets import token_hex

from tinyqwen.autograd.refusals import some
from tinyqwen.storage import safetensors
from tinyqwen.storage.files import file_in, read_json, write_json

CONFIG, GENERATION_CONFIG = "config.json", "generation_config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")


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
        raise ValueError(f"{index}: not found: {some(absent)}")
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


def read_size(size):
    """5000 -> 5000, "200MB" -> 200,000,000."""
    match = re.fullmatch(r"(\d+) ?([KMGT]?)B?", str(size).strip(), re.IGNORECASE)
    limit = int(match[1]) * 1000 ** " KMGT".index(match[2].upper() or " ") if match else 0
    if not limit:
        raise ValueError(f"max_shard_size must be bytes or a string like '200MB', not {size!r}")
    return limit
