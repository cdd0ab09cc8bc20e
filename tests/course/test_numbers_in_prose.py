"""Every number that a chapter's prose tells is one that a cell nearby prints, or is given to it.

Those that no cell prints stand in the notebook's own metadata, each with the reason: `chapter`,
`numbers`.
"""

import json
import re

import pytest

from tinyqwen.course.registry import ROOT

NOTEBOOKS = sorted((ROOT / "chapters").glob("[0-9][0-9]_*.ipynb"))
NUMBER = re.compile(r"(?<![\w.#&])\d[\d,]*\.?\d*(?:e[-+]?\d+)?")


def prose_of(cell):
    """A cell's prose without what is no statement: code, formulas, links, headings, answers."""
    text = "".join(cell["source"]).split("## Sources")[0]
    text = re.sub(r"```.*?```|<details>.*?</details>|\$\$.*?\$\$", " ", text, flags=re.DOTALL)
    text = re.sub(r"`[^`]*`|\$[^$]*\$|\[[^]]*\]\([^)]*\)|U\+[0-9A-F]+", " ", text)
    text = re.sub(r"[Cc]hapters? \d\d(?:(?:, | and | to )\d\d)*", " ", text)
    return re.sub(r"^#.*$|^\d+\. ", "", text, flags=re.MULTILINE)


def numbers_in(text):
    for match in NUMBER.finditer(text):
        yield match[0].rstrip(".,"), float(match[0].rstrip(".,").replace(",", ""))


def printed(notebook):
    """All numbers of a notebook's code and outputs, as themselves and as percentages."""
    texts = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            texts.append("".join(cell["source"]))
            for output in cell["outputs"]:
                texts.append("".join(output.get("text", "")))
                texts.append("".join(output.get("data", {}).get("text/plain", "")))
    found = {value for text in texts for _, value in numbers_in(text)}
    return found | {100 * value for value in found}


def told_and_not_printed(notebook):
    """Numbers of the prose with a decimal point or three digits, years aside."""
    known, missing = printed(notebook), []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "markdown":
            continue
        for text, value in numbers_in(prose_of(cell)):
            if not re.search(r"\d\.\d|\d{3}", text) or 1900 < value < 2030:
                continue
            digits = len(text.partition(".")[2])
            if not any(abs(other - value) <= 0.5 * 10**-digits + 1e-9 for other in known):
                missing.append(text)
    return missing


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_numbers_in_prose_are_printed(path):
    """By a cell of the chapter, rounded as the prose rounds; else its metadata says why not."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    excused = notebook["metadata"]["chapter"].get("numbers", {})
    missing = set(told_and_not_printed(notebook)) - set(excused)
    assert missing == set(), "the prose tells a number that no cell prints"


def test_a_wrong_number_is_found():
    cells = [
        {"cell_type": "code", "source": ["print(0.1234)"], "outputs": [{"text": ["2,048 rows"]}]},
        {
            "cell_type": "markdown",
            "source": ["It is 0.12, or 12.3%, of 2,048; not 0.13, not 2,049"],
        },
    ]
    assert told_and_not_printed({"cells": cells}) == ["0.13", "2,049"]
