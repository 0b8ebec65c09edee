"""Folders that no step may ever work in."""

from __future__ import annotations

from pathlib import Path

from aiframe.core.errors import GuardError, UsageError

_CURE = "name a project with --project projects/NAME, or tick every project with --all"


def check_project_folder(root: Path) -> None:
    """Pass a folder that may be a project; look only at names, before anything is read or written.

    Raises UsageError where there is no such folder, GuardError for the frame itself, for a folder that holds
    TEMPLATE_ROOT, and for one whose name contains "template" in any case.
    """
    if not root.is_dir():
        cure = "check the path; `aiframe init NAME` makes a new project"
        raise UsageError(f"{root} is no folder" if root.exists() else f"there is no folder {root}", hint=cure)
    if is_frame_root(root):
        raise GuardError(f"{root} is the frame itself, not a project", hint=_CURE)
    if (root / "TEMPLATE_ROOT").exists():
        raise GuardError(f"{root} holds a file TEMPLATE_ROOT: it is a template, not a project", hint=_CURE)
    for folder in (root.absolute(), root.resolve()):
        if "template" in folder.name.casefold():
            cure = f"rename the folder, or {_CURE}"
            raise GuardError(f"{folder} has `template` in its name: templates are never worked in", hint=cure)


def is_frame_root(root: Path) -> bool:
    """Whether *root* is a frame: it has projects/ beside TEMPLATE_ROOT or prompts/."""
    if not (root / "projects").is_dir():
        return False
    return (root / "TEMPLATE_ROOT").exists() or (root / "prompts").is_dir()
