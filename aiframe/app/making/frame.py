"""The frame: which one is meant, which of its projects, and how a new one is laid.

Kept free of heavy imports on the way that an idle tick takes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from aiframe.store.layout import Layout

MARK = "TEMPLATE_ROOT"
_MARK_TEXT = (
    "This marks the top of a frame, which is no project: aiframe finds its frame by this file, "
    "and refuses to run a step in a folder that has it.\n"
)
_IGNORE_PROJECTS = "*\n!.gitignore\n"
_LONGEST_NAME = 255  # bytes that a file system takes
_HOW = "go into a frame's folder, name one with --frame or AIFRAME_FRAME, or lay a new one with `aiframe frame DIR`"


class LaidFrame(NamedTuple):
    """What `lay_frame` did: files *created* and files *kept* that differ from the packaged ones, relative to *root*."""

    root: Path
    created: tuple[str, ...]
    kept: tuple[str, ...]


# Which frame


def find_frame(explicit: Path | None, environ: Mapping[str, str], cwd: Path) -> Path:
    """The frame that is meant: *explicit* (--frame), else AIFRAME_FRAME, else the nearest at or above *cwd*.

    Raises UsageError where there is none.
    """
    from aiframe.core.errors import UsageError

    named = explicit if explicit is not None else environ.get("AIFRAME_FRAME") or None
    if named is not None:
        root = _absolute(named, cwd)
        if is_frame(root):
            return root
        source = "--frame" if explicit is not None else "AIFRAME_FRAME"
        cure = f"lay one there with `aiframe frame {named}`, or correct {source}"
        raise UsageError(f"{source}: {root} is no frame: it has no projects/ beside prompts/", hint=cure)
    found = _frame_above(cwd)
    if found is None:
        raise UsageError(f"{cwd} is in no frame", hint=_HOW)
    return found


def is_frame(root: Path) -> bool:
    """Whether *root* is the top of a frame, and no project that happens to have folders of those names."""
    from aiframe.store.guards import is_frame_root

    return is_frame_root(root) and ((root / MARK).exists() or not is_project(root))


def _frame_above(start: Path) -> Path | None:
    return next((folder for folder in (start, *start.parents) if is_frame(folder)), None)


def _absolute(path: Path | str, cwd: Path) -> Path:
    return Path(os.path.abspath(cwd / os.path.expanduser(path)))


# Which project


def is_project(folder: Path) -> bool:
    """Whether *folder* holds what makes a project: a STATE.json, or aiframe's own record of one."""
    return os.path.lexists(folder / "STATE.json") or _has_record(folder)


def _has_record(folder: Path) -> bool:
    from aiframe.core.errors import AiframeError

    try:
        layout = Layout(folder)
        return layout.control_json.exists() or layout.control_copy.exists()
    except (AiframeError, OSError):  # a `.git` that names no repository
        return False


def all_projects(frame: Path) -> list[Path]:
    """The projects of *frame* by name. Hidden folders and those with "template" in their name are none.

    Raises UsageError where projects/ cannot be read.
    """
    folder = frame / "projects"
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if _may_be_project(entry))
    except OSError as error:
        from aiframe.core.errors import UsageError

        cure = f"make it readable, or lay the frame again with `aiframe frame {frame}`"
        raise UsageError(f"{folder}: {error.strerror}", hint=cure) from error
    return [folder / name for name in names if is_project(folder / name)]


def _may_be_project(entry: os.DirEntry[str]) -> bool:
    name = entry.name
    return not name.startswith(".") and "template" not in name.casefold() and entry.is_dir()


def resolve_project(argument: str | None, frame_option: Path | None, environ: Mapping[str, str], cwd: Path) -> Path:
    """The project that is meant: *argument* as a path or as a name in the frame; without it, the one that *cwd* is in.

    Raises UsageError where there is none, GuardError where *cwd* is the frame itself. The folder is not yet checked
    for anything else.
    """
    from aiframe.core.errors import UsageError

    if argument is None:
        return _project_above(cwd)
    path = _absolute(argument, cwd) if argument else cwd
    if any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.parts):
        raise UsageError(f"there is no project {argument[:40]!r}...: the name is too long", hint=_HOW)
    if argument and is_project(path):
        return path
    frame = _frame_or_none(frame_option, environ, cwd)
    if frame is not None and os.path.basename(argument) == argument and is_project(frame / "projects" / argument):
        return frame / "projects" / argument
    raise _no_such_project(argument, path, frame)


def _frame_or_none(frame_option: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    if frame_option is None and not environ.get("AIFRAME_FRAME"):
        return _frame_above(cwd)
    return find_frame(frame_option, environ, cwd)


def _project_above(cwd: Path) -> Path:
    from aiframe.core.errors import GuardError, UsageError

    cure = "name one with --project NAME, or take all of the frame with --all"
    for folder in (cwd, *cwd.parents):
        if is_frame(folder):
            where = (
                "this is the frame itself"
                if folder == cwd
                else f"{cwd} is in the frame {folder}, but in none of its projects"
            )
            raise GuardError(f"{where}: which project?", hint=cure)
        if is_project(folder):
            return folder
        if _was_project(folder):
            raise _lost_project(folder)
    raise UsageError(f"{cwd} is in no project", hint=f"go into a project's folder, or {cure}")


def _no_such_project(argument: str, path: Path, frame: Path | None) -> Exception:
    """Says what was looked for, and the names that come close."""
    import difflib

    from aiframe.core.errors import GuardError, UsageError

    names = [project.name for project in all_projects(frame)] if frame else []
    if argument and is_frame(path):
        return GuardError(f"{path} is the frame itself, not a project", hint=_known(names))
    for folder in (path, frame / "projects" / argument if frame and os.path.basename(argument) == argument else path):
        if argument and folder.is_dir() and _was_project(folder):
            return _lost_project(folder)
    if argument and path.is_dir():
        cure = "make a project with `aiframe init NAME`, or write a STATE.json with a state such as INTAKE_READY there"
        return UsageError(f"{path} is a folder, but no project: it has no STATE.json", hint=cure)
    close = difflib.get_close_matches(Path(argument).name, names, 3)
    if close:
        return UsageError(f"there is no project {argument!r}", hint=f"did you mean {' or '.join(close)}?")
    where = "" if frame else f": there is no folder {path}, and {path.parent} is in no frame"
    return UsageError(f"there is no project {argument!r}{where}", hint=_known(names) if frame else _HOW)


def _was_project(folder: Path) -> bool:
    """Whether *folder* holds what only a project has, though neither its state nor the record of it."""
    return any(os.path.lexists(folder / name) for name in ("TASKS.yaml", "PROJECT.yaml", ".git/aiframe"))


def _lost_project(folder: Path) -> Exception:
    from shlex import quote

    from aiframe.core.errors import UsageError

    state, good = folder / "STATE.json", folder / ".git" / "aiframe" / "good" / "STATE.json"
    said = f"{folder} has files of a project, but neither STATE.json nor aiframe's own record of it in .git/aiframe"
    if good.exists():
        return UsageError(said, hint=f"put the last good copy back: cp {quote(str(good))} {quote(str(state))}")
    start = "DEV_READY" if (folder / "TASKS.yaml").exists() else "INTAKE_READY"
    write = f"""echo '{{"state": "{start}"}}' > {quote(str(state))}"""
    return UsageError(said, hint=f"say where it stands, for example: {write}")


def _known(names: list[str]) -> str:
    if not names:
        return "make one with `aiframe init NAME`"
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"name one of {shown}"


# A new frame


def lay_frame(root: Path) -> LaidFrame:
    """Lay a frame in the folder *root*, which is made where it is missing; a file that exists is never changed.

    Raises GuardError inside a project or another frame's projects/, UsageError for a folder that cannot be made,
    StorageError where the disk refuses.
    """
    from aiframe.core.errors import UsageError
    from aiframe.store.atomic import StorageError, make_folder, read_bounded, write_durable

    root = Path(os.path.abspath(root))
    _check_place(root)
    created, kept = [], []
    try:
        make_folder(root)
    except StorageError as error:
        raise UsageError(f"{error.message}: no frame can be laid there", hint="choose another folder") from error
    for name, content in sorted(_frame_files().items()):
        path = root / name
        if not os.path.lexists(path):
            make_folder(path.parent)
            write_durable(path, content)
            created.append(name)
        elif not path.is_file() or read_bounded(path) != content:
            kept.append(name)
    return LaidFrame(root, tuple(created), tuple(kept))


def _check_place(root: Path) -> None:
    from aiframe.core.errors import GuardError

    cure = "choose a folder outside of it"
    for folder in (root, *root.parents):
        if is_project(folder) and not (folder / MARK).exists():
            raise GuardError(f"{root} lies in the project {folder}: no frame can be laid there", hint=cure)
        if folder != root and is_frame(folder) and root.is_relative_to(folder / "projects"):
            raise GuardError(f"{root} lies among the projects of the frame {folder}", hint=cure)


def _frame_files() -> dict[str, bytes]:
    from aiframe.app.project.resources import FRAME_FOLDERS, GUIDE, data_root, files_below

    data = data_root()
    files = {MARK: _MARK_TEXT.encode(), "projects/.gitignore": _IGNORE_PROJECTS.encode()}
    files[GUIDE] = (data / GUIDE).read_bytes()
    for folder in FRAME_FOLDERS:
        for relative in files_below(data / folder):
            files[f"{folder}/{relative.as_posix()}"] = (data / folder / relative).read_bytes()
    return files
