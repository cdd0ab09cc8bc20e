"""Every example in the library's docstrings gives what it says."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

import tinyqwen

PACKAGE = Path(tinyqwen.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(f.relative_to(PACKAGE.parent).with_suffix("").parts)
    for f in PACKAGE.rglob("*.py")
    if re.search(r"^ +>>> ", f.read_text("utf-8"), re.M)
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_docstring_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted and not result.failed
