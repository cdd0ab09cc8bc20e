"""Checkpoints damaged in thousands of ways: each loads, or is refused as documented, and soon.

Bytes are flipped, cut, inserted and repeated anywhere in any file; values in the JSON files and
headers are replaced by ones that somebody hostile might choose. (A flipped bit inside an array
cannot be noticed: the format has no checksum.)
"""

import random
import shutil
import time
import tracemalloc
import warnings
from pathlib import Path

import pytest
from damage import damage

import tinyqwen as tq

SOURCE = Path(__file__).resolve().parents[1] / "fixtures" / "tiny_model"


@pytest.mark.parametrize(
    ("first", "number"), [(0, 100), pytest.param(1000, 12_000, marks=pytest.mark.nightly)]
)
@pytest.mark.timeout(1200)
def test_damaged_checkpoints(tmp_path, first, number):
    folder = tmp_path / "damaged"
    shutil.copytree(SOURCE, folder)
    files, outcomes = sorted(SOURCE.iterdir()), {"loaded": 0, "refused": 0}
    for seed in range(first, first + number):
        r = random.Random(seed)
        file = folder / r.choice(files).name
        before = file.read_bytes()
        file.write_bytes(damage(file, r))
        tracemalloc.start()
        start = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                model = tq.Qwen2ForCausalLM.from_pretrained(folder)
            assert model.num_parameters() == sum(p.data.size for p in model.parameters())
            assert all(tq.nn.has_memory(p) for p in model.parameters())
            outcomes["loaded"] += 1
        except (ValueError, FileNotFoundError) as error:
            assert str(folder) in str(error), f"seed {seed}: {error!r}"
            assert "\n" not in str(error), f"seed {seed}: {error!r}"
            outcomes["refused"] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}, {file.name}") from error
        seconds, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert seconds < 10 and peak < 50e6, f"seed {seed}: {seconds:.1f} s, {peak / 1e6:.0f} MB"
        file.write_bytes(before)
    assert min(outcomes.values()) > number / 20, outcomes
