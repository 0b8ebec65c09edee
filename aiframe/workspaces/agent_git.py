"""A git directory that an agent may write, read and put in order as plain files: no git runs, no link is followed."""

from __future__ import annotations

import os
import shutil
import stat
import time
from contextlib import suppress
from pathlib import Path

from aiframe.durable import replace_file
from aiframe.workspaces.host import first_line
from aiframe.workspaces.vault_refs import is_sound, parse_packed

KEPT = frozenset({"objects", "refs", "packed-refs", "logs", "index", "COMMIT_EDITMSG", "ORIG_HEAD", "FETCH_HEAD"})
"""What an agent leaves in its .git and may find again. Nothing in it names a program; all else goes."""
PACK_SUFFIXES = (".pack", ".rev", ".idx")
"""The files of a pack, in the order in which they have to appear; what else lies beside packs only speeds git up."""
SWEEPS = 20


def strip(inner: Path) -> None:
    """Take away all from the git directory *inner* that could steer git; nothing is read by git, or followed."""
    open_up(inner)
    for path in list(inner.iterdir()):
        if path.name not in KEPT:
            remove(path)
    for folder, folders, files in os.walk(inner):
        links = (name for name in folders if os.path.islink(os.path.join(folder, name)))
        odd = (name for name in files if not stat.S_ISREG(os.lstat(os.path.join(folder, name)).st_mode))
        for name in (*links, *odd):  # whoever opens a pipe waits
            os.unlink(os.path.join(folder, name))
    for part in ("objects/pack", "refs"):
        for place in reversed([inner / part, *(inner / part).parents][: part.count("/") + 1]):
            if not is_folder(place):
                remove(place)
                place.mkdir()
    remove(inner / "objects" / "info")  # alternates, and a graph that could lie
    for file in (inner / "objects" / "pack").iterdir():
        if file.suffix not in PACK_SUFFIXES:
            remove(file)
    if not is_sound(packed_in(inner)):
        remove(inner / "packed-refs")


def packed_in(inner: Path) -> bytes:
    """The packed refs as they are; what is no readable file counts as broken, and none as empty."""
    packed = inner / "packed-refs"
    if not os.path.lexists(packed):
        return b""
    try:
        return packed.read_bytes()
    except OSError:
        return b"?"


def write_branch(inner: Path, branch: str, commit: str) -> None:
    """Let *branch* in the git directory *inner* be at *commit*; what stands in its way goes."""
    file = inner / "refs" / "heads" / branch
    for folder in reversed(file.relative_to(inner).parents[:-1]):
        if os.path.lexists(inner / folder) and not is_folder(inner / folder):
            remove(inner / folder)
        (inner / folder).mkdir(exist_ok=True)
    if is_folder(file):
        remove(file)
    replace_file(file, f"{commit}\n".encode(), durable=False)


def branch_in(inner: Path, ref: str) -> str:
    """What *ref* says in the git directory *inner*, read as a plain file; empty where it says nothing."""
    if (inner / ref).is_file():
        return first_line(inner / ref)
    return parse_packed(packed_in(inner)).get(ref, "")


def is_folder(path: Path) -> bool:
    """Whether *path* is a folder and no link to one."""
    return path.is_dir() and not path.is_symlink()


def remove(path: Path) -> None:
    """Remove *path*, whatever it is, also what was made read-only. Raises OSError."""
    if is_folder(path):
        open_up(path)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sweep(left: Path) -> None:
    """Remove *left*, in which a git that outlives its killed caller may be writing still: it then fails by itself."""
    for _ in range(SWEEPS):
        with suppress(OSError):
            remove(left)
            return
        time.sleep(0.05)


def open_up(path: Path) -> None:
    """Let the owner read and write in the folder *path* and those below it."""
    os.chmod(path, stat.S_IRWXU)
    for folder, folders, _ in os.walk(path):
        for name in folders:
            if not os.path.islink(os.path.join(folder, name)):
                os.chmod(os.path.join(folder, name), stat.S_IRWXU)


def put(source: Path, target: Path) -> None:
    """Move the file *source* to *target*, whatever is there."""
    if is_folder(target):
        remove(target)
    os.replace(source, target)
