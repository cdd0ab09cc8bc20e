"""README.md is the front door: what it points to is there, and every file has its place."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_link_and_picture_is_there():
    targets = re.findall(r"\]\(([^)#]+?)\)", README) + re.findall(r'src="([^"]+)"', README)
    local = [target for target in targets if not target.startswith("http")]
    assert len(local) > 30
    assert [target for target in local if not (ROOT / target).exists()] == []


def test_every_chapter_has_its_row_and_its_picture():
    rows = [line for line in README.splitlines() if line.startswith("|")]
    for notebook in (ROOT / "chapters").glob("*.ipynb"):
        (row,) = [row for row in rows if f"](chapters/{notebook.name})" in row]
        assert f'src=".github/chapters/{notebook.name[:2]}.png"' in row
        assert re.search(r"\| \d+ \|$", row), "minutes"


def test_every_anchor_is_a_heading():
    headings = {h.lower().replace(" ", "-") for h in re.findall(r"^#+ (.+)$", README, re.M)}
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= headings
