"""The zip that Gradescope runs: the course, and the two scripts it looks for at the root.

The submission is in /autograder/submission, the zip is unpacked in /autograder/source, and the
result goes to /autograder/results/results.json.
"""

import zipfile
from pathlib import Path

from tinyqwen.course.registry import ROOT, chapter, chapters
from tinyqwen.storage.files import atomic_write

# What grading needs of the repository, where no worker can read.
CONTENTS = (
    *("tinyqwen", "tests/assignments", "chapters/assignments", "data/faulty_models"),
    *("setup.cfg", "pyproject.toml"),
)

SETUP = """#!/usr/bin/env bash
set -e
apt-get update
apt-get install -y python3 python3-pip python3-venv
python3 -m venv /autograder/environment
/autograder/environment/bin/pip install /autograder/source "pytest>=8.4" "pytest-timeout>=2.3"
"""

RUN = """#!/usr/bin/env bash
cd /autograder/source
export PYTHONPATH=/autograder/source PYTHONDONTWRITEBYTECODE=1 OPENBLAS_NUM_THREADS=1
results=/autograder/results/results.json
/autograder/environment/bin/python -m pytest {graders} -q -p no:cacheprovider \\
    --submission=/autograder/submission --isolated --gradescope "$results" \\
    --grading-seed "$(od -An -N3 -tu4 /dev/urandom | tr -d ' ')"
if [ ! -s "$results" ]; then
    echo '{"score": 0, "output": "The grading did not run; ask your teacher."}' > "$results"
fi
"""


def make_zip(path, keys=()) -> Path:
    """Write the autograder's zip, of these chapters or of all, and return its path.

    What stands there is replaced, if it is a zip: an autograder grades what it was made for.
    Raises ValueError for another name, and where the graders are not there, as beside an installed
    package.
    """
    path = Path(path)
    if path.suffix.lower() != ".zip":
        raise ValueError(f"--make-gradescope {path}: the autograder's name must end in .zip")
    chapters()  # which raises it
    graders = [f"tests/assignments/{chapter(key).graders.name}" for key in keys]
    run = RUN.replace("{graders}", " ".join(graders) or "tests/assignments")
    with atomic_write(path) as target, zipfile.ZipFile(target, "w") as archive:
        for name, text in (("setup.sh", SETUP), ("run_autograder", run)):
            _add(archive, name, text.encode(), 0o755)
        for top in CONTENTS:
            for file in sorted((ROOT / top).rglob("*")) if (ROOT / top).is_dir() else [ROOT / top]:
                if file.is_file() and "__pycache__" not in file.parts:
                    _add(archive, file.relative_to(ROOT).as_posix(), file.read_bytes(), 0o644)
    return path


def _add(archive, name, content, mode):
    entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))  # the same files give the same zip
    entry.external_attr, entry.compress_type = mode << 16, zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)
