"""Which frame and which project a command is about."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from aiframe.app.making.frame import find_frame, resolve_project
from aiframe.core.errors import UsageError

if TYPE_CHECKING:
    from aiframe.app.project.site import Site
    from aiframe.store.layout import Layout


def here() -> Path:
    """The current folder. Raises UsageError where it has been removed."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise UsageError("the current folder is gone", hint="go to another one: cd ~") from None


def frame(args: Namespace) -> Path:
    """The frame that is meant. Raises UsageError."""
    return find_frame(_frame_option(args), os.environ, here())


def project(args: Namespace) -> Path:
    """The project that is meant. Raises UsageError, GuardError."""
    return resolve_project(args.project, _frame_option(args), os.environ, here())


def site(args: Namespace, *, tolerant: bool = False) -> Site:
    """The project that is meant, opened as `open_site` does. Raises UsageError, GuardError, UnreadableFile."""
    from aiframe.app.project.site import open_site

    return open_site(project(args), os.environ, tolerant=tolerant)


def layout(args: Namespace) -> Layout:
    """Where the files of the project are, for commands that need no settings. Raises UsageError, GuardError."""
    from aiframe.store.guards import check_project_folder
    from aiframe.store.layout import Layout

    root = project(args).resolve()
    check_project_folder(root)
    return Layout(root)


def frame_if_any(args: Namespace) -> Path | None:
    """The frame, or None where there is none and nobody named one."""
    if _frame_option(args) is not None or os.environ.get("AIFRAME_FRAME"):
        return frame(args)
    try:
        return frame(args)
    except UsageError:
        return None


def project_if_any(args: Namespace) -> Path | None:
    """The project, or None where nobody named one and we are in none."""
    from aiframe.core.errors import AiframeError

    if args.project is not None:
        return project(args)
    try:
        return project(args)
    except AiframeError:
        return None


def _frame_option(args: Namespace) -> Path | None:
    return None if args.frame is None else Path(args.frame)
