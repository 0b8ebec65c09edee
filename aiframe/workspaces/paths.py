"""Where the workspaces of tasks lie, and what they and their branches are called: no two ids ever share a place.

A name that cannot be part of a path and of a branch as it is becomes one that can, with a hash of the whole name. What
lies below the folder of workspaces is looked at without following links, before it is made, read or removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from aiframe.core.errors import StepError
from aiframe.durable import replace_file

LANDED = "landed"
"""The branch beside those of the tasks that holds what is finished."""
MAX_PART = 64
OWNER = ".owner.json"
_PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.|lock\Z|\Z))*")
_HASHED = re.compile(r".*-x[0-9a-f]{10}\Z")
_MOVE = "move it away, or let XDG_STATE_HOME name another folder"


def workspaces_home(environ: Mapping[str, str]) -> Path:
    """The folder of all workspaces: below XDG_STATE_HOME where that is an absolute path, else below ~/.local/state.

    Raises StepError where neither is known.
    """
    named = environ.get("XDG_STATE_HOME", "")
    home = environ.get("HOME", "")
    if not os.path.isabs(named) and not os.path.isabs(home):
        raise StepError("neither XDG_STATE_HOME nor HOME names a folder", hint="set HOME to your home folder")
    base = Path(named) if os.path.isabs(named) else Path(home, ".local", "state")
    return Path(os.path.realpath(base / "aiframe" / "workspaces"))


def safe_part(name: str) -> str:
    """*name* as one part of a path and of a branch; with a hash of it wherever it had to be changed.

    A name that looks as if it had been changed, or that is taken by aiframe, is changed as well.
    """
    plain = _PLAIN.fullmatch(name) and len(name) <= MAX_PART and name.casefold() != LANDED
    if plain and not _HASHED.match(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:10]
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[: MAX_PART - 12].rstrip("-")
    return f"{readable or 'task'}-x{digest}"


def contained(home: Path, *parts: str) -> Path:
    """The path of *parts* below *home*. Raises StepError where one of them is no plain name, or is a link there."""
    path = home
    for part in parts:
        if part in ("", ".", "..") or "/" in part or "\0" in part:
            raise StepError(f"{part!r} cannot be a folder of workspaces", hint="this is a fault of aiframe: tell it")
        path /= part
        if path.is_symlink():
            raise StepError(f"{path} is a link, where a folder of aiframe's own belongs", hint=_MOVE)
    return path


def claim(home: Path, name: str, owner: str, root: Path, has: str = "") -> str | None:
    """The folder below *home* for the project *name* in *root*, which the id *owner* has for itself from now on.

    It is the one that the project *has* already, whatever it is called by now. Where a project of the same name has
    it, the name gets a hash. None where another project, that is there still, goes by the same *owner*: one of the two
    is a copy. Raises StepError.
    """
    for key in filter(None, (has, safe_part(name), safe_part(f"{name}\0{owner}"))):
        folder = contained(home, key)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held = _take(folder / OWNER, owner, root)
        except OSError as error:
            raise StepError(f"{folder}: {error.strerror or error}", hint=f"make it writable; or {_MOVE}") from error
        if held.get("owner") == owner:
            other = held.get("root", "")
            if other == str(root):
                return key
            if other and os.path.isdir(os.path.join(other, ".git")):  # more than what a step has left that lost it
                return None
            replace_file(folder / OWNER, _claim_text(owner, root))
            return key
    raise StepError(f"{home}: the folders for {name} belong to other projects", hint="rename the project's folder")


def _take(path: Path, owner: str, root: Path) -> dict[str, str]:
    """Write who has the folder, unless somebody has it; who has it then."""
    made = path.with_name(f"{OWNER}.{os.urandom(6).hex()}.tmp")
    replace_file(made, _claim_text(owner, root))
    try:
        with suppress(FileExistsError):
            os.link(made, path)  # in one step: of two at once, one is the first
    finally:
        made.unlink()
    with suppress(ValueError):
        held = json.loads(path.read_bytes())
        if isinstance(held, dict):
            return {str(key): str(value) for key, value in held.items()}
    return {}


def _claim_text(owner: str, root: Path) -> bytes:
    return json.dumps({"owner": owner, "root": os.fspath(root)}).encode("utf-8", "surrogateescape")


def task_branch(project: str, task_id: str) -> str:
    """The branch of a task; *project* is the name of the project's folder of workspaces."""
    return f"aiframe/{project}/{safe_part(task_id)}"


def landed_branch(project: str) -> str:
    """The branch that finished work lands on, where the person names no other."""
    return f"aiframe/{project}/{LANDED}"
