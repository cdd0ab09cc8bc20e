"""The folder of a run: locked while somebody trains in it, and untouched by what cannot begin."""

import shutil
from dataclasses import replace

from tinyqwen.storage.files import (
    FolderLock,
    file_in,
    make_folder,
    read_json,
    remove_temporaries,
)
from tinyqwen.training.run_state import saved_step
from tinyqwen.training.train_config import RUN_CONFIG, TrainConfig


class RunFolder:
    """A folder to begin a run in, or, with `resume`, to go on with one."""

    def __init__(self, path, resume):
        self.path, self._resume, self._lock = path, resume, None

    def begin(self, prepare):
        """Lock the folder and call prepare(), which fills it.

        Raises FileExistsError for a new run in a folder that holds something. Of a new run that
        cannot be prepared nothing is left.
        """
        made = not self.path.exists()
        make_folder(self.path)
        self._lock = FolderLock(self.path)
        try:
            self._sweep()
            if self._resume:
                prepare()
            else:
                self._begin_new(prepare, made)
        except BaseException:
            self.release()
            raise

    def release(self):
        """Let others train in it."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _sweep(self):
        for folder in (self.path, self.path / "tokens", self.path / "best"):
            if folder != self.path and folder.is_symlink():
                raise ValueError(f"{folder}: a symbolic link; put a folder in its place")
            remove_temporaries(folder)

    def _begin_new(self, prepare, made):
        if any(self.path.iterdir()):
            raise FileExistsError(
                f"{self.path} exists already; go on with it with --resume, "
                "or choose another run folder with --out"
            )
        try:
            prepare()
        except BaseException:
            for path in self.path.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            if made:
                self.path.rmdir()
            raise


def stored_config(folder, steps=None):
    """The settings of a run that is gone on with, to `steps` in all where that is given."""
    if not (folder / RUN_CONFIG).exists():
        raise FileNotFoundError(f"{folder} holds no run to resume: {RUN_CONFIG} is missing")
    path = file_in(folder, RUN_CONFIG)
    try:
        config = TrainConfig(**{**read_json(path), "out": str(folder)})
    except TypeError as error:
        raise ValueError(f"{path} was not written by this version: {error}") from None
    done = saved_step(folder) if steps is not None else None
    if done is not None and steps <= done:
        raise ValueError(f"{folder} is at step {done} already; ask for more --steps")
    return config if steps is None else replace(config, steps=steps)
