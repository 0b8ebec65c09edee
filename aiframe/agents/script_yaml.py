"""Files of turns as YAML: read with the place of everything that is wrong in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from aiframe.agents.script_file import HINT, VERSION, Turn
from aiframe.core.errors import UnreadableFile
from aiframe.core.problem import Problem

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Place(Struct, frozen=True):
    """What is wrong, and the node of the file that it is about."""

    node: yaml.Node
    message: str


def read_turns(path: Path, text: str) -> tuple[Turn, ...]:
    """The turns in *text*, that of the file *path*. Raises UnreadableFile with the place of all that is wrong in it."""
    try:
        root = _compose(text)
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
