"""Leaves the stamp that lets the next tick be cheap: what this look came from, and what it said (`aiframe.idle`).

The order decides. The files are surveyed first and read afterwards, so that a change in between is seen as one. A file
system's clock is coarse: a file that changed just before the survey may change once more and look the same. Then no
stamp is left, and a later tick that finds the files at rest leaves it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from aiframe.app.project.advance import Look
from aiframe.app.project.lanes import lane_places
from aiframe.app.project.site import Site
from aiframe.core.errors import AiframeError
from aiframe.core.model import State
from aiframe.idle import ABSENT, FRAME_STAMP, STAMP, compose, names_in, read_stamp, shape, still_idle
from aiframe.store.atomic import read_bounded, write_atomic
from aiframe.store.control import decode_record, good_control
from aiframe.store.layout import Layout

_MADE = 2  # the line of a stamp that says when it was made
_COARSE_NS = 50_000_000
_VERY_COARSE_NS = 2_500_000_000
"""For how long after a change a file is not yet trusted; the second where its time of change is in whole seconds."""


class Survey(Struct, frozen=True):
    """The shape of every file that a look at the folder *place* depends on; *made* is in epoch seconds.

    *names* is what the folder of a frame's projects holds, empty for a project. *settled*: no file is too fresh.
    """

    place: str
    made: float
    watched: tuple[str, ...]
    settled: bool
    names: str = ""


class Rest(Struct, frozen=True):
    """What a tick said that found nothing to do; *until* is when a wait ends, in epoch seconds, 0 for never."""

    exit_code: int
    until: float
    message: str


def survey(layout: Layout) -> Survey | None:
    """How the project's files are now, to be taken before they are read; None where that cannot be told."""
    return _survey(str(layout.root), lambda _: _watched(layout))


def leave_stamp(
    site: Site, found: Look, message: str, exit_code: int, before: Survey | None, wakes: Sequence[float] = ()
) -> bool:
    """Leave a stamp for a look that *found* nothing to do; whether there is one now.

    *before* is the survey from before that look; *wakes* are when to look anew at the latest, in epoch seconds, 0 for
    never. A failure to write is none: the next tick looks again. A folder without a repository gets none for this.
    """
    if before is None or found.has_work or found.seen.lock_held or found.decision.project.state is State.RUNNING:
        return False  # a runner that still closes its books may be killed over it, and leave work
    wait = found.decision.project.wait
    own = wait.until if wait is not None and wait.until > found.seen.clock.wall else 0.0
    wake = min((at for at in (own, *wakes) if at), default=0.0)
    needed = replace(before, watched=tuple(line for line in before.watched if _bears_on(line, found)))
    return _write(site.layout.idle_stamp, needed, wake, exit_code, message, site.environ)


def _bears_on(line: str, found: Look) -> bool:
    """Whether the file of *line* had a part in what was *found*. The fewer, the cheaper is every later look."""
    name = line.partition("\t")[0]
    project, owed = found.loaded.project, found.loaded.outbox
    if name.startswith("INTAKE_"):
        return project.state is State.INTAKE_WAITING or any(debt.get("archive") == "answers" for debt in owed)
    if name == "SPEC.md":
        return bool(project.planned_spec)
    if name == "logs/events.ndjson":
        return any("archive" not in debt for debt in owed)
    return True


def resting(layout: Layout, environ: Mapping[str, str], now: float) -> Rest | None:
    """What the project's stamp says, if it still holds at *now* (epoch seconds)."""
    with suppress(OSError, ValueError, AiframeError):
        root = str(layout.root)
        text = read_stamp(os.path.join(root, STAMP)) or read_stamp(str(layout.idle_stamp))  # the likely place first
        idle = still_idle(text, root, environ, now)
        return Rest(*idle) if idle is not None else None
    return None


# All projects of a frame ----------------------------------------------------------------------------------------------


def survey_frame(frame: Path) -> Survey | None:
    """What the folder of the frame's projects holds, to be taken before its projects are listed."""
    return _survey(str(frame / "projects"), _entries, with_names=True)


def leave_frame_stamp(
    before: Survey | None, projects: Sequence[Path], message: str, exit_code: int, environ: Mapping[str, str]
) -> bool:
    """Leave one stamp for all *projects* of a frame, each of which has a valid one; whether there is one now.

    *before* is the survey from before the projects were listed.
    """
    if before is None:
        return False
    watched, wakes = [], []
    for project in projects:
        text = _valid_stamp(project, environ)
        if not text:
            return False
        lines = text.split("\n")
        wakes.append(float(lines[3]))
        watched += [_below(project.name, line) for line in lines[8 : 8 + int(lines[7])]]
    ours = {project.name for project in projects}
    others = [line for line in before.watched if line.partition("\t")[0] not in ours]
    whole = Survey(before.place, before.made, (*watched, *others), _is_settled(others, before.made), before.names)
    wake = min((wake for wake in wakes if wake), default=0.0)
    return _write(Path(before.place) / FRAME_STAMP, whole, wake, exit_code, message, environ)


def _valid_stamp(project: Path, environ: Mapping[str, str]) -> str:
    with suppress(OSError, ValueError, AiframeError):
        text = read_stamp(str(Layout(project).idle_stamp))
        if still_idle(text, str(project), environ, time.time()) is not None:
            return text
    return ""


def _below(folder: str, line: str) -> str:
    name, _, known = line.partition("\t")
    return f"{folder if name == '.' else os.path.join(folder, name)}\t{known}"


def _entries(folder: int) -> Iterable[str]:
    return [name for name in names_in(folder).split("/") if name]


# Surveys --------------------------------------------------------------------------------------------------------------


def _survey(place: str, names: Callable[[int], Iterable[str]], *, with_names: bool = False) -> Survey | None:
    made = time.time()
    try:
        folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        held = names_in(folder) if with_names else ""
        watched = tuple(f"{name}\t{shape(name, folder)}" for name in names(folder))
    except (OSError, AiframeError):
        return None
    finally:
        os.close(folder)
    return Survey(place, made, watched, _is_settled(watched, made), held)


def _watched(layout: Layout) -> Iterable[str]:
    """The paths that a look reads. Of those that are not there the folder tells, whose time changes with its names."""
    yield "."
    if os.path.lexists(layout.notes):
        yield layout.notes.name
    if (layout.root / ".git").is_file():
        yield ".git"
    record = (layout.control_json,) if _is_usable(layout.control_json) else (layout.control_json, good_control(layout))
    for path in (*record, layout.carrying, layout.events):
        yield os.path.relpath(path, layout.root) if path.is_relative_to(layout.root) else str(path)
    read = (
        layout.state_json, layout.tasks_yaml, layout.spec, layout.project_yaml, layout.questions, layout.answers,
        layout.history, layout.approval, layout.rejection, layout.interrupt_flag,
    )  # fmt: skip
    for path in read:
        if os.path.lexists(path):
            yield os.path.relpath(path, layout.root)
    if not layout.lanes.is_dir():
        return
    yield layout.lanes.name
    for place in lane_places(layout.root):
        lane = Layout(place)
        for name in (*_watched(lane), os.path.relpath(lane.lane_record, place)):
            yield os.path.normpath(os.path.join(os.path.relpath(place, layout.root), name))


def _is_usable(record: Path) -> bool:
    """Whether the control record speaks for itself; else its second copy does."""
    try:
        decode_record(record, read_bounded(record))
    except (FileNotFoundError, AiframeError):
        return False
    return True


def _is_settled(watched: Iterable[str], made: float) -> bool:
    return all(_is_old(line.partition("\t")[2], int(made * 1e9)) for line in watched)


def _is_old(known: str, made_ns: int) -> bool:
    if known == ABSENT:
        return True
    changed = int(known.rpartition(" ")[2])
    return changed + (_COARSE_NS if changed % 1_000_000_000 else _VERY_COARSE_NS) < made_ns


def _write(path: Path, before: Survey, wake: float, exit_code: int, message: str, environ: Mapping[str, str]) -> bool:
    if not before.settled:
        return False
    try:
        text = compose(before.place, before.made, wake, exit_code, before.names, list(before.watched), environ, message)
        if not _says_the_same(read_stamp(str(path)), text):
            write_atomic(path, text.encode("utf-8", "surrogateescape"))
    except (ValueError, OSError, AiframeError):
        return False
    return True


def _says_the_same(old: str, new: str) -> bool:
    """Whether *old* differs from *new* in nothing but the time at which it was made, which was earlier."""
    before, after = old.split("\n"), new.split("\n")
    return len(before) > _MADE and before[:_MADE] + before[_MADE + 1 :] == after[:_MADE] + after[_MADE + 1 :]
