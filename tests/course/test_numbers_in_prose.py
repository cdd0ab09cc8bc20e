"""Every number that a chapter's prose tells is one that a cell nearby prints, or is given to it."""

import json
import re

import pytest

from tinyqwen.course.registry import ROOT

NOTEBOOKS = sorted((ROOT / "chapters").glob("[0-9][0-9]_*.ipynb"))
NUMBER = re.compile(r"(?<![\w.#&])\d[\d,]*\.?\d*(?:e[-+]?\d+)?")
PUBLISHED = "of Qwen2.5-0.5B's config, which chapter 09 prints"
PLACES = "any place would do"

EXCEPTIONS = {  # chapter: {number in its prose: why no cell prints it}
    "00": {"150": PLACES, "0.5": PUBLISHED, "896": PUBLISHED, "4,864": PUBLISHED}
    | {"151,936": PUBLISHED},
    "02": {"140,000": "rounded down: the cell prints 144,762"}
    | dict.fromkeys(("231", "140", "171"), "e7, 8c and ab, which a cell prints, in decimal"),
    "03": {"151,936": PUBLISHED, "1,536": "of embedding models that are not ours"},
    "07": {"999": PLACES, "107": PLACES, "109": PLACES, "32,767": "one less than 32,768"},
    "10": {"0.25": "on paper: 2/8", "11.9": "made up, for a question"},
    "11": {
        "200,000": "rounded: a cell prints 193,536",
        "0.15": "the capstone's limit",
        "0.076": "of Kaplan et al.",
        "0.34": "of Hoffmann et al.",
        "0.25": "made up, for a question",
    },
    "12": {"151,936": PUBLISHED, "0.9999": "made up", "0.99995": "made up"},
    "13": {"850,000": "rounded: chapter 10 prints 854,144"},
    "14": {"213": "of Vaswani et al., in millions"},
    "15": {
        "0.15": "the paper's share, 15% where a cell prints it",
        "30,522": "of BERT's config",
        **dict.fromkeys(("110", "340"), "millions, as published; a cell prints the exact counts"),
        "440": "megabytes to download",
        "78.6": "of data/stories/reader.json, a line in the picture",
    },
    "16": {
        **dict.fromkeys(("11,008", "4,096"), "of LLaMA-7B's config"),
        **{"768": "of GPT-2's config", "400": "of Peng et al.'s fine-tuning"},
        **dict.fromkeys(("32,768", "131,072"), "of Qwen2.5's model card"),
        "100": "places of a table, for a question",
        "255": "places of a table, for a question",
    },
}


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
    """By a cell of the chapter, rounded as the prose rounds; else the list above says why not."""
    missing = set(told_and_not_printed(json.loads(path.read_text(encoding="utf-8"))))
    excused = set(EXCEPTIONS.get(path.name[:2], {}))
    assert missing - excused == set(), "the prose tells a number that no cell prints"


def test_a_wrong_number_is_found():
    cells = [
        {"cell_type": "code", "source": ["print(0.1234)"], "outputs": [{"text": ["2,048 rows"]}]},
        {
            "cell_type": "markdown",
            "source": ["It is 0.12, or 12.3%, of 2,048; not 0.13, not 2,049"],
        },
    ]
    assert told_and_not_printed({"cells": cells}) == ["0.13", "2,049"]
