"""Cut the README's picture of each chapter out of its executed notebook.

python .github/pictures.py          writes .github/chapters/NN.png
"""

import base64
import io
import json
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT = 440, 260  # pixels at most, twice what the README's table shows
FIGURES = {  # chapter: which of its figures
    "00": 3,
    "01": 1,
    "02": 2,
    "03": 5,
    "04": 2,
    "05": 3,
    "06": 4,
    "07": 5,
    "08": 4,
    "09": 1,
    "10": 3,
    "11": 7,
    "12": 1,
    "13": 4,
    "14": 5,
    "15": 1,
    "16": 2,
    "18": 1,
    "19": 4,
    "20": 6,
    "21": 2,
}


def figures(notebook):
    """The pictures among a notebook's outputs, in order, as bytes of PNG files."""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", ()):
                yield base64.b64decode(output["data"]["image/png"])


def main():
    folder = ROOT / ".github" / "chapters"
    folder.mkdir(exist_ok=True)
    for notebook in sorted((ROOT / "chapters").glob("*.ipynb")):
        number = notebook.name[:2]
        picture = Image.open(io.BytesIO(list(figures(notebook))[FIGURES[number]])).convert("RGB")
        picture.thumbnail((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
        picture.quantize(64).save(folder / f"{number}.png", optimize=True)


if __name__ == "__main__":
    main()
