"""A checkout of one tree in a folder of its own: what a commit holds, and nothing that lies about in the workspace.

Git works in a clean room, so no filter, hook or setting of the repository takes part. There is no .git in the folder.
Beside it lie FOLDER.index (what git knows of the files) and FOLDER.made (the ignored files that the setup made).
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from aiframe.workspaces.cleanroom import clean_room
from aiframe.workspaces.git import Repository, names
from aiframe.workspaces.git_errors import GitError
from aiframe.workspaces.locks import FILES, announced
from aiframe.workspaces.trees import add_everything, changed_files


def check_out(repo: Repository, tree: str, folder: Path, *, keep_made: bool) -> None:
    """Bring *folder* to hold *tree*, whatever is in it, fast where little differs from the last time.

    Ignored files are removed, but with *keep_made* for those that the last setup made (see `remember_made`) and that
    nothing has changed since. Raises GitError, and OSError where the folder cannot be made or emptied.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        folder.unlink()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        _switch(repo, tree, folder, keep_made)
    except GitError:
        _empty(folder)
        _switch(repo, tree, folder, False)


def switch_checkout(repo: Repository, tree: str, folder: Path) -> None:
    """Bring the files in *folder* that git keeps from one tree to *tree*; all else that lies there stays.

    Raises GitError.
    """
    with clean_room(repo, folder) as room, announced(repo, _locks(folder)) as held:
        room.run("read-tree", "--reset", "-u", tree, index=_index(folder), keep_fds=held)


def remove_checkout(folder: Path) -> None:
    """Remove *folder* and what lies beside it, where it is there. Raises OSError."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        folder.unlink()
    elif folder.is_dir():
        _empty(folder)
        folder.rmdir()
    for beside in (_index(folder), _note(folder)):
        beside.unlink(missing_ok=True)


def remember_made(repo: Repository, folder: Path) -> None:
    """Remember the ignored files in *folder* as what the setup made. Raises GitError."""
    made = {name: _stamp(folder, name) for name in _ignored(repo, folder)}
    with suppress(OSError):  # without it the next checkout is a cold one
        _note(folder).write_text(json.dumps(made))


def checkout_differs(repo: Repository, tree: str, folder: Path) -> tuple[str, ...]:
    """The names of files in *folder* that are not as *tree* has them, ignored ones apart. Raises GitError."""
    with clean_room(repo, folder) as room:
        with suppress(OSError):
            shutil.copy2(_index(folder), room.index)
        room.run("read-tree", "--reset", tree)
        now = add_everything(room, tree, ())
    return tuple(change.path for change in changed_files(repo, tree, now)) if now != tree else ()


def _switch(repo: Repository, tree: str, folder: Path, keep_made: bool) -> None:
    kept = _unchanged_since_made(folder) if keep_made else frozenset[str]()
    _note(folder).unlink(missing_ok=True)
    with clean_room(repo, folder) as room, announced(repo, _locks(folder)) as held:
        room.run("read-tree", "--reset", "-u", tree, index=_index(folder), keep_fds=held)
        room.run("clean", "-ffdq", *(() if kept else ("-x",)), index=_index(folder), keep_fds=held)
    for name in _ignored(repo, folder) if kept else ():
        if name not in kept:
            (folder / name).unlink(missing_ok=True)


def _locks(folder: Path) -> tuple[Path, ...]:
    return (folder.with_name(f"{_index(folder).name}.lock"), folder.with_name(f"{folder.name}{FILES}"))


def _unchanged_since_made(folder: Path) -> frozenset[str]:
    """The files that the last setup made; empty where one of them is not as it was made."""
    try:
        made = json.loads(_note(folder).read_text())
    except (OSError, ValueError):
        return frozenset()
    same = isinstance(made, dict) and all(_stamp(folder, name) == stamp for name, stamp in made.items())
    return frozenset(made) if same else frozenset()


def _ignored(repo: Repository, folder: Path) -> tuple[str, ...]:
    with clean_room(repo, folder) as room:
        return names(room.run("ls-files", "-o", "-i", "-z", "--exclude-standard", index=_index(folder)))


def _stamp(folder: Path, name: str) -> list[int] | None:
    """What changes with a file; its ctime cannot be set by who writes it."""
    try:
        found = (folder / name).lstat()
    except OSError:
        return None
    return [found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _index(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.index")


def _note(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.made")


def _empty(folder: Path) -> None:
    """Remove all that is in *folder*, also what was made read-only, and what git knows of it. Raises OSError."""
    for path, folders, _ in os.walk(folder):
        for name in folders:
            if not os.path.islink(os.path.join(path, name)):
                os.chmod(os.path.join(path, name), stat.S_IRWXU)
    shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    _index(folder).unlink(missing_ok=True)
