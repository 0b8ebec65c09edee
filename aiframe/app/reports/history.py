"""What was tried, and what came of it: every run of a project, put together from its journal, its results and git.

Reads only, and never fails over a file: one that is torn or foreign is named among the problems, and the rest counts.
What nobody has told is None, which is not the same as nothing.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, to_builtins
from msgspec.structs import replace

from aiframe.app.project.lanes import lane_places
from aiframe.app.project.site import open_site
from aiframe.core.errors import AiframeError
from aiframe.core.model import FailureKind
from aiframe.core.problem import Problem
from aiframe.core.verdict import UNASKED
from aiframe.store.atomic import LIMIT
from aiframe.store.control import read_control
from aiframe.store.journal import Event, read_events
from aiframe.store.layout import Layout, is_safe_name
from aiframe.workspaces.commits import commits_by_run
from aiframe.workspaces.git import Repository

DONE, HELD, RUNNING, UNKNOWN = "done", "held", "running", "unknown"
"""How a run may stand beside the kinds of failure: UNKNOWN is one that left neither a result nor a line of its end."""

_GRAVITY = {kind.value: rank for rank, kind in enumerate(FailureKind)}


class GateRun(Struct, frozen=True):
    """A check that aiframe ran; None for what its result does not tell. *log* is relative to the project."""

    name: str
    command: str
    exit_code: int | None = None
    seconds: float | None = None
    log: str = ""


class Attempt(Struct, frozen=True):
    """One run. *outcome* is "done", "held", "handed", "running", "unknown" or the kind of failure that decided.

    *started* is in epoch seconds; *seconds*, *tokens* (read and written) and *cost_usd* are None where nobody told
    them. *commit* is what was kept of it. *unverified* are the checks of a task that nobody has made,
    *unasked* the questions of its agent that reached nobody. *job*: it is one of the jobs that a run has worked off.
    """

    run_id: str
    role: str = ""
    task: str = ""
    attempt: int = 0
    agent: str = ""
    model: str = ""
    outcome: str = UNKNOWN
    message: str = ""
    started: float | None = None
    seconds: float | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    commit: str = ""
    gates: tuple[GateRun, ...] = ()
    unverified: tuple[str, ...] = ()
    unasked: tuple[str, ...] = ()
    job: bool = False

    @property
    def ended(self) -> float | None:
        """When it was over, in epoch seconds."""
        return None if self.started is None or self.seconds is None else self.started + self.seconds

    @property
    def failed(self) -> bool:
        """Whether it came to a bad end."""
        return self.outcome in _GRAVITY

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values that JSON can carry."""
        return dict(to_builtins(self))


class History(Struct, frozen=True):
    """The attempts, the oldest first, and the files that could not be used."""

    attempts: tuple[Attempt, ...]
    problems: tuple[Problem, ...] = ()


class Totals(Struct, frozen=True):
    """What *runs* runs took. The sums hold what was told, *untold_tokens* and *unpriced* count the rest."""

    runs: int = 0
    seconds: float = 0.0
    tokens: int = 0
    cost_usd: float = 0.0
    untold_tokens: int = 0
    unpriced: int = 0


def read_history(
    layout: Layout, environ: Mapping[str, str], *, task: str = "", tail: int | None = None, lanes: bool = True
) -> History:
    """Every run of the project, with *lanes* of these too, or those of *task*; of these the last *tail*.

    Only what is shown is read whole.
    """
    problems: list[Problem] = []
    commits = _commits(layout, environ)
    found = list(_of_one(layout, commits, task, tail, problems))
    known = {each.run_id for each in found}
    for place in lane_places(layout.root) if lanes else ():
        # One that is being put away may have handed its runs over already.
        found += [each for each in _of_one(Layout(place), commits, task, tail, problems) if each.run_id not in known]
    found.sort(key=_when)
    return History(tuple(found if tail is None else found[len(found) - min(tail, len(found)) :]), tuple(problems))


def _of_one(
    layout: Layout, commits: Mapping[str, str], task: str, tail: int | None, problems: list[Problem]
) -> Iterator[Attempt]:
    """The runs that lie in one folder."""
    with _Runs(layout, problems) as runs:
        known = _from_journal(layout, problems)
        told = {each.run_id for each in known.values()}
        for run_id in runs.names():
            if run_id not in told:  # the journal was lost, or is older than the run
                found = runs.completed(Attempt(run_id))
                if found is not None:
                    known[run_id] = found
        wanted = sorted((each for each in known.values() if not task or each.task == task), key=_when)
        shown = wanted if tail is None else wanted[len(wanted) - min(tail, len(wanted)) :]
        current = _current_run(layout)
        for each in shown:
            yield _settled((None if each.job else runs.completed(each)) or each, commits, current)


def spent(attempts: Iterable[Attempt]) -> Totals:
    """What *attempts* took together."""
    total = Totals()
    for each in attempts:
        total = Totals(
            total.runs + 1,
            total.seconds + (each.seconds or 0.0),
            total.tokens + (each.tokens or 0),
            total.cost_usd + (each.cost_usd or 0.0),
            total.untold_tokens + (each.tokens is None),
            total.unpriced + (each.cost_usd is None),
        )
    return total


def _when(attempt: Attempt) -> float:
    return attempt.started or 0.0


def _settled(attempt: Attempt, commits: Mapping[str, str], current: str) -> Attempt:
    """*attempt* with what neither journal nor result tells: its commit, and whether it is under way."""
    if attempt.outcome == UNKNOWN and attempt.run_id == current:
        attempt = replace(attempt, outcome=RUNNING)
    if not attempt.commit and attempt.run_id in commits:
        attempt = replace(attempt, commit=commits[attempt.run_id])
    return attempt


def _commits(layout: Layout, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The commits of runs, where the work of the project lands: in its own repository, or in a person's."""
    with suppress(AiframeError):
        site = open_site(layout.root, environ)
        if site.settings.workspace.kind != "inplace":
            from aiframe.app.attempts.linked import find_landed

            return commits_by_run(*find_landed(site))
    with suppress(AiframeError):
        return commits_by_run(Repository(layout.root))
    return {}


def _current_run(layout: Layout) -> str:
    with suppress(AiframeError):
        record = read_control(layout)
        if record is not None and record.project.run is not None:
            return record.project.run.run_id
    return ""


# The journal ----------------------------------------------------------------------------------------------------------


def _from_journal(layout: Layout, problems: list[Problem]) -> dict[str, Attempt]:
    """What the journal alone tells, in its order. A run of jobs counts as each of those that ended in it."""
    known: dict[str, Attempt] = {}
    try:
        for event in read_events(layout):
            run_id, kind = event.get("run_id"), event.get("kind")
            if not isinstance(run_id, str) or not run_id:
                continue
            if kind == "step_started":
                known[run_id] = _begun(event, run_id)
            elif kind == "step_ended":
                begun = known.pop(run_id) if run_id in known else _begun({**event, "ts": None}, run_id)
                run = _ended(begun, event)
                jobs = _jobs(run, event)
                known |= {f"{run_id} {job.task}": job for job in jobs} or {run_id: run}
    except AiframeError as error:
        problems.append(Problem(layout.events, error.message, hint=error.hint))
    return known


def _begun(event: Event, run_id: str) -> Attempt:
    number = event.get("attempt")
    return Attempt(
        run_id,
        role=_text(event.get("role")),
        task=_text(event.get("task")),
        attempt=number if isinstance(number, int) else 0,
        started=_number(event.get("ts")),
    )


def _ended(attempt: Attempt, event: Event) -> Attempt:
    outcome, at = _text(event.get("outcome")), _number(event.get("ts"))
    took = None if at is None or attempt.started is None else max(0.0, at - attempt.started)
    return replace(
        attempt,
        outcome=DONE if outcome == "ok" else outcome or UNKNOWN,
        message=_text(event.get("message")),
        commit=_text(event.get("commit")),
        seconds=took,
        tokens=None if (tokens := _number(event.get("tokens"))) is None else int(tokens),
        cost_usd=_number(event.get("cost_usd")),
    )


def _jobs(run: Attempt, event: Event) -> Iterator[Attempt]:
    """The jobs that ended in *run*."""
    told = event.get("jobs")
    for job in told if isinstance(told, list) else ():
        if isinstance(job, dict) and isinstance(job.get("task"), str):
            number, outcome = job.get("attempt"), _text(job.get("outcome"))
            yield replace(
                run,
                task=job["task"],
                attempt=number if isinstance(number, int) else 0,
                outcome=DONE if outcome == "ok" else outcome or UNKNOWN,
                message="" if outcome == "ok" else run.message,
                seconds=_number(job.get("seconds")),
                job=True,
            )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12
    return float(value) if usable and isinstance(value, int | float) else None


# The results ----------------------------------------------------------------------------------------------------------


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


class _Runs:
    """The folder logs/runs, held open. No link in it is followed: an agent could have laid one."""

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

    def __enter__(self) -> _Runs:
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
    return min(failures, key=lambda failure: _GRAVITY.get(failure.kind, len(_GRAVITY)), default=None)


def _tokens(usage: Mapping[str, Any]) -> int | None:
    """What was read and written; None where the agent told nothing, which it tells with zeros, too."""
    counts = [usage.get(name) for name in ("input_tokens", "output_tokens")]
    return sum(count for count in counts if isinstance(count, int) and count > 0) or None
