"""The codex CLI: ``codex exec`` with JSON events. Measured with codex 0.169.0."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from aiframe.agents.closing import parse_closing
from aiframe.agents.codex_log import kind_of, readable
from aiframe.agents.codex_messages import INSTALL, classify, session_unknown, setup_problem
from aiframe.agents.endings import cut_short, failure_of, first_line
from aiframe.agents.lines import MAX_TEXT, count_of, json_object, object_of, plain, text_of
from aiframe.agents.options import read_options
from aiframe.core.errors import UsageError
from aiframe.core.model import Failure, FailureKind
from aiframe.core.ports import AgentRequest, Answer, Command, Exit, Usage

SCHEMA_FILE = "closing_schema.json"
LAST_MESSAGE = "last_message.txt"
BAD_USAGE = 2

QUIET: Mapping[str, Any] = {
    "approval_policy": "never",
    "check_for_update_on_startup": False,
    "analytics.enabled": False,
    "feedback.enabled": False,
    # Without this codex waits for a refused connection for ever, and talks all the while: no stall rule would see it.
    "features.unbounded_connection_retries": False,
}
"""Settings for a run that nobody watches. They go on the command line: the person's config.toml stays as it is."""

UNBOUND = frozenset({"--dangerously-bypass-approvals-and-sandbox", "--yolo", "--full-auto"})
"""Arguments that would take the sandbox from a run that may only read."""


class CodexOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """*program* is the executable, *config* further settings of config.toml (dotted key to value), *args* further
    arguments of ``codex exec``."""

    program: str = "codex"
    config: dict[str, Any] = {}
    args: list[str] = []


class Codex:
    """OpenAI's codex CLI, not interactive; its own sandbox holds the tool commands."""

    name = "codex"
    tells_cost = False
    variables = ("CODEX_*", "OPENAI_*")

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self._options = dict(options or {})
        self._read(self._options)

    def command(self, request: AgentRequest) -> Command:
        """``codex exec`` in the workspace, prompt on standard input. Raises UsageError for options that do not fit."""
        options = self._read({**self._options, **request.options})
        schema = {SCHEMA_FILE: json.dumps(request.schema, indent=1)} if request.schema is not None else {}
        return Command(
            argv=_argv(request, options),
            cwd=request.workspace,
            stdin=request.prompt,
            files=schema,
        )

    def reader(self, request: AgentRequest) -> CodexReader:
        """A reader of the JSON events."""
        options = self._read({**self._options, **request.options})
        return CodexReader(request, options.program)

    def _read(self, given: Mapping[str, Any]) -> CodexOptions:
        options = read_options(self.name, given, CodexOptions)
        for key, value in options.config.items():
            toml_value(value, key)
        return options


def _argv(request: AgentRequest, options: CodexOptions) -> tuple[str, ...]:
    config: dict[str, Any] = {**QUIET, **options.config}
    if request.effort:
        config["model_reasoning_effort"] = request.effort
    argv = [options.program, "exec", "--json", "-s", request.sandbox, "-C", str(request.workspace)]
    argv += ["--skip-git-repo-check", "-o", str(request.run_dir / LAST_MESSAGE)]
    argv += ["-m", request.model] if request.model else []
    argv += ["--output-schema", str(request.run_dir / SCHEMA_FILE)] if request.schema is not None else []
    for key, value in config.items():
        argv += ["-c", f"{key}={toml_value(value, key)}"]
    reads = request.sandbox == "read-only"
    argv += [word for word in options.args if not (reads and word in UNBOUND)]
    argv += ["resume", request.resume] if request.resume else []
    return (*argv, "-")


def toml_value(value: Any, key: str) -> str:
    """*value* as TOML, for ``-c``. Raises UsageError for what TOML cannot say."""
    match value:
        case bool() | int() | float() | str():
            return json.dumps(value)
        case list():
            return f"[{', '.join(toml_value(item, key) for item in value)}]"
        case dict():
            inner = (f"{json.dumps(str(name))} = {toml_value(item, key)}" for name, item in value.items())
            return f"{{{', '.join(inner)}}}"
    raise UsageError(
        f"agent 'codex', option config: the value of {key!r} is neither text, number, true, false, list nor mapping",
        hint="correct it in PROJECT.yaml",
    )


class CodexReader(Struct):
    """Follows the events of one ``codex exec``; keeps the last message and the last error, not the output of tools."""

    request: AgentRequest
    program: str = "codex"
    kind: str = "output"
    started_at: float = field(default_factory=time.time)
    _session: str = ""
    _message: str = ""
    _error: str = ""
    _final: str = ""
    _turns: int = 0
    _usage: Usage = field(default_factory=Usage)

    @property
    def complete(self) -> bool:
        """Whether the turn has been completed or has failed."""
        return bool(self._final)

    @property
    def usage(self) -> Usage:
        """Nothing before the end of the turn, which tells it all at once."""
        return self._usage

    @property
    def cost_usd(self) -> None:
        """Never told."""
        return None

    def feed(self, line: str) -> str:
        """One event; returns what it means for a reader of the log."""
        event = json_object(line)
        self.kind = "output" if event is None else kind_of(event)
        if event is None:
            return plain(line, 2000).strip()
        self._take(event)
        return readable(event)

    def _take(self, event: Mapping[str, Any]) -> None:
        match event.get("type"):
            case "thread.started":
                self._session = text_of(event.get("thread_id"))[:200]
            case "turn.started":
                self._turns += 1
            case "item.completed":
                item = object_of(event.get("item"))
                if item.get("type") == "agent_message":
                    self._message = text_of(item.get("text"))
            case "turn.completed":
                self._final, self._usage = "completed", _usage(object_of(event.get("usage")))
            case "error":
                self._error = text_of(event.get("message"))[:8192]
            case "turn.failed":
                self._final = "failed"
                self._error = text_of(object_of(event.get("error")).get("message"))[:8192] or self._error

    def finish(self, ended: Exit) -> Answer:
        """The answer. A failure is read from codex's own error events, its exit code and its standard error alone.

        The session id is empty when there is no session to resume, also when codex no longer knows the one asked for.
        """
        text = self._message or self._last_message()
        closing, failure = None, self._failure(ended)
        if failure is None and self.request.schema is not None:
            closing, complaint = parse_closing(text, self.request.role)
            failure = Failure(FailureKind.INVALID_OUTPUT, complaint) if complaint else None
        resumed = bool(self.request.resume)
        return Answer(text, closing, self._session, self._usage, None, self._turns, failure, cumulative=resumed)

    def _failure(self, ended: Exit) -> Failure | None:
        if self._final == "failed":
            return classify(self._error, self._now(ended))
        if self._final == "completed":
            return None
        if early := cut_short(ended, self.program):
            return early
        if self._error:
            return classify(self._error, self._now(ended))
        return _silent_failure(ended, self.program)

    def _now(self, ended: Exit) -> float:
        """When the process ended, which is when it said what it said last."""
        return self.started_at + ended.duration_s if ended.duration_s else time.time()

    def _last_message(self) -> str:
        """The message file, for the case that the event with the message was too long to be read.

        The agent may have put a link or a pipe in its place: neither is followed or waited for.
        """
        path = Path(self.request.run_dir, LAST_MESSAGE)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, encoding="utf-8", errors="replace") as file:
                return plain(file.read(MAX_TEXT))
        except OSError:
            return ""


def _usage(said: Mapping[str, Any]) -> Usage:
    names = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_output_tokens")
    return Usage(*(count_of(said.get(name)) for name in names))


def _silent_failure(ended: Exit, program: str) -> Failure:
    """The failure of a codex that ended without an error event."""
    said = first_line(ended.stderr)
    if ended.code == BAD_USAGE:
        hint = "compare `codex exec --help` with the options of the agent in PROJECT.yaml, or update codex"
        return Failure(FailureKind.SETUP, f"{program} refused its command line: {said}", hint)
    if ended.code > 0 and session_unknown(ended.stderr):
        return Failure(
            FailureKind.TRANSIENT, f"{program} no longer has the session: {said}", "the next try starts anew"
        )
    if ended.code > 0 and setup_problem(ended.stderr):
        return Failure(FailureKind.SETUP, f"{program}: {said}", "correct it, then `aiframe resume`")
    return failure_of(ended, program, INSTALL)
