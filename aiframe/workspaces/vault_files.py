"""Small files remembered whole, so that whatever happens to them can be seen and put back, without git."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

from msgspec import Struct

from aiframe.durable import replace_file

Kind: TypeAlias = Literal["file", "link", "other"]
What: TypeAlias = Literal["created", "changed", "deleted"]
Action: TypeAlias = Literal["restored", "set aside", "failed"]


class Entry(Struct, frozen=True):
    """One file as it was: *data* is its content, or where a link points; *mode* its permissions."""

    kind: Kind
    mode: int
    data: bytes


class Breach(Struct, frozen=True):
    """Something that a step must not touch and did. *kept_at* is where the foreign version lies now, if any."""

    path: str
    what: What
    action: Action
    kept_at: str = ""
    hint: str = ""


def snapshot(top: Path, watched: Sequence[str]) -> dict[str, Entry]:
    """All files at or below the paths *watched*, relative to *top*; links are never followed."""
    found: dict[str, Entry] = {}
    for path in watched:
        if behind_link(top, path):
            continue
        for name in below(top, path):
            if name in found:
                continue
            with suppress(FileNotFoundError):
                found[name] = read_entry(top / name)
    return found


def below(top: Path, path: str) -> Iterator[str]:
    """The names of *path*, or of all files in it where it is a folder; nothing where it is absent."""
    place = top / path
    try:
        mode = place.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISDIR(mode):
        yield path
        return
    for folder, folders, files in os.walk(place):
        rel = PurePosixPath(folder).relative_to(PurePosixPath(top))
        yield from (str(rel / name) for name in files)
        yield from (str(rel / name) for name in folders if Path(folder, name).is_symlink())


def read_entry(path: Path) -> Entry:
    """What is at *path* now. What cannot be read counts as something else, so it differs from what was sealed."""
    info = path.lstat()
    mode = stat.S_IMODE(info.st_mode)
    if stat.S_ISLNK(info.st_mode):
        return Entry("link", 0, os.fsencode(os.readlink(path)))
    if not stat.S_ISREG(info.st_mode):
        return Entry("other", mode, b"")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except PermissionError:
        return Entry("other", mode, b"")
    with os.fdopen(descriptor, "rb") as file:
        return Entry("file", mode, file.read())


def behind_link(top: Path, path: str) -> bool:
    """Whether a folder on the way from *top* to *path* is a link or no folder at all."""
    return any(wrong_folder(top / parent) for parent in PurePosixPath(path).parents)


def wrong_folder(path: Path) -> bool:
    """Whether *path* exists and is anything but a real folder."""
    return os.path.lexists(path) and (path.is_symlink() or not path.is_dir())


class Quarantine(Struct, frozen=True):
    """Where foreign versions go: *home*, one folder a run."""

    home: Path

    def take(self, path: Path, label: str) -> str:
        """Move *path* here under *label*, never over something else; returns its new place."""
        target, number = self.home / label, 1
        while os.path.lexists(target):
            number += 1
            target = self.home / f"{label}.{number}"
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            move(path, target)
        except PermissionError:
            open_up(path.parent)
            move(path, target)
        return str(target)


def move(path: Path, target: Path) -> None:
    """Move *path* to *target*, which may be on another disk: a workspace need not be on the project's."""
    try:
        os.rename(path, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.move(path, target)


def open_up(folder: Path) -> None:
    """Let the owner write in *folder* again, where somebody took that away."""
    with suppress(OSError):
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o700)


def put_back(
    top: Path, label: str, sealed: Mapping[str, Entry], watched: Sequence[str], quarantine: Quarantine,
    keep: frozenset[str] = frozenset(),
) -> list[Breach]:  # fmt: skip
    """Make everything at *watched* below *top* what *sealed* says; foreign versions go to *quarantine* under *label*.

    Of the paths in *keep* a new or changed version stands; only a deleted one comes back.
    """
    breaches: list[Breach] = []
    now = snapshot(top, watched)
    foreign = [path for path in now if now[path] != sealed.get(path) and path not in keep]
    kept_at: dict[str, str] = {}
    for path in foreign:
        what: What = "changed" if path in sealed else "created"
        try:
            kept_at[path] = quarantine.take(top / path, f"{label}/{path}")
        except OSError as error:
            breaches.append(failed(f"{label}/{path}", what, error))
            continue
        if what == "created":
            breaches.append(Breach(f"{label}/{path}", what, "set aside", kept_at[path]))
    for path, entry in sealed.items():
        if path in now and (path in keep or now[path] == entry):
            continue
        what = "changed" if path in now else "deleted"
        try:
            make_way(top, path, label, quarantine)
            write_entry(top / path, entry)
        except OSError as error:
            breaches.append(failed(f"{label}/{path}", what, error))
            continue
        breaches.append(Breach(f"{label}/{path}", what, "restored", kept_at.get(path, "")))
    return breaches


def failed(path: str, what: What, error: OSError) -> Breach:
    """The breach that could not be mended, with what to do."""
    return Breach(path, what, "failed", hint=f"{error.strerror or error}: put {path} right by hand, then resume")


def make_way(top: Path, path: str, label: str, quarantine: Quarantine) -> None:
    """See to it that the folders above *path* are real ones and that nothing is in its place."""
    parents = [str(parent) for parent in PurePosixPath(path).parents if str(parent) != "."]
    for parent in reversed(parents):
        if wrong_folder(top / parent):
            quarantine.take(top / parent, f"{label}/{parent}")
        (top / parent).mkdir(exist_ok=True)
    if os.path.lexists(top / path):
        quarantine.take(top / path, f"{label}/{path}")


def write_entry(path: Path, entry: Entry) -> None:
    """Put *entry* at *path*, durably and whole."""
    if entry.kind == "link":
        os.symlink(os.fsdecode(entry.data), path)
    elif entry.kind == "file":
        try:
            replace_file(path, entry.data, entry.mode)
        except PermissionError:
            open_up(path.parent)
            replace_file(path, entry.data, entry.mode)


def digest(path: Path) -> str:
    """A hash of the file's content; empty where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
