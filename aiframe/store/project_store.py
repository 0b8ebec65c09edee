"""A project as a whole on disk: loaded, and saved so that a crash at any instruction leaves the old or the new."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from aiframe.core.errors import AiframeError, UnreadableFile
from aiframe.core.model import Moment, Project
from aiframe.store.atomic import (
    StorageError,
    make_folder,
    read_bounded,
    storage_errors,
    sweep_temporaries,
    write_atomic,
    write_durable,
)
from aiframe.store.by_lanes import may_have_written
from aiframe.store.codec import (
    StateFile,
    as_state_file,
    fingerprint,
    from_legacy,
    parse_state,
    render_state,
    to_state,
    with_heartbeat,
)
from aiframe.store.control import ControlRecord, keep_second_copy, modified_ns, read_control, write_control
from aiframe.store.hand_edits import Edits, find_edits
from aiframe.store.layout import Layout
from aiframe.store.locks import state_mutex
from aiframe.store.quarantine import last_good, remember_good, set_aside

_ATTEMPTS = 5


class StaleRecord(AiframeError):
    """Somebody else has changed the project since it was loaded; nothing was written."""


class Loaded(Struct, frozen=True):
    """A project as its files tell it.

    *edits* is what a person or an agent changed in STATE.json since aiframe wrote it. *state_file* is None where
    STATE.json is missing or, with *unreadable* saying why, cannot be used. *legacy*: there is no control record, all
    comes from STATE.json. *stale*: a crash came between the two files, STATE.json shows the state before; the next
    save mends it. *outbox* is what the last decision owed to other files. *overruled* names what of STATE.json, in
    words, counts for nothing because a step of a lane may have written it; it is no edit then.
    """

    project: Project
    edits: Edits
    state_file: StateFile | None
    legacy: bool = False
    missing_state: bool = False
    stale: bool = False
    unreadable: UnreadableFile | None = None
    outbox: tuple[Mapping[str, Any], ...] = ()
    overruled: str = ""


class ProjectStore:
    """Loads and saves the project that lies at *layout*."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._seen = ""  # fingerprint of the STATE.json that the last load read

    def mutex(self, timeout_s: float = 10) -> AbstractContextManager[None]:
        """The project's state mutex, to be held around a load, a decision and a save. Raises LockHeld."""
        return state_mutex(self.layout, timeout_s)

    def ensure_control_dir(self) -> None:
        """Make aiframe's own folder. Raises StorageError."""
        make_folder(self.layout.control_dir)

    def load(self, *, tolerate_unreadable: bool = False) -> Loaded:
        """The project and what was edited by hand. Writes nothing.

        Raises UnreadableFile for a STATE.json that cannot be read, unless *tolerate_unreadable* and there is a control
        record to go by; and for a control record of which both copies are broken.
        """
        for _ in range(_ATTEMPTS):
            record = read_control(self.layout)
            loaded = self._interpret(record, tolerate_unreadable)
            if record is not None:
                loaded = replace(loaded, outbox=record.outbox)
            if _generation(read_control(self.layout)) == _generation(record):
                break  # else somebody saved between our two reads
        return loaded

    def _interpret(self, record: ControlRecord | None, tolerate: bool) -> Loaded:
        path = self.layout.state_json
        try:
            changed = modified_ns(path)
            data = read_bounded(path)
            file = parse_state(path, data)
        except FileNotFoundError:
            self._seen = ""
            project = record.project if record else Project()
            return Loaded(project, Edits(), None, missing_state=True)
        except UnreadableFile as error:
            if record is not None and self._is_a_lanes(record):
                return Loaded(record.project, Edits(), None, overruled="it cannot be read")
            if record is None or not tolerate:
                raise
            return Loaded(record.project, Edits(), None, unreadable=error)
        self._seen = mark = fingerprint(data)
        if record is None:
            return Loaded(from_legacy(file), Edits(), file, legacy=True)
        project = record.project
        if mark == record.written_state:
            return Loaded(project, Edits(), file)
        if _is_left_over(record, mark, changed):
            return Loaded(project, Edits(), file, stale=True)
        written = as_state_file(project)
        if record.shown_settings is not None:
            written = replace(written, settings=record.shown_settings)
        edits = find_edits(project, written, file)
        if edits and self._is_a_lanes(record):
            return Loaded(project, Edits(), file, overruled=", ".join(edits.changed))
        return Loaded(project, edits, file)

    def _is_a_lanes(self, record: ControlRecord) -> bool:
        """Whether a step of a lane may have changed STATE.json. A step of the project's own is judged at its end."""
        return record.project.run is None and may_have_written(self.layout)

    def save(
        self, project: Project, clock: Moment, *, expect_generation: int,
        outbox: Sequence[Mapping[str, Any]] = (), keep_foreign_state: bool = False,
    ) -> Project:  # fmt: skip
        """Write *project* durably, control record first; the project as saved, one generation on. Hold the mutex.

        *outbox* is what the caller will do next for this decision. With *keep_foreign_state* a STATE.json that is not
        as aiframe wrote it stays: while a step runs it is a proposal, to be read when the step ends.
        Raises StaleRecord where the record on disk is not of *expect_generation*, StorageError where the disk refuses:
        then either the old or the new project stands, and a load says which.
        """
        layout = self.layout
        stands = read_control(layout)
        current = _generation(stands)
        if current != expect_generation:
            message = f"{layout.root} was changed meanwhile (generation {current}, expected {expect_generation})"
            raise StaleRecord(message, hint="run the command again")
        saved = project.evolve(generation=current + 1)
        with storage_errors(layout.state_json, "replace"):
            keeps = keep_foreign_state and self._is_foreign()
            # A file that stays is not the one that this save replaces: it is to be found edited, not left by a crash.
            replaced, changed, before = ("", 0, self._good_fields()) if keeps else self._replaced_state()
        data = render_state(to_state(saved, clock.wall, before))
        shown = (stands.shown_settings or stands.project.settings) if keeps and stands else None
        record = ControlRecord(saved, fingerprint(data), replaced, changed, tuple(outbox), shown)
        self.ensure_control_dir()
        write_control(layout, record)
        if not keeps:
            write_durable(layout.state_json, data)
            self._seen = record.written_state
        keep_second_copy(layout, record)
        with suppress(StorageError):  # a copy for convenience: the record itself is safe
            remember_good(layout, "STATE.json", data, durable=False)
        if saved.run is not None:
            self._touch_heartbeat(clock)
        return saved

    def _is_foreign(self) -> bool:
        """Whether STATE.json is there and neither as aiframe last wrote it nor left over by a crash."""
        record = read_control(self.layout)
        try:
            changed = modified_ns(self.layout.state_json)
            mark = fingerprint(read_bounded(self.layout.state_json))
        except FileNotFoundError:
            return False
        except UnreadableFile:
            return True
        return record is not None and mark != record.written_state and not _is_left_over(record, mark, changed)

    def _replaced_state(self) -> tuple[str, int, dict[str, object]]:
        """The fingerprint, time of change (ns) and fields of the STATE.json that a save is about to replace.

        What cannot be read, or was changed since it was loaded, is kept in quarantine.
        """
        layout = self.layout
        path = layout.state_json
        try:
            changed = modified_ns(path)
            data = read_bounded(path)
            fields = parse_state(path, data).raw
        except FileNotFoundError:
            return "", 0, self._good_fields()
        except UnreadableFile as error:
            set_aside(layout, path, error.message)
            return "", 0, self._good_fields()
        mark = fingerprint(data)
        record = read_control(layout)
        known = {self._seen, record.written_state, record.previous_state} if record else {self._seen}
        if mark not in known:
            set_aside(layout, path, "changed while aiframe was about to replace it")
        return mark, changed, fields

    def _good_fields(self) -> dict[str, object]:
        data = last_good(self.layout, "STATE.json")
        if data is None:
            return {}
        try:
            return parse_state(self.layout.state_json, data).raw
        except UnreadableFile:
            return {}

    def beat(self, clock: Moment) -> None:
        """Say that the runner is alive. Takes the mutex, so never call it while holding it.

        STATE.json is touched only while its bytes are those that aiframe wrote. Raises LockHeld, StorageError.
        """
        with self.mutex():
            self._touch_heartbeat(clock)
            record = read_control(self.layout)
            try:
                data = read_bounded(self.layout.state_json)
            except (FileNotFoundError, UnreadableFile):
                return
            if record is not None and fingerprint(data) == record.written_state:
                write_durable(self.layout.state_json, with_heartbeat(data, clock.wall))

    def heartbeat(self) -> float:
        """When a runner last said that it is alive, in epoch seconds; 0 for never."""
        with storage_errors(self.layout.heartbeat, "read"):
            return modified_ns(self.layout.heartbeat) / 1e9

    def _touch_heartbeat(self, clock: Moment) -> None:
        path = self.layout.heartbeat
        with storage_errors(path, "write"):
            self.ensure_control_dir()
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644))
            at = int(clock.wall * 1e9)
            os.utime(path, ns=(at, at))

    @contextmanager
    def carrying(self) -> Iterator[None]:
        """Mark the block as a runner's work; the mark stays behind where the runner is killed. Hold the run lock."""
        path = self.layout.carrying
        for folder in (self.layout.root, self.layout.notes, self.layout.control_dir):
            sweep_temporaries(folder)
        write_atomic(path, "")
        try:
            yield
        finally:
            with suppress(OSError):  # a disk that takes no more writes: what the block raised says so
                path.unlink(missing_ok=True)

    def set_agent_lock(self, run_id: str | None) -> None:
        """Show in .agent_lock that a step lives, or with None that none does. It decides nothing.

        The original's empty folder of that name is removed; one with something in it is left alone.
        """
        path = self.layout.agent_lock
        with storage_errors(path, "write"):
            if path.is_dir() and not path.is_symlink():
                try:
                    path.rmdir()
                except OSError:
                    if _is_folder(path):
                        return
            if run_id is None:
                path.unlink(missing_ok=True)
            else:
                write_atomic(path, f"{run_id}\n")


def _generation(record: ControlRecord | None) -> int:
    return record.project.generation if record else 0


def _is_left_over(record: ControlRecord, mark: str, changed: int) -> bool:
    """Whether a STATE.json is still the one that the save of *record* was about to replace."""
    return mark == record.previous_state and changed == record.previous_mtime_ns


def _is_folder(path: os.PathLike[str]) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False
