"""One invocation of an agent: its output streamed to files and read on the way, its time and its life watched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from aiframe.app.log_holds import hold_log
from aiframe.app.site import Site
from aiframe.app.steplog import StepLog
from aiframe.core.errors import LockHeld, UnreadableFile
from aiframe.core.model import Run
from aiframe.core.ports import Agent, AgentRequest, Answer, Exit
from aiframe.core.timing import elapsed
from aiframe.process import Limits, MissingProgram, now, supervise
from aiframe.store.atomic import make_folder, storage_errors, write_durable
from aiframe.store.layout import contain
from aiframe.workspaces.inplace import fingerprint

NOT_FOUND = 127
"""The exit code by which a shell says that there is no such program."""
LINE_LIMIT = 1024 * 1024
"""Bytes of one line that a reader gets to see; the file keeps the whole line."""


@dataclass(slots=True)
class Lines:
    """Cuts a stream of bytes into lines of text; what exceeds the limit of a line is left out."""

    take: Callable[[str], None]
    _held: bytearray = field(default_factory=bytearray)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes, and hand on each line that they complete."""
        head, *rest = chunk.split(b"\n")
        self._hold(head)
        for piece in rest:
            self.end()
            self._hold(piece)

    def end(self) -> None:
        """Hand on what is held as one line."""
        line, self._held = self._held, bytearray()
        if line:
            self.take(line.decode("utf-8", "replace"))

    def _hold(self, piece: bytes) -> None:
        self._held += piece[: LINE_LIMIT - len(self._held)]


@dataclass(slots=True)
class Stop:
    """Whether somebody wants the step to end; a signal handler sets it."""

    requested: bool = False

    def __call__(self) -> bool:
        """For the supervisor, which asks again and again."""
        return self.requested


def run_agent(site: Site, run: Run, agent: Agent, request: AgentRequest, log: StepLog, stop: Stop) -> Answer:
    """Start the agent, follow it to its end, and say what it answered. An ending by aiframe is in the answer's failure.

    Raises StorageError; whatever was started is then gone.
    """
    command = agent.command(request)
    folder = site.layout.run_dir(run.run_id)
    make_folder(folder)
    for name, text in command.files.items():
        write_durable(contain(folder, name), text)
    reader = agent.reader(request)
    raw_path = folder / "agent.jsonl"
    lines = Lines(lambda line: log.say(reader.feed(line)))
    with storage_errors(raw_path, "write"), raw_path.open("ab", buffering=0) as raw:
        hold_log(site, raw_path)

        def take(chunk: bytes) -> None:
            raw.write(chunk)
            lines.feed(chunk)

        try:
            ended = supervise(
                command,
                run_id=run.run_id,
                limits=Limits(timeout_s=time_left(run), stall_s=site.rules.stall_sec),
                on_stdout=take,
                on_stderr=log.add_foreign,
                beat=lambda: beat(site),
                fingerprint=lambda: fingerprint(Path(request.workspace)),
                complete=lambda: reader.complete,
                should_stop=stop,
                env_base=agent_environment(site.environ),
            )
        except MissingProgram as error:
            ended = Exit(NOT_FOUND, stderr=error.message)  # the agent knows how one gets it
    lines.end()
    return reader.finish(ended)


def beat(site: Site) -> None:
    """Say that the runner lives. Somebody who holds the mutex for long costs a beat, not the step.

    So does an agent that breaks the control record: it is brought back when the step's seal is checked.
    """
    with suppress(LockHeld, UnreadableFile):
        site.store.beat(now())


def time_left(run: Run) -> float:
    """Seconds until the run's deadline; at least one, so that what is about to end may say so."""
    return max(1.0, run.timeout_s - elapsed(run.started, now()))


def agent_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without git's own variables, which would point an agent's git at another repository."""
    return {name: value for name, value in environ.items() if not name.startswith("GIT_")}
