"""Any command-line agent, from a template line; no shell is involved.

agent: {name: command, line: "mytool --dir {workspace} --prompt-file {prompt_file}"}
"""

from __future__ import annotations

import re
import shlex
from collections import deque
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from aiframe.agents.closing import check_closing, find_closing
from aiframe.agents.endings import NOT_EXECUTABLE, NOT_FOUND, cut_short, failure_of, first_line
from aiframe.agents.lines import plain
from aiframe.agents.options import read_options
from aiframe.core.errors import UsageError
from aiframe.core.model import Failure, FailureKind, Role
from aiframe.core.ports import AgentRequest, Answer, Command, Exit, Usage

PROMPT_FILE = "prompt.txt"
MAX_ARGUMENT = 128 * 1024 - 1
_ROOM = 4096  # for other words in the same argument
_NO_LIMIT = 16 * 1024 * 1024
"""Bytes of one argument, as Linux allows them."""
KEPT = 256 * 1024
"""Characters of the output that are kept as the answer: the last ones."""
LINE_KEPT = 64 * 1024

_PLACEHOLDER = re.compile(r"\{\{([a-z_]+)\}\}|\{([a-z_]+)\}")
_NAMES = ("workspace", "prompt_file", "prompt", "model", "effort", "task", "role", "attempt", "run_dir")
_MAPPED = (FailureKind.QUOTA, FailureKind.AUTH, FailureKind.SETUP, FailureKind.TRANSIENT, FailureKind.TIMEOUT)


class CommandOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """*argv* or *line* is the command, *prompt* the way in which it takes the prompt (found from the placeholders when
    left out), *exit_codes* the failure that an exit code stands for."""

    argv: list[str] = []
    line: str = ""
    prompt: Literal["stdin", "file", "arg"] | None = None
    exit_codes: dict[str | int, str] = {}


class _Template(Struct, frozen=True):
    words: tuple[str, ...]
    prompt: str
    exit_codes: Mapping[int, FailureKind]

    @property
    def program(self) -> str:
        return self.words[0]


class CommandAgent:
    """A CLI that the person names."""

    name = "command"
    tells_cost = False
    variables: tuple[str, ...] = ()

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self._options = dict(options or {})
        if self._options:
            _template(self._options)

    @property
    def prompt_bytes(self) -> int:
        """The longest prompt that there is a way to hand over: as an argument, the system sets the limit."""
        return MAX_ARGUMENT - _ROOM if _template(self._options).prompt == "arg" else _NO_LIMIT

    def command(self, request: AgentRequest) -> Command:
        """The line with its placeholders filled. Raises UsageError for options that do not fit."""
        template = _template({**self._options, **request.options})
        values = _values(request)
        argv = tuple(_fill(word, values) for word in template.words)
        longest = max(len(word.encode(errors="replace")) for word in argv)
        if longest > MAX_ARGUMENT:
            raise UsageError(
                f"agent 'command': the prompt makes an argument of {longest} bytes, too long for the system",
                hint="hand the prompt over with {prompt_file}, or on standard input (prompt: stdin)",
            )
        by_file = template.prompt == "file"
        return Command(
            argv=argv,
            cwd=request.workspace,
            stdin=request.prompt if template.prompt == "stdin" else "",
            files={PROMPT_FILE: request.prompt} if by_file else {},
        )

    def reader(self, request: AgentRequest) -> CommandReader:
        """A reader of plain text."""
        template = _template({**self._options, **request.options})
        return CommandReader(request, template.program, template.exit_codes)


def _template(given: Mapping[str, Any]) -> _Template:
    options = read_options(CommandAgent.name, given, CommandOptions)
    words = _words(options)
    names = {found[2] for word in words for found in _PLACEHOLDER.finditer(word) if found[2]}
    for name in sorted(names.difference(_NAMES)):
        raise _unknown_placeholder(name)
    prompt = options.prompt or ("file" if "prompt_file" in names else "arg" if "prompt" in names else "stdin")
    wanted = {"file": "prompt_file", "arg": "prompt"}.get(prompt)
    if wanted and wanted not in names:
        raise UsageError(
            f"agent 'command': prompt: {prompt} needs {{{wanted}}} in its command",
            hint=f"put {{{wanted}}} where the tool takes the prompt, or use prompt: stdin",
        )
    return _Template(words, prompt, _exit_codes(options.exit_codes))


def _words(options: CommandOptions) -> tuple[str, ...]:
    example = 'for example line: "mytool --dir {workspace} --prompt-file {prompt_file}"'
    if bool(options.argv) == bool(options.line):
        raise UsageError("agent 'command' needs either argv (a list) or line (one text)", hint=example)
    try:
        words = tuple(options.argv or shlex.split(options.line))
    except ValueError as error:
        raise UsageError(f"agent 'command', option line: {error}", hint="close the quotation marks") from None
    if not words or not words[0].strip():
        raise UsageError("agent 'command': the command is empty", hint=example)
    if any("\0" in word for word in words):
        raise UsageError("agent 'command': the command holds a NUL character", hint="take it out")
    return words


def _unknown_placeholder(name: str) -> UsageError:
    close = get_close_matches(name, _NAMES, 1)
    meant = f"did you mean {{{close[0]}}}? " if close else ""
    known = ", ".join(f"{{{known}}}" for known in _NAMES)
    return UsageError(
        f"agent 'command': {{{name}}} is no placeholder",
        hint=f"{meant}there are {known}; write {{{{{name}}}}} for the text {{{name}}} itself",
    )


def _exit_codes(given: Mapping[str | int, str]) -> Mapping[int, FailureKind]:
    codes = {}
    for code, kind in given.items():
        if not str(code).isdecimal() or not 0 < int(code) < 256 or kind not in _MAPPED:
            raise UsageError(
                f"agent 'command', option exit_codes: {code}: {kind} does not fit",
                hint=f"write a number from 1 to 255 and one of {', '.join(_MAPPED)}, for example 77: quota",
            )
        codes[int(code)] = FailureKind(kind)
    return codes


def _values(request: AgentRequest) -> Mapping[str, str]:
    return {
        "workspace": str(request.workspace),
        "run_dir": str(request.run_dir),
        "prompt_file": str(request.run_dir / PROMPT_FILE),
        "prompt": request.prompt.replace("\0", ""),
        "model": request.model,
        "effort": request.effort,
        "task": request.task_id,
        "role": request.role.value,
        "attempt": str(request.attempt),
    }


def _fill(word: str, values: Mapping[str, str]) -> str:
    """*word* with its placeholders filled; what is filled in is not looked at again."""
    return _PLACEHOLDER.sub(lambda found: values[found[2]] if found[2] else f"{{{found[1]}}}", word)


class CommandReader(Struct):
    """Keeps the end of the output; the exit code alone says whether it went well."""

    request: AgentRequest
    program: str
    exit_codes: Mapping[int, FailureKind] = field(default_factory=dict)
    _lines: deque[str] = field(default_factory=deque)
    _size: int = 0

    @property
    def complete(self) -> bool:
        """Never known before the process ends."""
        return False

    @property
    def usage(self) -> Usage:
        """Never told."""
        return Usage()

    @property
    def cost_usd(self) -> None:
        """Never told."""
        return None

    def feed(self, line: str) -> str:
        """One line of output, made plain."""
        shown = plain(line, LINE_KEPT).rstrip("\n")
        self._lines.append(shown)
        self._size += len(shown) + 1
        while self._size > KEPT:
            self._size -= len(self._lines.popleft()) + 1
        return shown

    def finish(self, ended: Exit) -> Answer:
        """The end of the output, and the closing block where there is one."""
        text = "\n".join(self._lines).strip()
        failure = self._failure(ended)
        closing, complaint = (None, "") if failure else self._closing(text)
        if complaint:
            failure = Failure(FailureKind.INVALID_OUTPUT, complaint)
        return Answer(text=text, closing=closing, failure=failure)

    def _closing(self, text: str) -> tuple[Mapping[str, Any] | None, str]:
        """A JSON object without a summary is output like any other, but for an audit, which ends with its word."""
        found, role = find_closing(text), self.request.role
        if found is None or ("summary" not in found and role is not Role.AUDIT):
            return None, ""
        return check_closing(found, role)

    def _failure(self, ended: Exit) -> Failure | None:
        if early := cut_short(ended, self.program):
            return early
        if ended.code == 0 and ended.reason == "exit":
            return None
        mapped = self.exit_codes.get(ended.code)
        if mapped is None or ended.code in (NOT_FOUND, NOT_EXECUTABLE):
            return failure_of(
                ended, self.program, f"install {self.program}, or correct the agent's line in PROJECT.yaml"
            )
        said = first_line(ended.stderr)
        message = f"{self.program} ended with exit code {ended.code}" + (f": {said}" if said else "")
        hint = "the option exit_codes in PROJECT.yaml says what the code means"
        return Failure(mapped, message, hint)
