"""What a scripted model may answer, in the words of no service: each wire puts it into its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

TOKENS = {"input": 100, "cached": 40, "output": 20, "reasoning": 5}
"""What every answer costs: 40 of the 100 are cached, 5 of the 20 are reasoning."""


@dataclass(frozen=True, slots=True)
class Text:
    """The model says *text* and ends its turn. Where the client wants JSON by a tool of its own, JSON goes there."""

    text: str


@dataclass(frozen=True, slots=True)
class Shell:
    """The model runs *command* in the workspace."""

    command: str


@dataclass(frozen=True, slots=True)
class Write:
    """The model makes the file *path* with *text* by the CLI's own tool for files."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Look:
    """The model reads the file *path* by the CLI's own tool."""

    path: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """The model declines, in the form that the service has for it."""

    text: str


@dataclass(frozen=True, slots=True)
class Status:
    """An HTTP status other than 200, with a JSON body."""

    code: int
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """A stream that begins well and then tells an error with this code and message."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Cut:
    """A stream whose connection ends before the response is complete."""


@dataclass(frozen=True, slots=True)
class Silent:
    """A stream that begins and then says nothing until the server is closed or the client leaves."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """A body that is neither events nor JSON, with status 200."""

    text: str


Said: TypeAlias = Text | Refusal | Shell | Write | Look
Streamed: TypeAlias = Said | Failed | Cut | Silent
Reply: TypeAlias = Streamed | Status | Garbage


def shell(command: str) -> Shell:
    """The model runs *command* in the workspace."""
    return Shell(command)


def patch(path: str, text: str) -> Write:
    """The model adds the file *path* with *text* by the CLI's own tool for files."""
    return Write(path, text)


def api_error(code: int, kind: str, message: str, headers: Mapping[str, str] | None = None, **more: Any) -> Status:
    """The body that the services send with an error status."""
    return Status(code, {"error": {"type": kind, "code": kind, "message": message, **more}}, headers or {})
