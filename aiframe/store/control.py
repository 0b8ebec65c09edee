"""The control record on disk: what decides, out of the reach of agents and of ``git clean``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from aiframe.core.errors import UnreadableFile
from aiframe.core.model import Project, Settings
from aiframe.core.problem import Problem
from aiframe.store.atomic import StorageError, make_folder, read_bounded, write_atomic, write_durable
from aiframe.store.codec import decode_project, encode_project
from aiframe.store.layout import Layout
from aiframe.store.quarantine import GUARDED, set_aside

SCHEMA = 1


class ControlRecord(Struct, frozen=True):
    """A project, and how to know the STATE.json that belongs to it.

    *written_state* is the fingerprint of the STATE.json written for it. *previous_state* and *previous_mtime_ns* are
    those of the file that this one replaced: they tell one left over by a crash from one that a person has edited.
    *outbox* is what the decision behind it still owes to other files: whoever comes next looks whether it was paid.
    *shown_settings* is there while STATE.json was left as a step had changed it: the settings that aiframe last wrote
    there. What differs from them is an edit, and what a command has changed since is none.
    """

    project: Project
    written_state: str = ""
    previous_state: str = ""
    previous_mtime_ns: int = 0
    outbox: tuple[Mapping[str, Any], ...] = ()
    shown_settings: Settings | None = None


def good_control(layout: Layout) -> Path:
    """The second copy of the control record, used when the first is broken."""
    return layout.control_copy


def read_control(layout: Layout) -> ControlRecord | None:
    """The control record, from its second copy where the first is lost or broken; None where there is neither.

    Raises UnreadableFile where neither copy can be used, StorageError where the disk fails.
    """
    try:
        record = _read(layout.control_json)
        broken = None
    except UnreadableFile as error:
        record, broken = None, error
    if record is not None:
        return record
    try:
        record = _read(good_control(layout))
    except UnreadableFile as error:
        broken = broken or error
    if record is None and broken is not None:
        raise broken
    return record


def write_control(layout: Layout, record: ControlRecord) -> None:
    """Make *record* the control record, durably; one that cannot be read is set aside first. Raises StorageError."""
    with suppress(FileNotFoundError):
        try:
            _read(layout.control_json)
        except UnreadableFile as error:
            set_aside(layout, layout.control_json, error.message)
    write_durable(layout.control_json, encode_record(record))


def keep_second_copy(layout: Layout, record: ControlRecord) -> None:
    """Write the copy that stands in for a broken control record. Best effort: the record itself is safe already."""
    with suppress(StorageError):
        write_atomic(good_control(layout), encode_record(record))


def hold_records(layout: Layout) -> dict[Path, bytes]:
    """The control record and the last good copies as they are now, for `bring_back`."""
    held: dict[Path, bytes] = {}
    guarded = (layout.last_good_dir / name for name in GUARDED)
    own = (layout.control_json, good_control(layout), layout.workspace_record, layout.doctor_proof)
    for path in (*own, *guarded):
        with suppress(FileNotFoundError):
            held[path] = read_bounded(path)
    return held


def bring_back(layout: Layout, held: Mapping[Path, bytes]) -> tuple[str, ...]:
    """Write again what of *held* is gone or is not as it was; the names.

    A newer control record stays, and so does the copy of STATE.json: a person's command may have written them
    meanwhile. Raises StorageError.
    """
    lost: list[str] = []
    for path, data in held.items():
        there = os.path.lexists(path)
        if there and _stands(layout, path, data):
            continue
        if there:
            set_aside(layout, path, "a step left something else in place of aiframe's own file")
        make_folder(path.parent)
        write_durable(path, data)
        lost.append(path.name)
    return tuple(lost)


def _stands(layout: Layout, path: Path, held: bytes) -> bool:
    """Whether what lies at *path* is what was *held*, or was written by aiframe since."""
    try:
        now = read_bounded(path)
        if now == held or path == layout.last_good_dir / "STATE.json":
            return True
        if path not in (layout.control_json, good_control(layout)):
            return False
        return decode_record(path, now).project.generation > decode_record(path, held).project.generation
    except (FileNotFoundError, UnreadableFile):
        return False


def encode_record(record: ControlRecord) -> bytes:
    """The bytes of the control record."""
    values = {
        "schema": SCHEMA,
        "written_state": record.written_state,
        "previous_state": record.previous_state,
        "previous_mtime_ns": record.previous_mtime_ns,
        "outbox": record.outbox,
        "shown_settings": record.shown_settings,
        "project": encode_project(record.project),
    }
    return msgspec.json.format(msgspec.json.encode(values), indent=2) + b"\n"


def decode_record(path: Path, data: bytes) -> ControlRecord:
    """The record whose bytes are *data*. Raises UnreadableFile, whose hint names the cure."""
    cure = f"remove {path.name} and {path.name}.good in {path.parent}: the project then goes on from STATE.json"
    try:
        values = msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:
        raise UnreadableFile([Problem(path, f"is no JSON: {error}", hint=cure)]) from error
    if not isinstance(values, dict):
        raise UnreadableFile([Problem(path, "is no JSON object", hint=cure)])
    if isinstance(values.get("schema"), int) and values["schema"] > SCHEMA:
        newer = f"was written by a newer aiframe (schema {values['schema']}, this one knows {SCHEMA})"
        raise UnreadableFile([Problem(path, newer, hint="update aiframe")])
    try:
        return _convert(values)
    except ValueError as error:
        raise UnreadableFile([Problem(path, f"is no control record: {error}", hint=cure)]) from error


def _convert(values: dict[str, Any]) -> ControlRecord:
    return ControlRecord(
        project=decode_project(msgspec.convert(values.get("project"), dict[str, Any])),
        written_state=msgspec.convert(values.get("written_state", ""), str),
        previous_state=msgspec.convert(values.get("previous_state", ""), str),
        previous_mtime_ns=msgspec.convert(values.get("previous_mtime_ns", 0), int),
        outbox=msgspec.convert(values.get("outbox", ()), tuple[dict[str, Any], ...]),
        shown_settings=msgspec.convert(values.get("shown_settings"), Settings | None),
    )


def _read(path: Path) -> ControlRecord | None:
    try:
        return decode_record(path, read_bounded(path))
    except FileNotFoundError:
        return None


def modified_ns(path: Path) -> int:
    """When *path* was last modified, in nanoseconds; 0 where there is nothing."""
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return 0
