"""Cut the README's picture of each chapter out of its executed notebook, whose metadata says which.

python .github/pictures.py          writes .github/chapters/NN.png
"""

import base64
import io
import json
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT = 440, 260  # pixels at most, twice what the README's table shows


def figures(notebook):
    """The pictures among a notebook's outputs, in order, as bytes of PNG files."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", ()):
                yield base64.b64decode(output["data"]["image/png"])


def main():
    folder = ROOT / ".github" / "chapters"
    folder.mkdir(exist_ok=True)
    for path in sorted((ROOT / "chapters").glob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        which = notebook["metadata"]["chapter"]["picture"]
        picture = Image.open(io.BytesIO(list(figures(notebook))[which])).convert("RGB")
        picture.thumbnail((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
        picture.quantize(64).save(folder / f"{path.name[:2]}.png", optimize=True)


if __name__ == "__main__":
    main()
