"""The refs of a repository read and mended as plain files, without git."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from pathlib import Path, PurePosixPath

from msgspec import Struct

from aiframe.durable import replace_file
from aiframe.workspaces.git import OBJECT_ID
from aiframe.workspaces.vault_files import Breach, Quarantine, What, failed, make_way, open_up

OURS = "refs/aiframe/"
LINK = "link: "
FOREIGN_REFS = "refs.jsonl"


class Refs(Struct, frozen=True):
    """Every ref but aiframe's own: an object id, ``ref: NAME`` or ``link: TARGET``. *packed* is packed-refs whole."""

    values: dict[str, str]
    packed: bytes
    locks: frozenset[str] = frozenset()


def read_refs(common_dir: Path, below: str = "") -> Refs:
    """The refs as they are whose names begin with *below*. A packed-refs that cannot be read counts as empty."""
    packed = b""
    with suppress(OSError):
        if (common_dir / "packed-refs").is_file() and not (common_dir / "packed-refs").is_symlink():
            packed = (common_dir / "packed-refs").read_bytes()
    loose, locks = read_loose(common_dir)
    values = {name: value for name, value in parse_packed(packed).items() if not name.startswith(OURS)} | loose
    wanted = {name: value for name, value in values.items() if name.startswith(below)}
    return Refs(wanted, packed, frozenset(lock for lock in locks if lock.startswith(below)))


def read_loose(common_dir: Path) -> tuple[dict[str, str], list[str]]:
    """The refs that have files of their own, and the lock files among them."""
    found: dict[str, str] = {}
    locks: list[str] = []
    top = common_dir / "refs"
    if top.is_symlink():
        return found, locks
    for folder, folders, files in os.walk(top):
        rel = str(PurePosixPath(folder).relative_to(PurePosixPath(common_dir)))
        if rel + "/" == OURS:
            folders.clear()
            continue
        for name in [*files, *(name for name in folders if Path(folder, name).is_symlink())]:
            ref = f"{rel}/{name}"
            if name.endswith(".lock"):
                locks.append(ref)
            else:
                found[ref] = loose_value(Path(folder, name))
    return found, locks


def loose_value(path: Path) -> str:
    """What one loose ref says; never an object id for what is no plain file."""
    if path.is_symlink():
        return LINK + os.readlink(path)
    if not path.is_file():
        return ""
    try:
        return path.read_bytes()[:4096].decode("utf-8", "surrogateescape").strip()
    except OSError:
        return ""


def parse_packed(packed: bytes) -> dict[str, str]:
    """Ref to object id of a packed-refs file; lines that are none are passed over."""
    values = {}
    for line in packed.decode("utf-8", "surrogateescape").split("\n"):
        value, space, name = line.partition(" ")
        if space and OBJECT_ID.match(value):
            values[name] = value
    return values


def is_sound(packed: bytes) -> bool:
    """Whether every line of packed-refs is one that git would take."""
    lines = packed.decode("utf-8", "surrogateescape").split("\n")
    good = re.compile(r"#.*|\^?[0-9a-f]{40,64}|[0-9a-f]{40,64} refs/\S+|")
    return lines[-1] == "" and all(good.fullmatch(line) for line in lines)


def put_refs_back(
    common_dir: Path, sealed: Refs, branch: str | None, quarantine: Quarantine, below: str = ""
) -> list[Breach]:
    """Make every ref what *sealed* says; *branch* (a full name) may have moved to another commit.

    With *below* a person may work in the same repository: only the refs whose names begin so are looked at, and of
    those none but the broken and the deleted ones come back.

    What foreign refs named is written to the quarantine first, one line of JSON each, so that git can keep it later.
    """

    def stands(name: str, value: str | None) -> bool:
        before = sealed.values.get(name)
        may_move = bool(below) or (name == branch and before is not None)
        return value == before or (may_move and bool(OBJECT_ID.match(value or "")))

    breaches = mend_places(common_dir, sealed, quarantine)
    found = read_refs(common_dir, below)
    for lock in sorted(found.locks - sealed.locks):
        breaches += set_aside(common_dir, lock, quarantine)
    told: dict[str, Breach] = {}
    for name, value in sorted(found.values.items()):
        if not stands(name, value):
            told[name] = take_ref_away(common_dir, name, value, sealed.values.get(name), quarantine)
    left = read_refs(common_dir, below)
    for name, value in sorted(sealed.values.items()):
        if not stands(name, left.values.get(name)):
            what = told[name].what if name in told else "deleted"
            told[name] = bring_ref_back(common_dir, name, value, what, quarantine)
    return breaches + list(told.values())


def mend_places(common_dir: Path, sealed: Refs, quarantine: Quarantine) -> list[Breach]:
    """See to it that refs/ is a real folder and packed-refs a file that git can read."""
    breaches = []
    refs, packed = common_dir / "refs", common_dir / "packed-refs"
    if refs.is_symlink() or (refs.exists() and not refs.is_dir()):
        breaches += set_aside(common_dir, "refs", quarantine)
    (refs / "heads").mkdir(parents=True, exist_ok=True)
    plain = packed.is_file() and not packed.is_symlink()
    if os.path.lexists(packed) and not (plain and is_sound(read_refs(common_dir).packed)):
        breaches += set_aside(common_dir, "packed-refs", quarantine)
        if sealed.packed:
            replace_file(packed, sealed.packed)
    return breaches


def set_aside(common_dir: Path, name: str, quarantine: Quarantine) -> list[Breach]:
    """Move a file that has no business there to the quarantine."""
    try:
        return [Breach(f"git/{name}", "changed", "set aside", quarantine.take(common_dir / name, f"git/{name}"))]
    except OSError as error:
        return [failed(f"git/{name}", "changed", error)]


def take_ref_away(common_dir: Path, name: str, value: str, before: str | None, quarantine: Quarantine) -> Breach:
    """Remove a foreign ref after noting what it named."""
    what: What = "created" if before is None else "changed"
    try:
        quarantine.home.mkdir(parents=True, exist_ok=True)
        with (quarantine.home / FOREIGN_REFS).open("a") as notes:
            notes.write(json.dumps([name, value]) + "\n")
            notes.flush()
            os.fsync(notes.fileno())
        remove_ref(common_dir, name, value, quarantine)
    except OSError as error:
        return failed(f"git/{name}", what, error)
    return Breach(f"git/{name}", what, "set aside", str(quarantine.home / FOREIGN_REFS))


def remove_ref(common_dir: Path, name: str, value: str, quarantine: Quarantine) -> None:
    """Remove the ref *name*, from its own file and from packed-refs; what is no plain value goes to the quarantine."""
    path = common_dir / name
    if os.path.lexists(path):
        if OBJECT_ID.match(value):
            try:
                path.unlink()
            except PermissionError:
                open_up(path.parent)
                path.unlink()
        else:
            quarantine.take(path, f"git/{name}")
    packed = common_dir / "packed-refs"
    if packed.is_file() and name in parse_packed(packed.read_bytes()):
        replace_file(packed, without(packed.read_bytes(), name))


def without(packed: bytes, name: str) -> bytes:
    """packed-refs without *name* and the line of its peeled value."""
    lines, dropping = [], False
    for line in packed.split(b"\n"):
        dropping = line.endswith(b" " + os.fsencode(name)) or (dropping and line.startswith(b"^"))
        if not dropping:
            lines.append(line)
    return b"\n".join(lines)


def bring_ref_back(common_dir: Path, name: str, value: str, what: What, quarantine: Quarantine) -> Breach:
    """Write the ref *name* as it was, as a file of its own."""
    path = common_dir / name
    try:
        make_way(common_dir, name, "git", quarantine)
        if value.startswith(LINK):
            os.symlink(value.removeprefix(LINK), path)
        else:
            replace_file(path, value.encode("utf-8", "surrogateescape") + b"\n")
    except OSError as error:
        return failed(f"git/{name}", what, error)
    return Breach(f"git/{name}", what, "restored", str(quarantine.home / FOREIGN_REFS) if what == "changed" else "")


def foreign_refs(quarantine: Quarantine) -> list[tuple[str, str]]:
    """The foreign refs that were noted: name and what it named. A torn last line is passed over."""
    found = []
    with suppress(FileNotFoundError):
        for line in (quarantine.home / FOREIGN_REFS).read_text().splitlines():
            with suppress(ValueError):
                name, value = json.loads(line)
                found.append((str(name), str(value)))
    return found
