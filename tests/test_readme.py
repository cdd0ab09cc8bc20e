"""README.md is the front door: what it points to is there, and every file has its place."""

import re
from configparser import ConfigParser
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


def test_the_reading_path_is_an_evening_or_two():
    """Under 4,000 lines, and each file uses only rooms of the path that come before it."""
    table = README.split("| read | to understand |")[1].split("The whole house")[0]
    path = re.findall(r"\]\((tinyqwen/[\w/]+\.py)\)", table)
    assert sum(len((ROOT / f).read_text(encoding="utf-8").splitlines()) for f in path) < 4000
    modules = [f.removesuffix(".py").replace("/", ".") for f in path]
    for place, file in enumerate(path):
        text = (ROOT / file).read_text(encoding="utf-8")
        later = [m for m in modules[place + 1 :] if re.search(rf"^from {m} import", text, re.M)]
        assert not later, f"{file} uses {later}"


def test_every_wing_has_its_row():
    table = README.split("| wing | what it holds |")[1].split("```")[0]
    named = set(re.findall(r"\]\(tinyqwen/(\w+)(?:\.py)?\)", table)) | {"__init__"}
    assert named == {f.stem for f in (ROOT / "tinyqwen").iterdir() if f.name != "__pycache__"}


def test_the_container_has_what_setup_cfg_requires():
    line = next(line for line in README.splitlines() if "RUN pip install" in line)
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    required = config["options"]["install_requires"].split()
    assert line.split("install ")[1].split() == [re.split("[>=<]", name)[0] for name in required]
