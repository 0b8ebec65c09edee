"""One invocation of an agent: its output streamed to files and read on the way, its time and its life watched."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from aiframe.app.attempts.heard import Heard
from aiframe.app.attempts.playing import check_agent_tells_cost
from aiframe.app.attempts.spending import Meter
from aiframe.app.attempts.underway import works_in_container
from aiframe.app.project.site import Site
from aiframe.app.project.steplog import StepLog
from aiframe.app.protection.environment import agent_environment
from aiframe.app.protection.log_holds import hold_log
from aiframe.app.protection.secrets import redactor_of
from aiframe.core.errors import LockHeld, UnreadableFile
from aiframe.core.model import Run
from aiframe.core.ports import Agent, AgentRequest, Answer, Command, Exit
from aiframe.core.redaction import Redactor
from aiframe.core.timing import elapsed
from aiframe.process import Limits, MissingProgram, never, now, supervise
from aiframe.store.atomic import make_folder, storage_errors, write_durable
from aiframe.store.layout import contain
from aiframe.workspaces.inplace import fingerprint

if TYPE_CHECKING:
    from aiframe.app.attempts.contained import Box

NOT_FOUND = 127
"""The exit code by which a shell says that there is no such program."""
_OURS = ("agent.jsonl", "prompt.md")
_LEFT_BYTES = 16 * 1024 * 1024


class Stop(Struct):
    """Whether somebody wants the step to end; a signal handler sets it.

    *is_homeless* says whether the project's folder was removed beneath the step: then nothing counts that it does.
    """

    requested: bool = False
    is_homeless: Callable[[], bool] = never

    def __call__(self) -> bool:
        """For the supervisor, which asks again and again."""
        return self.requested or self.is_homeless()


def run_agent(
    site: Site, run: Run, agent: Agent, request: AgentRequest, log: StepLog, stop: Stop, subject: str = ""
) -> Answer:
    """Start the agent, follow it to its end, and say what it answered. An ending by aiframe is in the answer's failure.

    What it prints goes to agent.jsonl in the request's folder. *subject* tells what it is asked about, where a run asks
    it more than once. Raises StepError for an agent that the budget cannot be held with, StorageError; whatever was
    started is then gone.
    """
    check_agent_tells_cost(site, agent.name)
    raw_path = Path(request.run_dir) / "agent.jsonl"
    make_folder(raw_path.parent)
    call = _prepare(site, run, agent, request, subject)
    reader = agent.reader(call.request)
    meter = Meter(site, run, again=call.is_taken_up)
    if not call.is_taken_up and meter.is_over():  # others have spent what was left since this step began
        meter.void()
        return Answer(failure=meter.failure())
    redactor = redactor_of(site)
    about = {"agent": agent.name, "model": request.model}
    log.tell("agent_started", **about)
    with storage_errors(raw_path, "write"), raw_path.open("ab", buffering=0) as raw:
        hold_log(site, raw_path)
        heard = Heard(raw, reader, redactor, log, meter)
        try:
            ended = _follow(site, run, call, heard, stop)
        except MissingProgram as error:
            meter.void()
            log.tell("agent_ended", **about, exit_code=NOT_FOUND, reason="missing", seconds=0.0)
            return reader.finish(Exit(NOT_FOUND, stderr=error.message))  # the agent knows how one gets it
        heard.end()
    _redact_left(Path(call.request.run_dir), redactor)
    answer = reader.finish(ended)
    meter.end(answer)
    log.tell(
        "agent_ended", **about, exit_code=ended.code, reason=ended.reason, seconds=round(ended.duration_s, 3),
        **meter.told(),
    )  # fmt: skip
    if ended.reason == "stopped" and not stop() and meter.over is not None:
        return replace(answer, failure=meter.failure())
    return answer


class _Call(Struct, frozen=True):
    """What *agent* is asked, by which *command*; in a container *box* carries it, and *request* is as it sees it.

    *is_taken_up*: an earlier runner has begun it, and it may be at work.
    """

    agent: Agent
    request: AgentRequest
    command: Command
    box: Box | None
    is_taken_up: bool


def _prepare(site: Site, run: Run, agent: Agent, request: AgentRequest, subject: str) -> _Call:
    """Lay out what the agent reads, unless it has begun already."""
    box = _box(site, run, request, subject) if works_in_container(site) else None
    request = request if box is None else box.request
    call = _Call(agent, request, agent.command(request), box, box is not None and box.is_there)
    folder = Path(request.run_dir)
    make_folder(folder)
    if not call.is_taken_up:
        for name, text in call.command.files.items():
            write_durable(contain(folder, name), text)
    return call


def _follow(site: Site, run: Run, call: _Call, heard: Heard, stop: Stop) -> Exit:
    """Start the agent, or go on with it, and hear it to its end. Raises MissingProgram, StepError, StorageError."""
    ended = (supervise if call.box is None else call.box.carry)(
        call.command,
        run_id=run.run_id,
        limits=Limits(timeout_s=time_left(run), stall_s=site.rules.stall_sec),
        on_stdout=heard.take,
        on_stderr=heard.take_error,
        beat=lambda: beat(site),
        fingerprint=lambda: fingerprint(Path(call.request.workspace)),
        complete=lambda: heard.reader.complete,
        should_stop=lambda: stop() or heard.is_too_dear(),
        env_base=agent_environment(site, call.agent),
    )
    return replace(ended, stderr=heard.errors())


def _box(site: Site, run: Run, request: AgentRequest, subject: str) -> Box:
    from aiframe.app.attempts.contained import Box  # much that most projects do without

    return Box(site, run, request, subject)


def _redact_left(folder: Path, redactor: Redactor) -> None:
    """Take secrets out of what the command itself left in the run's folder, such as its last message."""
    with suppress(OSError):  # the folder may be gone, or what is in it not ours to read
        left = [entry for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)]
        for entry in left:
            if entry.name in _OURS or entry.stat().st_size > _LEFT_BYTES:
                continue
            data = Path(entry.path).read_bytes()
            redacted = redactor.data(data)
            if redacted != data:
                write_durable(Path(entry.path), redacted)


def beat(site: Site) -> None:
    """Say that the runner lives. Somebody who holds the mutex for long costs a beat, not the step.

    So does an agent that breaks the control record: it is brought back when the step's seal is checked.
    """
    with suppress(LockHeld, UnreadableFile):
        site.store.beat(now())


def time_left(run: Run) -> float:
    """Seconds until the run's deadline; at least one, so that what is about to end may say so."""
    return max(1.0, run.timeout_s - elapsed(run.started, now()))
