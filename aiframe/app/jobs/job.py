"""One job at work: the lines of its commands, its log, and what goes wrong with it."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from aiframe.app.attempts.gate_log import GateLog
from aiframe.app.project.site import Site
from aiframe.app.protection.sandboxing import folder_policy
from aiframe.core.lanes import Lane
from aiframe.core.model import Run, Task, TaskStatus
from aiframe.core.ports import Policy

_SAID_CHARS = 200
"""How much of a command is said where it has failed; its log has all of it."""


def policy_of(site: Site, run: Run, name: str, folder: Path, *, network: bool) -> Policy:
    """The policy of one job, whose containers are known by a name of their own."""
    return folder_policy(site, folder, network=network, run_id=f"{run.run_id}.{name}")


class Job(Struct):
    """A job at work: its *lines*, of which the one with the number *at* runs, and when it has to end (monotonic).

    *why* is why it is being ended, empty while it may go on; *stopped*: by a person. *unwritten* is the beginning of
    its log, which is begun with the first word that it prints: to make a file takes longer than many a command.
    """

    task: Task
    lane: Lane
    folder: Path
    policy: Policy
    log: GateLog
    lines: tuple[str, ...]
    began: float
    until: float
    at: int = 0
    why: str = ""
    stopped: bool = False
    unwritten: bytes | None = b""

    def head(self, line: str) -> None:
        """The next *line* begins. Raises OSError."""
        text = f"$ {line}\n".encode("utf-8", "replace")
        if self.unwritten is None:
            self.log.take(text)
        else:
            self.unwritten += text

    def take(self, chunk: bytes) -> None:
        """It has printed *chunk*. Raises OSError."""
        if self.unwritten is not None:
            self.log.path.parent.mkdir(parents=True, exist_ok=True)
            self.log.open()
            self.log.take(self.unwritten)
            self.unwritten = None
        if chunk:
            self.log.take(chunk)


def status_of(why: str) -> TaskStatus:
    """What a job has come to in which *why* is what went wrong, empty where nothing did."""
    return TaskStatus.FAILED if why else TaskStatus.DONE


def what_went_wrong(job: Job, code: int) -> str:
    """In words, which line of *job* has ended with exit code *code* (below 0: by that signal)."""
    line, count = " ".join(job.lines[job.at].split()), len(job.task.steps)
    line = line if len(line) <= _SAID_CHARS else f"{line[: _SAID_CHARS - 3]}..."
    what = (
        f"step {job.at + 1} of {count}" if job.at < count else f"check {job.at + 1 - count} of {len(job.lines) - count}"
    )
    how = f"was killed by signal {-code}" if code < 0 else f"failed with exit code {code}"
    return f"{what}, `{line}`, {how}"
