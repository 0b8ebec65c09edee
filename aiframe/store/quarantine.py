"""Last good copies of a project's files, and copies of what was found broken: nothing is ever lost."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path

from aiframe.store.atomic import make_folder, storage_errors, write_atomic, write_durable
from aiframe.store.layout import Layout

GUARDED = ("STATE.json", "TASKS.yaml", "SPEC.md", "ROLES.md", "PROJECT.yaml", "INTAKE_QUESTIONS.md")
"""The files of which a last good copy is kept."""


def remember_good(layout: Layout, name: str, data: bytes, *, durable: bool = True) -> None:
    """Keep *data* as the last good content of *name*, one of GUARDED. Raises StorageError."""
    target = _good_copy(layout, name)
    make_folder(target.parent)
    if durable:
        write_durable(target, data)
    else:
        write_atomic(target, data)


def last_good(layout: Layout, name: str) -> bytes | None:
    """The last good content of *name*, one of GUARDED, or None. Raises StorageError."""
    target = _good_copy(layout, name)
    with storage_errors(target, "read"):
        try:
            return target.read_bytes()
        except FileNotFoundError:
            return None


def set_aside(layout: Layout, path: Path, why: str) -> Path:
    """Keep what stands at *path* in quarantine, beside a note saying *why*; the place of the copy.

    A file is copied and stays where it is. Anything else (a folder, a link, a pipe) is moved, for it would be in the
    way of the good copy. The same content is kept once. Raises FileNotFoundError, StorageError.
    """
    make_folder(layout.quarantine_dir)
    if not stat.S_ISREG(os.lstat(path).st_mode):
        kept = _free_name(layout, path.name)
        with storage_errors(path, "move to quarantine"):
            os.rename(path, kept)
    else:
        with storage_errors(path, "copy to quarantine"):
            kept = _copy(layout, path)
    with suppress(UnicodeEncodeError):
        write_durable(kept.with_name(f"{kept.name}.why"), f"{why}\n")
    return kept


def _good_copy(layout: Layout, name: str) -> Path:
    if name not in GUARDED:
        raise ValueError(f"no last good copy is kept of {name!r}")
    return layout.last_good_dir / name


def _copy(layout: Layout, path: Path) -> Path:
    with path.open("rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()[:16]
        kept = layout.quarantine_dir / f"{path.name}.{digest}"
        if kept.exists():
            return kept
        source.seek(0)
        partial = kept.with_name(f".{kept.name}.{os.getpid()}.tmp")
        with partial.open("wb") as copy:
            while block := source.read(1 << 20):
                copy.write(block)
            copy.flush()
            os.fsync(copy.fileno())
    os.rename(partial, kept)
    return kept


def _free_name(layout: Layout, name: str) -> Path:
    number = 1
    while os.path.lexists(layout.quarantine_dir / f"{name}.{number}"):
        number += 1
    return layout.quarantine_dir / f"{name}.{number}"
