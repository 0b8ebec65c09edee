"""The queue before a branch, as files: one ticket for each that waits to land in a repository, or is landing.

A ticket is held (flock) by the process that waits, and by nothing that it starts. So one that nobody holds is a dead
process's: it counts for nothing, and whoever sees it takes it away. No process id is trusted, none can be reused.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct, to_builtins

from aiframe.core.errors import StepError
from aiframe.core.landing import Ticket
from aiframe.flocks import try_lock
from aiframe.workspaces.git import Repository
from aiframe.workspaces.host import cure_of

FOLDER = "landing"
LOCK = "landing.lock"
_SUFFIX = ".json"
_UNBORN_S = 3600.0


class HeldTicket(Struct, frozen=True):
    """A ticket that is in the queue for as long as *descriptor* is open."""

    path: Path
    descriptor: int


def draw_ticket(repo: Repository, ticket: Ticket) -> HeldTicket:
    """Put *ticket* into the queue of *repo*, until `give_back`. Raises StepError where it cannot be written."""
    folder = queue_of(repo)
    descriptor = -1
    try:
        folder.parent.mkdir(exist_ok=True)  # no parents: a repository that was moved away is not to be made up
        folder.mkdir(exist_ok=True)
        descriptor, hidden = tempfile.mkstemp(prefix=".", dir=folder)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, json.dumps(to_builtins(ticket)).encode())
        visible = folder / (Path(hidden).name.removeprefix(".") + _SUFFIX)
        os.rename(hidden, visible)  # seen by others only once it is held
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        raise StepError(f"{folder}: {error.strerror or error}", hint=cure_of(error)) from error
    return HeldTicket(visible, descriptor)


def give_back(held: HeldTicket) -> None:
    """Take the ticket out of the queue."""
    with suppress(OSError):
        held.path.unlink(missing_ok=True)
    os.close(held.descriptor)


def waiting(repo: Repository, *, sweep: bool = True) -> tuple[Ticket, ...]:
    """The tickets of those that live, in no order; those of the dead are removed, unless *sweep* is off."""
    found = []
    if sweep:
        _sweep_unborn(repo)
    for path in queue_of(repo).glob(f"*{_SUFFIX}"):
        with suppress(OSError, ValueError, msgspec.ValidationError):
            text = _read(path, sweep=sweep)
            if text:
                found.append(msgspec.convert(json.loads(text), Ticket))
    return tuple(found)


def _read(path: Path, *, sweep: bool) -> bytes:
    """What the ticket says; empty where nobody holds it any more."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not try_lock(descriptor, shared=True):  # two that look take none for alive
            return os.read(descriptor, 65_536)
        if sweep:
            path.unlink(missing_ok=True)
        return b""
    finally:
        os.close(descriptor)


def _sweep_unborn(repo: Repository) -> None:
    """Remove what a kill has left of tickets that were about to be drawn."""
    oldest = time.time() - _UNBORN_S
    for path in queue_of(repo).glob(".*"):
        with suppress(OSError):
            if path.lstat().st_mtime < oldest:
                path.unlink()


def queue_of(repo: Repository) -> Path:
    """The folder of the tickets, beside the lock of the turn."""
    return repo.common_dir / "aiframe" / FOLDER


def open_turn(repo: Repository) -> int:
    """A descriptor of the lock that who lands holds; to be closed. Raises StepError."""
    path = repo.common_dir / "aiframe" / LOCK
    try:
        path.parent.mkdir(exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StepError(f"{path}: {error.strerror or error}", hint=cure_of(error)) from error


def take_turn(descriptor: int) -> bool:
    """Take the turn where nobody has it; it ends when *descriptor* is closed, or its process dies."""
    return try_lock(descriptor)


def drop_turn(descriptor: int) -> None:
    """Let others have the turn."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
