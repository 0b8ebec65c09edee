"""The scripted agent: plays a file of turns. For demos, and for people who test their prompts and projects."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Struct, field

import aiframe
from aiframe.agents.closing import check_closing
from aiframe.agents.endings import cut_short, failure_of
from aiframe.agents.lines import amount_of, count_of, json_object, object_of, plain, text_of
from aiframe.agents.options import read_options
from aiframe.core.errors import UsageError
from aiframe.core.model import Failure, FailureKind
from aiframe.core.ports import AgentRequest, Answer, Command, Exit, Usage

# Without a path of its own Python would look for modules in the workspace first, and a project may hold any.
# The folder of this very package comes last, so that the player is found where aiframe is not installed.
LAUNCH = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); "
    "runpy.run_module('aiframe.agents.scripted_player', run_name='__main__', alter_sys=True)"
)


class ScriptedOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """*file* is the script, absolute or relative to the project; time passes *speed* times as fast, 0: at once."""

    file: str = ""
    speed: Annotated[float, msgspec.Meta(ge=0, le=10**6)] = 1


class Scripted:
    """Plays recorded turns in a real child process."""

    name = "scripted"
    tells_cost = True
    variables: tuple[str, ...] = ()

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self._options = dict(options or {})
        read_options(self.name, self._options, ScriptedOptions)

    def command(self, request: AgentRequest) -> Command:
        """The player, with what it needs to choose the turn. Raises UsageError when no file is named."""
        options = read_options(self.name, {**self._options, **request.options}, ScriptedOptions)
        if not options.file or "\0" in options.file:
            raise UsageError(
                "agent 'scripted' needs the option file",
                hint="for example agent: {name: scripted, file: script.yaml}; docs/scripted-agent.md has the format",
            )
        package = str(Path(aiframe.__file__).resolve().parent.parent)
        step = ["--role", request.role.value, f"--task={request.task_id}", f"--attempt={request.attempt}"]
        step += [f"--resume={request.resume}"] if request.resume else []
        step += [f"--run-dir={request.run_dir}", f"--speed={options.speed}"]
        argv = [sys.executable, "-P", "-c", LAUNCH, package, *step, f"--workspace={request.workspace}"]
        file = options.file if request.project is None else str(Path(request.project, options.file))
        return Command(argv=(*argv, "--", file), cwd=request.workspace)

    def reader(self, request: AgentRequest) -> ScriptedReader:
        """A reader of the player's events."""
        return ScriptedReader(request)


_KINDS = {
    "text": "message", "file": "tool_call", "command": "tool_call", "result": "tool_result", "failure": "error",
}  # fmt: skip
"""What sort of thing an event is, for the log."""


class ScriptedReader(Struct):
    """Follows one turn."""

    request: AgentRequest
    kind: str = "output"
    _session: str = ""
    _text: str = ""
    _end: Mapping[str, Any] | None = None
    _told: Mapping[str, Any] = field(default_factory=dict)
    _failure: Failure | None = None

    @property
    def complete(self) -> bool:
        """Whether the turn has ended, well or not."""
        return self._end is not None or self._failure is not None

    @property
    def usage(self) -> Usage:
        """What the turn says that it took; it does so before its commands."""
        usage = object_of(self._told.get("usage"))
        names = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_output_tokens")
        return Usage(*(count_of(usage.get(name)) for name in names))

    @property
    def cost_usd(self) -> float | None:
        """What the turn says that it cost."""
        return amount_of(self._told.get("cost_usd"))

    def feed(self, line: str) -> str:
        """One event; a line that is none is shown as it is."""
        event = json_object(line)
        self.kind = _KINDS.get(text_of(event.get("type")), "output") if event is not None else "output"
        if event is None:
            return plain(line, 2000).rstrip("\n")
        match event.get("type"):
            case "start":
                self._session = text_of(event.get("session"))[:200]
            case "text":
                self._text = text_of(event.get("text"))
                return self._text
            case "file":
                return f"{text_of(event.get('action'))} {text_of(event.get('path'))}"
            case "command":
                return f"$ {text_of(event.get('command'))}"
            case "result":
                output = text_of(event.get("output")).rstrip("\n")
                return f"{output}\n[exit code {event.get('exit_code')}]".lstrip("\n")
            case "failure":
                self._failure = _failure(event)
                return f"failed: {self._failure.message}"
            case "usage":
                self._told = event
            case "end":
                self._end = self._told = event
        return ""

    def finish(self, ended: Exit) -> Answer:
        """What the turn said and reported."""
        failure = self._failure
        if failure is None and self._end is None:
            failure = cut_short(ended, "the script") or failure_of(ended, "the script", "install Python again")
        end = self._end or {}
        closing, complaint = None, ""
        given = end.get("closing")
        if failure is None and isinstance(given, dict):
            closing, complaint = check_closing(given, self.request.role)
        if complaint:
            failure = Failure(FailureKind.INVALID_OUTPUT, complaint)
        return Answer(self._text, closing, self._session, self.usage, self.cost_usd, 1, failure)


def _failure(event: Mapping[str, Any]) -> Failure:
    kind = event.get("kind")
    known = kind if kind in tuple(FailureKind) else FailureKind.TRANSIENT
    wait = amount_of(event.get("reset_in"))
    reset = time.time() + wait if wait is not None else None
    return Failure(FailureKind(known), text_of(event.get("message")), text_of(event.get("hint")), reset)
