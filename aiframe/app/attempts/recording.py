"""Recording what agents do, as a file that the scripted agent plays.

A turn is put by before the step's result is written, and goes into the file after it: a step that is killed is played
again, and is recorded once. The files are compared as git sees them, on top of the commit that the step started from.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from aiframe.agents.script_file import MAX_BYTES, Turn, read_script
from aiframe.app.attempts.linked import repository_at
from aiframe.app.project.site import RECORD, Site
from aiframe.app.project.steplog import StepLog
from aiframe.app.protection.secrets import redactor_of
from aiframe.core.errors import AiframeError, StepError, UsageError
from aiframe.core.model import Moment, Role, Run
from aiframe.core.ports import Answer
from aiframe.core.redaction import Redactor
from aiframe.core.timing import elapsed
from aiframe.process import now
from aiframe.store.atomic import make_folder, read_bounded, write_durable
from aiframe.store.layout import CONTROL_PATHS, Layout
from aiframe.workspaces.git import Repository
from aiframe.workspaces.inplace import head
from aiframe.workspaces.trees import ABSENT, GITLINK, Change, changed_files, covered, worktree_tree

FILE_BYTES = 8 * 1024 * 1024
"""The largest file that is recorded; larger ones are named in ``left_out``."""

_LINK = "120000"
_NOTE_BYTES = 1024 * 1024


class Shot(Struct, frozen=True):
    """How it was before the agent began: the *commit* and the *tree* of all files, the *notes*, and the time."""

    path: Path
    commit: str
    tree: str
    notes: Mapping[str, bytes]
    began: Moment


def recorded_by(root: Path, file: str, environ: Mapping[str, str]) -> dict[str, str]:
    """*environ* for a tick whose steps are to be recorded in *file*. Raises UsageError, UnreadableFile."""
    path = Path(file).absolute()
    if path.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"{path} lies in the project, where agents work", hint="name a file outside of it")
    if not path.parent.is_dir() or path.is_dir():
        raise UsageError(f"{path} cannot be written: {path.parent} is no folder, or it is one itself",
                         hint="name a file in a folder that is there")  # fmt: skip
    if path.exists():
        read_script(path)
    return {**environ, RECORD: str(path)}


# While the step runs --------------------------------------------------------------------------------------------------


def begin_shot(site: Site, workspace: Path, log: StepLog) -> Shot | None:
    """Look at the files before the agent begins; None where nothing is to be recorded."""
    path = site.environ.get(RECORD)
    if not path:
        return None
    try:
        repo = repository_at(site, workspace)
        commit = head(repo).commit
        return Shot(Path(path), commit, worktree_tree(repo, commit, ()), _notes(site.layout), now())
    except AiframeError as error:
        log.say(f"-- this step is not recorded: {error.message}")
        return None


def put_by_turn(
    site: Site, run: Run, workspace: Path, shot: Shot | None, answer: Answer, log: StepLog, *, by_hand: bool = False
) -> None:
    """Put by what the agent did since *shot*; whoever has written the step's result has it go into the file.

    To be called when what the agent planted in git's own files is put back, and nothing else is. *by_hand*: a person
    has written the documents before the step began.
    """
    if shot is None:
        return
    try:
        control = () if by_hand and run.role is not Role.DEV else CONTROL_PATHS
        turn = _turn(site, run, workspace, shot, answer, control)
        make_folder(site.layout.control_dir)
        write_durable(_pending(site.layout), json.dumps({"path": str(shot.path), "turn": turn}))
    except AiframeError as error:
        log.say(f"-- this step is not recorded: {error.message}")


def write_turn(site: Site, run: Run, log: StepLog) -> None:
    """Add the turn of *run* that was put by to its file. Doing it again changes nothing. What hinders it is logged."""
    pending = _pending(site.layout)
    try:
        put_by = json.loads(read_bounded(pending, MAX_BYTES * 2))
        turn, path = put_by["turn"], Path(put_by["path"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return
    try:
        if turn.get("run_id") == run.run_id:
            _append(path, turn)
            log.say(f"-- recorded in {path}")
    except (AiframeError, OSError) as error:
        log.say(f"-- this step is not recorded in {path}: {error}")
    with suppress(OSError):
        pending.unlink(missing_ok=True)


def _append(path: Path, turn: dict[str, Any]) -> None:
    """*path* with *turn* behind the others, whole at every moment. Raises UnreadableFile, StepError, StorageError."""
    from aiframe.agents.script_writer import HEADER, turn_text  # takes 3 ms, which only a recording shall pay for

    before = path.read_text(encoding="utf-8") if path.exists() else ""
    turns: tuple[Turn, ...] = read_script(path) if before else ()
    if any(known.run_id == turn["run_id"] for known in turns):
        return
    same = [t for t in turns if (t.role, t.task, t.attempt) == (turn["role"], turn.get("task", ""), turn["attempt"])]
    named = dict(turn)
    if same:
        named = {"role": named.pop("role"), "repeat": len(same), **named}
    text = (before or HEADER) + ("" if not before or before.endswith("\n") else "\n") + turn_text(named)
    if len(text.encode()) > MAX_BYTES:
        raise StepError(f"it would have more than {MAX_BYTES} bytes", hint="record into another file")
    write_durable(path, text)


def _pending(layout: Layout) -> Path:
    return layout.control_dir / "recorded.json"


# A turn ---------------------------------------------------------------------------------------------------------------


def _turn(
    site: Site, run: Run, workspace: Path, shot: Shot, answer: Answer, control: tuple[str, ...]
) -> dict[str, Any]:
    redactor, ended = redactor_of(site), now()
    turn: dict[str, Any] = {"role": run.role.value}
    if run.task_id:
        turn["task"] = run.task_id
    turn |= {"attempt": run.attempt, "run_id": run.run_id, "delay": round(elapsed(shot.began, ended), 3)}
    said: dict[str, Any] = {"say": answer.text}
    if answer.failure is not None:
        failure = answer.failure
        said["fail"] = {"kind": failure.kind.value, "message": failure.message, "hint": failure.hint}
        if failure.reset_at is not None:
            said["fail"]["reset_in"] = round(max(0.0, failure.reset_at - ended.wall), 3)
    elif answer.closing is not None:
        said["closing"] = dict(answer.closing)
    turn |= {name: value for name, value in redactor.value(said).items() if value}
    usage = {name: count for name, count in msgspec.to_builtins(answer.usage).items() if count}
    turn |= {"usage": usage} if usage else {}
    turn |= {"cost_usd": answer.cost_usd} if answer.cost_usd is not None else {}
    return turn | _files(site, workspace, shot, redactor, control)


def _files(site: Site, workspace: Path, shot: Shot, redactor: Redactor, control: tuple[str, ...]) -> dict[str, Any]:
    """What became of the files, in the words of a turn; those that differ from the commit are all named, so that a
    try of which a part was lost is told whole."""
    repo = repository_at(site, workspace)
    after = worktree_tree(repo, shot.commit, ())
    of_work = (c for c in changed_files(repo, shot.commit, after) if not covered(c.path, control))
    changes = {c.path: c for c in (*of_work, *changed_files(repo, shot.tree, after))}
    told: dict[str, Any] = {"left_out": [], "clear": [], "files": {}, "binary": {}, "links": {}, "modes": {}}
    blobs = _blobs(repo, list(changes.values()))
    for path, change in sorted(changes.items()):
        try:
            path.encode()
        except UnicodeEncodeError:
            told["left_out"].append(os.fsencode(path).decode("utf-8", "replace"))
            continue
        _tell(told, change, blobs.get(change.blob), redactor)
    written: set[str] = {*told["files"], *told["binary"], *told["links"]}
    told["clear"] = list(dict.fromkeys(_cleared(path, written) for path in told["clear"]))
    if workspace == site.root:
        for name, data in _notes(site.layout).items():
            if shot.notes.get(name) != data:
                _tell_data(told, name, redactor.data(data))
    return {name: value for name, value in told.items() if value}


def _cleared(path: str, written: Collection[str]) -> str:
    """What to clear for *path* to be gone: the folder of it, where a file comes in its place."""
    return next((other for other in written if path.startswith(f"{other}/")), path)


def _tell(told: dict[str, Any], change: Change, data: bytes | None, redactor: Redactor) -> None:
    path = change.path
    if change.status == "D":
        told["clear"].append(path)
        return
    if change.mode == GITLINK or data is None:
        told["left_out"].append(path)
        return
    if change.mode == _LINK:
        told["links"][path] = os.fsdecode(data)
        return
    if change.status == "T":
        told["clear"].append(path)
    _tell_data(told, path, redactor.data(data))
    if change.mode != change.old_mode and not (change.mode == "100644" and change.old_mode == ABSENT):
        told["modes"][path] = change.mode[-3:]


def _tell_data(told: dict[str, Any], path: str, data: bytes) -> None:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        told["binary"][path] = base64.b64encode(data).decode()
    else:
        told["files"][path] = text


def _blobs(repo: Repository, changes: list[Change]) -> Mapping[str, bytes]:
    """The contents of the new sides of *changes* by their ids, but for those that are too large."""
    wanted = sorted({c.blob for c in changes if c.status != "D" and c.mode != GITLINK})
    if not wanted:
        return {}
    sizes = repo.run("cat-file", "--batch-check", stdin="\n".join(wanted).encode() + b"\n").decode().splitlines()
    small = [line.split()[0] for line in sizes if int(line.split()[2]) <= FILE_BYTES]
    raw = repo.run("cat-file", "--batch", stdin="\n".join(small).encode() + b"\n") if small else b""
    return dict(_parted(raw))


def _parted(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """The objects in the output of ``git cat-file --batch``."""
    at = 0
    while at < len(raw):
        line = raw.index(b"\n", at)
        name, _, size = raw[at:line].decode().split()
        yield name, raw[line + 1 : line + 1 + int(size)]
        at = line + 1 + int(size) + 1


def _notes(layout: Layout) -> Mapping[str, bytes]:
    """The texts in notes/, which git ignores and the next prompts show."""
    notes = {}
    with suppress(OSError):
        for path in sorted(layout.notes.glob("*.md")):
            if path.is_file() and not path.is_symlink() and path.stat().st_size <= _NOTE_BYTES:
                notes[f"{layout.notes.name}/{path.name}"] = path.read_bytes()
    return notes
