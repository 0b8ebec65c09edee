"""The file of turns that the scripted agent plays: read, checked, and searched. Format: docs/scripted-agent.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from aiframe.core.errors import UnreadableFile
from aiframe.core.model import FailureKind, Role
from aiframe.core.problem import Problem

MAX_BYTES = 32 * 1024 * 1024
VERSION = 1
HINT = "docs/scripted-agent.md explains the format"

Texts: TypeAlias = dict[str, str]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=86400)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=10**12)]


class Replacement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """In the file *path* the first *old* becomes *new*."""

    path: str
    old: str
    new: str


class Fail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The turn ends with a failure of this kind; *reset_in* (seconds) is when the service says to come back."""

    kind: FailureKind
    message: str = "the script says so"
    hint: str = ""
    reset_in: Annotated[float, msgspec.Meta(ge=0, le=10**8)] | None = None


class Tokens(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the turn reports as used."""

    input_tokens: Count = 0
    cached_input_tokens: Count = 0
    output_tokens: Count = 0
    reasoning_output_tokens: Count = 0


class Turn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the agent does in one step. *task* empty, *attempt* None, *repeat* None: in all that no other turn names.

    *binary* holds files in base64, *modes* of files as git knows them, *links* the targets of symbolic links. *run_id*
    is the run that the turn was recorded from, and *left_out* what of it is not here.
    """

    role: Role
    task: str = ""
    attempt: Annotated[int, msgspec.Meta(ge=1)] | None = None
    repeat: Annotated[int, msgspec.Meta(ge=0)] | None = None
    run_id: str = ""
    left_out: list[str] = []
    delay: Seconds = 0
    type_delay: Seconds = 0
    say: str = ""
    clear: list[str] = []
    files: Texts = {}
    binary: Texts = {}
    links: Texts = {}
    modes: dict[str, Literal["644", "755"]] = {}
    append: Texts = {}
    replace: list[Replacement] = []
    delete: list[str] = []
    run: list[str] = []
    raw: str = ""
    hang: bool = False
    fail: Fail | None = None
    exit: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0
    closing: dict[str, Any] | None = None
    usage: Tokens = Tokens()
    cost_usd: Annotated[float, msgspec.Meta(ge=0, le=10**9)] | None = None


def read_script(path: Path) -> tuple[Turn, ...]:
    """The turns of the file *path*. Raises UnreadableFile with the place of everything that is wrong in it."""
    text = _text(path)
    turns = _turns_of_json(text)
    if turns is None:
        from aiframe.agents.script_yaml import read_turns

        turns = read_turns(path, text)
    return turns


def _turns_of_json(text: str) -> tuple[Turn, ...] | None:
    """The turns in *text* where that is JSON without a fault; else None: a reader of YAML can tell the place."""
    if not text.startswith("{"):
        return None
    try:
        root = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
        if root.keys() != {"version", "turns"} or type(root["version"]) is not int or root["version"] != VERSION:
            return None
        return msgspec.convert(root["turns"], tuple[Turn, ...]) or None
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping of *pairs*. Raises ValueError for a name that is there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnreadableFile([Problem(path, f"the script cannot be read: {reason}")], hint=HINT) from None
    if len(raw) > MAX_BYTES:
        raise UnreadableFile([Problem(path, f"the script has {len(raw)} bytes, more than {MAX_BYTES}")], hint=HINT)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        raise UnreadableFile([Problem(path, "this byte is no UTF-8", line, column)], hint=HINT) from None


def choose_turn(turns: Sequence[Turn], role: Role, task: str, attempt: int, repeat: int = 0) -> Turn | None:
    """The turn for this step: of those that fit, one that names the task, then the attempt, then the repeat, then the
    first. *repeat* counts how often this attempt was played to its end before.

    The same arguments always give the same turn, so that a step that was killed is played again as it was.
    """
    fitting = [
        turn
        for turn in turns
        if turn.role is role and turn.task in ("", task) and turn.attempt in (None, attempt)
        and turn.repeat in (None, repeat)
    ]  # fmt: skip
    return max(
        fitting,
        key=lambda turn: (turn.task != "", turn.attempt is not None, turn.repeat is not None),
        default=None,
    )
