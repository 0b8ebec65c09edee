"""JSON objects as people write them: read strictly, with the place of every key."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from msgspec import Struct, field

from aiframe.core.errors import UnreadableFile
from aiframe.core.problem import Problem
from aiframe.store.source_text import BOM, decode_text, place

MAX_DEPTH = 100
MAX_PROBLEMS = 50
_CURE = "correct it by hand; a JSON checker or your editor shows the place"
# Only ever used on text that has parsed: every string in it ends.
_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|[{}\[\]]', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")
_NO_NUMBER = re.compile(r'"(?:[^"\\]|\\.)*"|(-?Infinity|NaN)', re.DOTALL)


class JsonObject(Struct, frozen=True):
    """A JSON object, its *text*, and the *offsets* in it at which its top-level keys stand."""

    values: dict[str, Any]
    text: str = ""
    offsets: Mapping[str, int] = field(default_factory=dict)

    def place(self, key: str) -> tuple[int, int]:
        """Line and column, both from 1, of the top-level *key*."""
        return place(self.text, self.offsets[key])


class _NotANumber(ValueError):
    pass


def read_object(path: Path, data: bytes) -> JsonObject:
    """The object that *data*, the content of *path*, spells. Raises UnreadableFile with every problem found."""
    text = decode_text(path, data).removeprefix(BOM)
    values = _parse(path, text)
    offsets, problems = _survey(path, text)
    if not isinstance(values, dict):
        problems.append(Problem(path, "is no JSON object", 1, 1, "wrap the content in { and }"))
    if problems or not isinstance(values, dict):
        raise UnreadableFile(problems)
    return JsonObject(values, text, offsets)


def _parse(path: Path, text: str) -> object:
    if not text.strip():
        cure = "remove the empty file, or restore its content"
        raise UnreadableFile([Problem(path, "is empty", 1, 1, cure)])
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        message = f"is no JSON: {error.msg[:1].lower()}{error.msg[1:]}"
        problem = Problem(path, message, error.lineno, error.colno, _CURE)
    except _NotANumber as error:
        found = next((match for match in _NO_NUMBER.finditer(text) if match[1]), None)
        line, column = place(text, found.start()) if found else (0, 0)
        problem = Problem(path, f"{error} is no JSON number", line, column, "write null or a number")
    except RecursionError:
        problem = _too_deep(path)
    except ValueError as error:  # a number with thousands of digits
        problem = Problem(path, f"is no JSON: {error}", hint=_CURE)
    raise UnreadableFile([problem])


def _refuse_constant(name: str) -> NoReturn:
    raise _NotANumber(name)


def _too_deep(path: Path, line: int = 0, column: int = 0) -> Problem:
    return Problem(path, f"is nested deeper than {MAX_DEPTH} levels", line, column, "flatten it")


def _survey(path: Path, text: str) -> tuple[dict[str, int], list[Problem]]:
    """The offsets of the top-level keys, and what a parser lets pass: duplicate keys, depth, broken characters."""
    offsets: dict[str, int] = {}
    problems: list[Problem] = []
    open_objects: list[dict[str, int]] = []
    for match in _TOKEN.finditer(text):
        if len(problems) >= MAX_PROBLEMS:
            break
        token = match[0]
        if token in "{[":
            open_objects.append({})
            if len(open_objects) > MAX_DEPTH:
                problems.append(_too_deep(path, *place(text, match.start())))
                break
        elif token in "}]":
            open_objects.pop()
        else:
            problems += _string_problems(path, text, match, open_objects)
            if match[2] and len(open_objects) == 1:
                offsets.setdefault(json.loads(match[1]), match.start())
    return offsets, problems


def _string_problems(path: Path, text: str, match: re.Match[str], open_objects: list[dict[str, int]]) -> list[Problem]:
    problems: list[Problem] = []
    literal = match[1]
    value = json.loads(literal) if "\\" in literal else literal[1:-1]
    if "\\" in literal and _SURROGATE.search(value):
        line, column = place(text, match.start())
        problems.append(Problem(path, "holds half of a surrogate pair", line, column, "remove the \\ud... escape"))
    if match[2]:
        keys = open_objects[-1]
        first = keys.setdefault(value, match.start())
        if first != match.start():
            line, column = place(text, match.start())
            message = f"the key {value!r} stands here again, first in line {place(text, first)[0]}"
            problems.append(Problem(path, message, line, column, "keep one of the two"))
    return problems
