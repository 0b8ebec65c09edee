"""result.json: how a run ended, written before anything is made of it, so that a crash can be replayed."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from aiframe.app.attempts.sessions import session_of
from aiframe.core.errors import UnreadableFile
from aiframe.core.events import Broken, Ending, Finished, Handed, Held
from aiframe.core.model import Run
from aiframe.core.ports import Answer
from aiframe.store.atomic import StorageError, make_folder, read_bounded, storage_errors, write_durable
from aiframe.store.layout import Layout


class Kept(Struct, frozen=True):
    """A candidate that passed its gates: what commit to make of it. *date* is seconds since the epoch."""

    base: str
    branch: str | None
    tree: str
    parent: str
    message: str
    trailers: Mapping[str, str]
    date: float


class GateResult(Struct, frozen=True):
    """One check that aiframe ran: exit code, time (seconds) and the log, relative to the project.

    *tree* names the files it ran on; they are those that the commit holds, unless *ran_on* says in words what else they
    are. *sandbox* is what fenced it off. *clean_checkout*: it ran in a folder of its own, with nothing else in it.
    """

    name: str
    command: str
    exit_code: int
    duration_s: float
    log_file: str
    tree: str = ""
    sandbox: str = "none"
    clean_checkout: bool = False
    ran_on: str = ""


class Result(Struct, frozen=True):
    """How run *run_id* ended, before it is settled. Times are epoch seconds.

    *input_key* names the task as it was worked on. *ignored_inputs*: the gates ran in a folder with files that git
    ignores, which they may have read and which are not in the commit. *unverified* are the checks of a task that was
    taken without anybody having made them. *key* tells that no agent has written the result. *commit* is there once
    it is made. *instead_of* is the agent whose quota was used up. *waits*: it was written before its turn to land came,
    and more checks may have run since.
    """

    run_id: str
    role: str
    task_id: str
    attempt: int
    started_at: float
    completed_at: float
    input_key: str = ""
    finished: Finished | None = None
    broken: Broken | None = None
    held: Held | None = None
    handed: Handed | None = None
    kept: Kept | None = None
    commit: str = ""
    gates: tuple[GateResult, ...] = ()
    ignored_inputs: bool = False
    unverified: tuple[str, ...] = ()
    agent: str = ""
    instead_of: str = ""
    model: str = ""
    output: str = ""
    session_id: str = ""
    num_turns: int = 0
    duration_api_ms: int | None = None
    total_cost_usd: float | None = None
    usage: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    key: str = ""
    waits: bool = False

    @property
    def ending(self) -> Ending:
        """The ending as the machine takes it."""
        ending = self.finished or self.broken or self.held or self.handed
        if ending is None:
            raise ValueError(f"result of run {self.run_id} does not say how it ended")
        return ending


def write_result(layout: Layout, result: Result) -> None:
    """Keep *result* durably for the replay, and a copy for people. Raises StorageError."""
    make_folder(layout.control_dir)
    if read_lock(layout) != _digest(result.key):
        write_durable(layout.result_lock, _digest(result.key))  # a step has spoiled it
    write_durable(layout.unsettled_result, _as_text(result))
    publish_result(layout, result)


def publish_result(layout: Layout, result: Result) -> None:
    """Write the copy for people, logs/runs/RUNID/result.json; what hinders that decides nothing."""
    with suppress(StorageError):
        make_folder(layout.run_dir(result.run_id))
        write_durable(layout.result_json(result.run_id), _as_text(result))


def _as_text(result: Result) -> str:
    """*result* with the fields that people and scripts look for beside those of the replay."""
    failures = result.broken.failures if result.broken else ()
    if result.handed is not None and result.handed.failure is not None:
        failures = (result.handed.failure,)
    data = msgspec.to_builtins(result) | {
        "success": result.finished is not None,
        "error": "; ".join(f"{failure.kind}: {failure.message}" for failure in failures),
        "duration_ms": round((result.completed_at - result.started_at) * 1000),
    }
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def read_result(layout: Layout, run_id: str) -> Result | None:
    """The result of *run_id*; None when there is none, or none that is whole and its own.

    Read from aiframe's own folder: the copy in logs/ lies where an agent could have written it.
    """
    result = left_result(layout)
    return result if result is not None and result.run_id == run_id else None


def left_result(layout: Layout) -> Result | None:
    """The result that the last run left, whichever that was; None when there is none that is whole."""
    try:
        data = json.loads(read_bounded(layout.unsettled_result))
        result = msgspec.convert(data, Result)
    except (FileNotFoundError, UnreadableFile, ValueError, RecursionError, msgspec.ValidationError):
        return None
    whole = result.finished or result.broken or result.held or result.handed
    return result if whole and read_lock(layout) == _digest(result.key) else None


def lock_results(layout: Layout) -> str:
    """From now on only a result with the key that is returned counts: an agent does not know it. Raises StorageError.

    It stays in the runner's memory until the result is written, and nothing of the agent's runs by then.
    """
    key = secrets.token_hex(16)
    make_folder(layout.control_dir)
    write_durable(layout.result_lock, _digest(key))
    return key


def read_lock(layout: Layout) -> str:
    """The digest of the key that a result must hold; empty where there is none that can be read."""
    try:
        return read_bounded(layout.result_lock).decode("ascii", "replace")
    except (FileNotFoundError, UnreadableFile):
        return ""


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def forget_result(layout: Layout) -> None:
    """See to it that no result is there: what an agent writes there proves nothing. Raises StorageError."""
    with storage_errors(layout.unsettled_result, "remove"):
        layout.unsettled_result.unlink(missing_ok=True)


def result_of(run: Run, completed_at: float, answer: Answer, ending: Ending, **more: Any) -> Result:
    """A result from an agent's answer and the ending that aiframe judged."""
    if isinstance(ending, Broken):
        ending = replace(ending, session=session_of(answer, run, more.get("agent", ""), more.get("model", "")))
    return Result(
        run_id=run.run_id,
        role=run.role.value,
        task_id=run.task_id,
        attempt=run.attempt,
        input_key=run.input_key,
        instead_of=run.instead_of,
        started_at=run.started.wall,
        completed_at=completed_at,
        finished=ending if isinstance(ending, Finished) else None,
        broken=ending if isinstance(ending, Broken) else None,
        held=ending if isinstance(ending, Held) else None,
        handed=ending if isinstance(ending, Handed) else None,
        output=answer.text,
        session_id=answer.session_id,
        num_turns=answer.num_turns,
        duration_api_ms=answer.duration_api_ms,
        total_cost_usd=answer.cost_usd,
        usage=msgspec.to_builtins(answer.usage),
        **more,
    )
