"""What a sandboxed command sees of the workspace and beside it: checked before it is handed to an engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePath

from msgspec import Struct

from aiframe.core.errors import StepError
from aiframe.core.ports import Policy


class Mount(Struct, frozen=True):
    """A file or folder of this machine that the command sees under its own name, or as *target*."""

    path: PurePath
    writable: bool = False
    target: PurePath | None = None

    def __str__(self) -> str:
        return f"{self.path} ({'writable' if self.writable else 'read-only'})"

    @property
    def place(self) -> PurePath:
        """Where the command sees it."""
        return self.target or self.path

    @property
    def option(self) -> str:
        """The value of ``--mount``: a line of comma-separated values, as both engines read it."""
        fields = [f"src={self.path}", f"dst={self.place}"]
        quoted = ['"' + field.replace('"', '""') + '"' if set(field) & {",", '"'} else field for field in fields]
        return ",".join(["type=bind", *quoted, *(() if self.writable else ("readonly",))])


def shared(policy: Policy) -> tuple[Mount, ...]:
    """The mounts that *policy* asks for, in the order in which they cover each other. Raises StepError.

    A link in the place of something that is to be read-only would show, and protect, what it leads to.
    """
    workspace = Path(policy.workspace)
    if not workspace.is_absolute() or workspace.resolve() != workspace or len(workspace.parts) < 3:
        raise StepError(
            f"the folder {workspace} cannot be the workspace of a sandbox",
            hint="put the project into a folder below one of its own, such as ~/frame/projects",
        )
    inside = [path for path in policy.read if path.is_relative_to(workspace)]
    beside = [path for path in policy.read if not path.is_relative_to(workspace)]
    for path in inside:
        _refuse_links(workspace, path)
    return (
        *_mounts(beside),
        Mount(workspace, writable=True),
        *_mounts(policy.writable, writable=True),
        *_mounts(inside),
    )


def _mounts(paths: tuple[PurePath, ...] | list[PurePath], *, writable: bool = False) -> Iterator[Mount]:
    for path in sorted(set(paths), key=lambda each: (len(each.parts), each)):
        if os.path.exists(path):
            yield Mount(path, writable)


def _refuse_links(workspace: Path, path: PurePath) -> None:
    place = workspace
    for part in path.relative_to(workspace).parts:
        place = place / part
        if place.is_symlink():
            message = f"{place} is a symbolic link: a sandbox cannot protect it"
            raise StepError(message, hint=f"put the file or folder itself there: `rm {place}`, then copy it back")
