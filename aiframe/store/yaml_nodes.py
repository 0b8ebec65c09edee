"""YAML as a person wrote it: every value is its text, with the place where it stands.

Nothing is guessed (``no`` stays the text ``no``); anchors, aliases, tags, duplicate keys and further documents are
refused, so that what a file says is what a reader sees.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from msgspec import Struct, field

from aiframe.core.errors import UnreadableFile
from aiframe.core.problem import Problem
from aiframe.store.source_text import BOM, decode_text, place

MAX_DEPTH = 50
MAX_PROBLEMS = 50
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off"})
_INTEGER = re.compile(r"[-+]?[0-9]{1,15}")
_DECIMAL = re.compile(r"[-+]?(?:[0-9]{1,15}\.[0-9]{0,15}|\.[0-9]{1,15})")


class Scalar(Struct, frozen=True):
    """A single value. *start* and *end* are character offsets into the text after a byte order mark."""

    value: str
    start: int
    end: int
    style: str = ""

    @property
    def is_null(self) -> bool:
        return not self.style and self.value in _NULLS

    @property
    def flag(self) -> bool | None:
        """True or False where the value says so without quotes, in any of YAML's spellings."""
        word = self.value.lower()
        return None if self.style else True if word in _TRUE else False if word in _FALSE else None

    @property
    def number(self) -> int | float | None:
        """The number that the value spells without quotes, in decimal digits."""
        if self.style:
            return None
        if _INTEGER.fullmatch(self.value):
            return int(self.value)
        return float(self.value) if _DECIMAL.fullmatch(self.value) else None


class Sequence(Struct, frozen=True):
    """A list."""

    items: tuple[Node, ...]
    start: int
    end: int


class Mapping(Struct, frozen=True):
    """Keys and their values in file order. *flow*: written with braces. *column* counts from 0."""

    pairs: tuple[tuple[Scalar, Node], ...]
    start: int
    end: int
    flow: bool
    column: int

    def get(self, name: str) -> Node | None:
        """The value of *name*; None where it is missing or null."""
        node = next((value for key, value in self.pairs if key.value == name), None)
        return None if isinstance(node, Scalar) and node.is_null else node

    def key(self, name: str) -> Scalar | None:
        """The key *name* itself."""
        return next((key for key, _ in self.pairs if key.value == name), None)


Node: TypeAlias = Scalar | Sequence | Mapping


class Source(Struct):
    """A YAML file: its *root* node (None when empty), and the problems found in it so far."""

    path: Path
    text: str
    root: Node | None = None
    problems: list[Problem] = field(default_factory=list)

    def complain(self, offset: int, message: str, hint: str = "") -> None:
        """Note that something is wrong at *offset*."""
        if len(self.problems) >= MAX_PROBLEMS:
            return
        line, column = place(self.text, offset)
        self.problems.append(Problem(self.path, message, line, column, hint))

    def check(self) -> None:
        """Raise UnreadableFile with all problems, in the order of the file, if there are any."""
        if self.problems:
            raise UnreadableFile(sorted(self.problems, key=lambda problem: (problem.line, problem.column)))


def read_yaml(path: Path, data: bytes) -> Source:
    """The nodes of the YAML text *data*. Duplicate keys and the like are noted in the source's problems.

    Raises UnreadableFile where the text is no YAML at all.
    """
    source = Source(path, decode_text(path, data).removeprefix(BOM))
    if source.text in _SOUND:
        source.root = _SOUND[source.text]
        return source
    events = yaml.parse(source.text, Loader=_LOADER)
    try:
        source.root = _Composer(source, iter(events)).document()
    except yaml.MarkedYAMLError as error:
        _note_syntax(source, error)
    except yaml.reader.ReaderError as error:
        offset = error.position if isinstance(error.position, int) else 0
        source.complain(offset, f"holds a character that YAML forbids ({error.reason})", "remove the character")
    except _TooDeep as error:
        source.complain(error.offset, f"is nested deeper than {MAX_DEPTH} levels", "flatten it")
    if source.root is None:
        source.check()
    elif not source.problems and len(source.text) <= _SOUND_CHARACTERS:
        while len(_SOUND) >= _SOUND_TEXTS:
            del _SOUND[next(iter(_SOUND))]
        _SOUND[source.text] = source.root
    return source


_SOUND: dict[str, Node] = {}
"""The nodes of the last texts without a problem: a plan is read for its tasks, and again to change a line of it."""
_SOUND_TEXTS, _SOUND_CHARACTERS = 2, 512 * 1024


class _TooDeep(Exception):
    def __init__(self, offset: int) -> None:
        self.offset = offset


def _note_syntax(source: Source, error: yaml.MarkedYAMLError) -> None:
    mark = error.problem_mark or error.context_mark
    offset = min(mark.index, len(source.text)) if mark else 0
    message = "is no YAML: " + (error.problem or error.context or "it cannot be read")
    hint = "correct the line; mind the indentation, and quote a text that holds `: ` or begins with a sign"
    if source.text[offset : offset + 1] == "\t":
        message, hint = "is indented with a tab", "YAML is indented with spaces: replace the tab"
    source.complain(offset, message, hint)


class _Composer:
    """Builds nodes from the parser's events; its depth is bounded, whatever the text."""

    def __init__(self, source: Source, events: Iterator[Any]) -> None:
        self.source = source
        self.events = events

    def document(self) -> Node | None:
        root: Node | None = None
        documents = 0
        event: Any
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.source.complain(_start(event), "a second document begins here", "remove the `---`")
            elif isinstance(event, yaml.NodeEvent):
                node = self.node(event, 1)
                root = node if documents == 1 else root
        return None if isinstance(root, Scalar) and root.is_null else root

    def node(self, event: Any, depth: int) -> Node:
        start = _start(event)
        if depth > MAX_DEPTH:
            raise _TooDeep(start)
        if isinstance(event, yaml.AliasEvent):
            self.source.complain(start, f"the alias *{event.anchor} is not supported", "write the value out")
            return Scalar("", start, _end(event), "*")
        if event.anchor is not None:
            self.source.complain(start, f"the anchor &{event.anchor} is not supported", "remove it")
        if event.tag not in (None, "!"):
            self.source.complain(start, f"the tag {event.tag} is not supported", "remove it")
        if isinstance(event, yaml.ScalarEvent):
            return Scalar(event.value, start, _end(event), event.style or "")
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(start, depth)
        return self.mapping(event, depth)

    def sequence(self, start: int, depth: int) -> Sequence:
        items = []
        event: Any
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self.node(event, depth + 1))
        return Sequence(tuple(items), start, _end(event))

    def mapping(self, opening: Any, depth: int) -> Mapping:
        pairs: list[tuple[Scalar, Node]] = []
        seen: dict[str, Scalar] = {}
        event: Any
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.node(event, depth + 1)
            value = self.node(next(self.events), depth + 1)
            if not isinstance(key, Scalar):
                self.source.complain(key.start, "a key must be a plain text", "quote it")
                continue
            if key.value in seen:
                line = place(self.source.text, seen[key.value].start)[0]
                message = f"the key {key.value!r} stands here again, first in line {line}"
                self.source.complain(key.start, message, "keep one of the two")
                continue
            seen[key.value] = key
            pairs.append((key, value))
        mark = opening.start_mark
        return Mapping(tuple(pairs), mark.index, _end(event), bool(opening.flow_style), mark.column)


def _start(event: Any) -> int:
    return int(event.start_mark.index)


def _end(event: Any) -> int:
    return int(event.end_mark.index)


def plain_value(node: Node | None) -> Any:
    """*node* as JSON-like values: numbers, true and false without quotes, null, texts, lists and dicts."""
    if isinstance(node, Sequence):
        return [plain_value(item) for item in node.items]
    if isinstance(node, Mapping):
        return {key.value: plain_value(value) for key, value in node.pairs}
    if node is None or node.is_null:
        return None
    if node.flag is not None:
        return node.flag
    return node.value if node.number is None else node.number
