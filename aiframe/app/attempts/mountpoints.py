"""The places in an agent's home at which a container shows it the files to log in with."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path, PurePath

from aiframe.store.atomic import storage_errors

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


def lay_mountpoint(home: Path, below: PurePath, *, is_folder: bool) -> None:
    """Have an empty file or folder *below* the folder *home*, unless something is there.

    An engine would make it itself, as a user whose files a person without root's rights cannot remove again. The home
    is the agent's: where a link or a file of its stands in the way, nothing is made. Raises StorageError.
    """
    *folders, name = below.parts
    with storage_errors(home / below, "make"):
        place = os.open(home, _FOLDER)
        try:
            for folder in folders:
                place = _enter(place, folder)
            with suppress(FileExistsError):
                if is_folder:
                    os.mkdir(name, 0o700, dir_fd=place)
                else:
                    os.close(os.open(name, _FILE, 0o600, dir_fd=place))
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
        finally:
            os.close(place)


def _enter(place: int, name: str) -> int:
    """The folder *name*, made where there is none, in the open folder *place*, which is closed. Raises OSError."""
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=place)
    inner = os.open(name, _FOLDER, dir_fd=place)
    os.close(place)
    return inner
