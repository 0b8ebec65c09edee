"""What the runs of a project have left in logs/runs, read without trust: an agent may have written there."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from aiframe.app.reports.attempt import DONE, GRAVITY, HELD, UNKNOWN, Attempt, GateRun
from aiframe.core.problem import Problem
from aiframe.core.verdict import UNASKED
from aiframe.store.atomic import LIMIT
from aiframe.store.layout import Layout, is_safe_name


class _Failure(msgspec.Struct):
    kind: str = ""
    message: str = ""


class _Broken(msgspec.Struct):
    failures: tuple[_Failure, ...] = ()


class _Gate(msgspec.Struct):
    name: str = ""
    command: str = ""
    exit_code: int | None = None
    duration_s: float | None = None
    log_file: str = ""


class _Result(msgspec.Struct):
    """The part of result.json that counts here; what else it holds is passed over without being built."""

    run_id: str
    role: str = ""
    task_id: str = ""
    attempt: int = 0
    started_at: float | None = None
    completed_at: float | None = None
    agent: str = ""
    model: str = ""
    success: bool = False
    finished: dict[str, Any] | None = None
    held: dict[str, Any] | None = None
    broken: _Broken | None = None
    total_cost_usd: float | None = None
    usage: dict[str, Any] = msgspec.field(default_factory=dict)
    commit: str | None = None
    gates: tuple[_Gate, ...] = ()
    unverified: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


_DECODER = msgspec.json.Decoder(_Result)


class Results:
    """The folder logs/runs, held open. No link in it is followed: an agent could have laid one.

    What cannot be used is added to *problems*, and nothing is raised for it.
    """

    def __init__(self, layout: Layout, problems: list[Problem]) -> None:
        self._place = layout.logs / "runs"
        self._problems = problems
        self._folder = -1
        try:
            above = os.open(layout.logs, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                self._folder = _open_folder("runs", above)
            finally:
                os.close(above)
        except FileNotFoundError:
            pass  # no step has run
        except OSError as error:
            self._complain(self._place, f"cannot be read: {error.strerror}", "move it away")

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder >= 0:
            os.close(self._folder)

    def names(self) -> Iterator[str]:
        """The ids of the runs that have a folder."""
        if self._folder < 0:
            return
        for name in sorted(os.listdir(self._folder)):
            if is_safe_name(name):
                yield name
            elif not name.startswith("."):
                self._complain(self._place / name, "is no run of aiframe's", "move it away")

    def completed(self, attempt: Attempt) -> Attempt | None:
        """*attempt* with what its result tells; None where that is missing or of no use."""
        if self._folder < 0 or not is_safe_name(attempt.run_id):
            return None
        path = self._place / attempt.run_id / "result.json"
        try:
            result = _DECODER.decode(_read(attempt.run_id, self._folder))
            if result.run_id != attempt.run_id:
                raise ValueError(f"tells of the run {result.run_id[:80]!r}")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            reason = getattr(error, "strerror", None) or str(error)
            self._complain(path, f"cannot be used: {reason}", "the other runs are told without it; move it away")
            return None
        return _joined(attempt, result)

    def _complain(self, path: Path, message: str, hint: str) -> None:
        problem = Problem(path, message, hint=hint)
        if problem not in self._problems:
            self._problems.append(problem)


def _open_folder(name: str, above: int) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)


def _read(run_id: str, runs: int) -> bytes:
    try:
        folder = _open_folder(run_id, runs)
    except NotADirectoryError as error:
        raise ValueError("is no folder") from error
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open("result.json", flags, dir_fd=folder)
    finally:
        os.close(folder)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "is no regular file")
        if found.st_size > LIMIT:
            raise ValueError(f"has {found.st_size} bytes; at most {LIMIT} are read")
        return file.read(LIMIT)


def _joined(attempt: Attempt, result: _Result) -> Attempt:
    """The journal goes first where it has told the end: the machine may have judged otherwise than the result.

    It does for what was spent, too: an agent may tell in its result what all runs of its session took.
    """
    failure = _deciding(result.broken.failures) if result.broken is not None else None
    outcome = attempt.outcome
    if outcome == UNKNOWN:
        outcome = HELD if result.held else failure.kind if failure else DONE if result.success else UNKNOWN
    started = attempt.started if result.started_at is None else result.started_at
    took = attempt.seconds
    if result.completed_at is not None and started is not None:
        took = max(0.0, result.completed_at - started)
    return replace(
        attempt,
        role=attempt.role or result.role,
        task=attempt.task or result.task_id,
        attempt=attempt.attempt or result.attempt,
        agent=result.agent,
        model=result.model,
        outcome=outcome,
        message=attempt.message or (failure.message if failure else ""),
        started=started,
        seconds=took,
        tokens=_tokens(result.usage) if attempt.tokens is None else attempt.tokens,
        cost_usd=result.total_cost_usd if attempt.cost_usd is None else attempt.cost_usd,
        commit=attempt.commit or result.commit or "",
        gates=tuple(GateRun(g.name, g.command, g.exit_code, g.duration_s, g.log_file) for g in result.gates),
        unverified=result.unverified,
        unasked=tuple(note.removeprefix("refused: ") for note in result.notes if UNASKED in note),
    )


def _deciding(failures: tuple[_Failure, ...]) -> _Failure | None:
    """Of several failures the gravest."""
    return min(failures, key=lambda failure: GRAVITY.get(failure.kind, len(GRAVITY)), default=None)


def _tokens(usage: Mapping[str, Any]) -> int | None:
    """What was read and written; None where the agent told nothing, which it tells with zeros, too."""
    counts = [usage.get(name) for name in ("input_tokens", "output_tokens")]
    return sum(count for count in counts if isinstance(count, int) and count > 0) or None
