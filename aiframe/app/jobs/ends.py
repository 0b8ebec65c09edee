"""How the jobs of a run ended, a line for each, so that none that is over is begun again after a crash.

The file lies in aiframe's own folder and holds one run's lines. TASKS.yaml gets the news now and then, all at once:
to write it for each of hundreds of jobs would take longer than the jobs.

A line outlives aiframe as soon as it is written. That it outlives the machine costs milliseconds more, which are spent
at once after a job that took long, and now and then between many short ones.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, BinaryIO, Self

from msgspec import Struct, field

from aiframe.core.events import JobsEnded
from aiframe.core.model import Failure, FailureKind, Run, Task
from aiframe.core.scheduling import input_key
from aiframe.store.atomic import make_folder, read_bounded, storage_errors, write_durable
from aiframe.store.layout import Layout

_SYNC_SHARE = 20
"""Of the time that passes, at most one part in so many is spent on the disk."""


class Ends(Struct, frozen=True):
    """What is known of a run of jobs: those that have *begun*, and the *ended* with what went wrong (empty: nothing).

    *took* has their seconds, *keys* their input keys, *told* are those that TASKS.yaml says already.
    """

    begun: tuple[str, ...] = ()
    ended: Mapping[str, str] = field(default_factory=dict)
    took: Mapping[str, float] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    told: frozenset[str] = frozenset()

    @property
    def cut(self) -> tuple[str, ...]:
        """Those that have begun, and not ended."""
        return tuple(name for name in self.begun if name not in self.ended)

    def ending(self, run: Run, failure: Failure | None) -> JobsEnded:
        """The end of *run*, with all that was not told yet; *failure* is why it ended before its time."""
        news = {name: why for name, why in self.ended.items() if name not in self.told}
        failed = {name: why for name, why in self.ended.items() if why}
        cut = tuple(name for name in dict.fromkeys((run.task_id, *self.begun)) if name not in self.ended)
        return JobsEnded(
            tuple(name for name, why in news.items() if not why), failed, cut, failure, self.took, self.keys
        )


class EndsFile:
    """The file of one run, open for its lines. All raise StorageError."""

    def __init__(self, layout: Layout, run: Run) -> None:
        self._path = layout.job_ends
        make_folder(layout.control_dir)
        write_durable(self._path, _line(run=run.run_id))
        with storage_errors(self._path, "open"):
            self._file: BinaryIO = self._path.open("a+b", buffering=0)
        self._is_synced, self._due = True, 0.0

    def begin(self, name: str) -> None:
        """A job begins. Its line need not outlive a machine that goes down: then nothing of the job does."""
        self._add(_line(begun=name))

    def end(self, ends: Iterable[tuple[Task, str, float]]) -> None:
        """Jobs have ended, each with what went wrong, and the seconds it took."""
        lines = (_line(ended=task.id, why=why, s=round(took, 3), key=input_key(task)) for task, why, took in ends)
        self._add("".join(lines))
        self._is_synced = False
        self.sync(only_if_due=True)

    def sync(self, *, only_if_due: bool = False) -> None:
        """Let the machine go down: what was written is not lost. With *only_if_due* where that is cheap by now."""
        if self._is_synced or (only_if_due and time.monotonic() < self._due):
            return
        began = time.monotonic()
        with storage_errors(self._path, "write"):
            os.fsync(self._file.fileno())
        self._is_synced, took = True, time.monotonic() - began
        self._due = began + took * _SYNC_SHARE

    def tell(self, names: Iterable[str]) -> None:
        """TASKS.yaml says by now how these have ended."""
        self._add(_line(told=list(names)))

    def untell(self, name: str) -> None:
        """TASKS.yaml says no more how this one has ended."""
        self._add(_line(untold=name))

    def is_there(self) -> bool:
        """Whether its name still leads to it."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._file.fileno()))
        except OSError:
            return False

    def bring_back(self) -> None:
        """Write it anew where it was removed: what stands in it can be read as long as it is open."""
        if self.is_there():
            return
        with storage_errors(self._path, "restore"):
            self._file.seek(0)
            text = self._file.read()
        make_folder(self._path.parent)
        write_durable(self._path, text)

    def again(self, name: str) -> None:
        """A person wants this one, which has failed, begun once more: its end is none."""
        self._add(_line(again=name))

    def _add(self, text: str) -> None:
        with storage_errors(self._path, "write"):
            self._file.write(text.encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def left_ends(layout: Layout, run: Run) -> Ends | None:
    """How far the jobs of *run* came; None where it is no run of jobs, or began none."""
    try:
        lines = read_bounded(layout.job_ends).decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return None
    entries = [entry for line in lines if isinstance(entry := _parsed(line), dict)]
    if not entries or entries[0].get("run") != run.run_id:
        return None
    begun = tuple(dict.fromkeys(str(entry["begun"]) for entry in entries if "begun" in entry))
    ended, took, keys, told = dict[str, str](), dict[str, float](), dict[str, str](), set[str]()
    for entry in entries:
        if "ended" in entry:
            name = str(entry["ended"])
            ended[name], took[name] = str(entry.get("why", "")), float(entry.get("s", 0))
            keys[name] = str(entry.get("key", ""))
            told.discard(name)
        ended.pop(str(entry.get("again", "")), None)
        told.update(str(name) for name in entry.get("told", ()))
        told.discard(str(entry.get("untold", "")))
    return Ends(begun, ended, took, keys, frozenset(told))


def interrupted() -> Failure:
    """Why a run of jobs ended whose runner is gone."""
    hint = "if nobody killed it, .git/aiframe/runner.log may say why"
    return Failure(FailureKind.INTERRUPTED, "the runner died while jobs were at work; they begin again", hint)


def _line(**entry: Any) -> str:
    return json.dumps(entry, ensure_ascii=True, separators=(",", ":")) + "\n"


def _parsed(line: str) -> Any:
    """What a line says; None for one that a crash tore."""
    try:
        return json.loads(line)
    except ValueError:
        return None
