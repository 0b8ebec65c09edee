"""The file of turns that the scripted agent plays: read, checked, and searched. Format: docs/scripted-agent.md."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
import yaml
from msgspec import Struct

from aiframe.core.errors import UnreadableFile
from aiframe.core.model import FailureKind, Role
from aiframe.core.problem import Problem

MAX_BYTES = 32 * 1024 * 1024
VERSION = 1
HINT = "docs/scripted-agent.md explains the format"

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

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


class _Place(Struct, frozen=True):
    """What is wrong, and the node of the file that it is about."""

    node: yaml.Node
    message: str


def read_script(path: Path) -> tuple[Turn, ...]:
    """The turns of the file *path*. Raises UnreadableFile with the place of everything that is wrong in it."""
    try:
        root = _compose(_text(path))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise UnreadableFile([Problem(path, error.problem or "no YAML", line, column)], hint=HINT) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise UnreadableFile([Problem(path, f"no YAML: {error}".splitlines()[0])], hint=HINT) from None
    if root is None:
        raise UnreadableFile([Problem(path, "the file is empty: it needs version and turns")], hint=HINT)
    turns, wrong = _turns(root)
    if wrong:
        found = [_problem(path, place) for place in wrong]
        raise UnreadableFile(found, hint=HINT)
    return turns


def _compose(text: str) -> yaml.Node | None:
    """The YAML in *text*, quickly where it is well formed; the slow way says more exactly where it is not."""
    try:
        root: yaml.Node | None = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    return root


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


def _problem(path: Path, place: _Place) -> Problem:
    mark = place.node.start_mark
    return Problem(path, place.message, mark.line + 1, mark.column + 1)


def _turns(root: yaml.Node) -> tuple[tuple[Turn, ...], list[_Place]]:
    wrong = list(_duplicates(root, set()))
    fields = _pairs(root)
    for name in fields:
        if name not in ("version", "turns"):
            wrong.append(_Place(fields[name][0], f"unknown field {name!r}; there are version and turns"))
    if "version" not in fields or fields["version"][1].value != str(VERSION):
        wrong.append(_Place(fields["version"][1] if "version" in fields else root, f"version must be {VERSION}"))
    listed = fields["turns"][1] if "turns" in fields else root
    if not isinstance(listed, yaml.SequenceNode) or not listed.value:
        return (), [*wrong, _Place(listed, "turns must be a list with at least one turn")]
    turns = []
    for node in listed.value:
        turn = _turn(node)
        if isinstance(turn, Turn):
            turns.append(turn)
        else:
            wrong.append(turn)
    return tuple(turns), wrong


def _turn(node: yaml.Node) -> Turn | _Place:
    try:
        return msgspec.convert(_value(node), Turn)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `")
        return _Place(_at(node, path.rstrip("`"), what), what.replace("Object", "the turn"))
    except yaml.MarkedYAMLError as error:
        return _Place(node, error.problem or "no value")
    except (ValueError, TypeError, RecursionError) as error:
        return _Place(node, f"no value: {error}")


def _value(node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _at(node: yaml.Node, path: str, what: str) -> yaml.Node:
    """The node that msgspec's *path* (``$.replace[0].old``) leads to, or the key that it calls unknown."""
    for name, index in re.findall(r"\.([A-Za-z_]+)|\[(\d+)\]", path):
        pairs = _pairs(node)
        if name in pairs:
            node = pairs[name][1]
        elif index and isinstance(node, yaml.SequenceNode):
            node = node.value[int(index)]
    unknown = re.search(r"unknown field `(.*)`", what)
    return _pairs(node)[unknown[1]][0] if unknown and unknown[1] in _pairs(node) else node


def _pairs(node: yaml.Node) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {key.value: (key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)}


def _duplicates(node: yaml.Node, seen: set[int]) -> Iterator[_Place]:
    """Keys that a mapping has twice: YAML would silently take the last."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _duplicates(item, seen)
    if isinstance(node, yaml.MappingNode):
        names: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in names:
                    yield _Place(key, f"{key.value!r} is there twice")
                names.add(key.value)
            yield from _duplicates(value, seen)


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
