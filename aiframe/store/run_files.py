"""What a run has left in logs/, taken away again: all of it but the result, which says how the run ended.

No link is followed: an agent could have laid one.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aiframe.store.atomic import storage_errors
from aiframe.store.layout import Layout

STAYS = "result.json"
"""The small file that reports and budgets go by."""


def clear_run(layout: Layout, run_id: str, *, remove: bool) -> tuple[int, int]:
    """Remove the files of the run *run_id* but its result; how many there were, and their bytes.

    Without *remove* they are only counted. May be called again after a crash. Raises StorageError.
    """
    files, size = 0, 0
    log = layout.tick_log(run_id).name
    with storage_errors(layout.run_dir(run_id), "clear"), suppress(FileNotFoundError), _folder(layout.logs) as logs:
        with suppress(FileNotFoundError), _folder("runs", logs) as runs, _folder(run_id, runs) as folder:
            for name in sorted(os.listdir(folder)):
                if name != STAYS:
                    found = _take(name, folder, remove=remove)
                    files, size = files + found[0], size + found[1]
            if remove and not os.listdir(folder):
                os.rmdir(run_id, dir_fd=runs)
        with suppress(FileNotFoundError):
            found = _take(log, logs, remove=remove)
            files, size = files + found[0], size + found[1]
    return files, size


@contextmanager
def _folder(name: str | Path, above: int | None = None) -> Iterator[int]:
    """The folder *name*, held open."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=above)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _take(name: str, folder: int, *, remove: bool) -> tuple[int, int]:
    """Count, and with *remove* take away, the file or folder *name*: the number of files and their bytes."""
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode):
        if remove:
            os.unlink(name, dir_fd=folder)
        return 1, found.st_size
    files, size = 1, 0
    for _, _, names, at in os.fwalk(name, dir_fd=folder):
        for each in names:
            files, size = files + 1, size + os.stat(each, dir_fd=at, follow_symlinks=False).st_size
    if remove:
        shutil.rmtree(name, dir_fd=folder)
    return files, size
