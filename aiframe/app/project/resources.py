"""Where the files that travel with aiframe are: role prompts, the templates of a new project, the guide.

In an installed package they lie in ``aiframe/data``; in a checkout, in the folders beside the package.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import aiframe

GUIDE = "START_HERE.md"
FRAME_FOLDERS = ("prompts", "templates/project")
"""What a new frame gets a copy of, so that a person can change it there."""

_NOT_OURS = frozenset({".DS_Store", ".git", "__pycache__"})


def data_root() -> Path:
    """The folder that holds ``prompts/``, ``templates/`` and the guide of this installation."""
    package = Path(aiframe.__file__).resolve().parent
    packaged = package / "data"
    return packaged if packaged.is_dir() else package.parent


def prompt_dirs(project_root: Path, frame_root: Path | None) -> tuple[Path, ...]:
    """Where to look for a prompt, in this order: the project's own folder, the frame's, the packaged one."""
    frame = (frame_root / "prompts",) if frame_root else ()
    return (project_root / "prompts", *frame, data_root() / "prompts")


def template_text(name: str, frame_root: Path | None = None) -> str:
    """The text of ``templates/NAME``: the frame's where it has one, else the packaged one. Raises FileNotFoundError."""
    own = frame_root / "templates" / name if frame_root else None
    path = own if own and own.is_file() else data_root() / "templates" / name
    return path.read_text(encoding="utf-8")


def template_folder(name: str, frame_root: Path | None = None) -> Path:
    """The folder ``templates/NAME``: the frame's where it has one, else the packaged one."""
    own = frame_root / "templates" / name if frame_root else None
    return own if own and own.is_dir() else data_root() / "templates" / name


def files_below(folder: Path) -> Iterator[Path]:
    """The files below *folder*, relative to it and in order, without what git, Python or the desktop keep there."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and _NOT_OURS.isdisjoint(relative.parts):
            yield relative
