"""Patterns of file names, as locks and protected files are written: which paths one names, and whether two can meet.

``*`` and ``?`` stay within a name, ``**`` is any number of folders, and a name stands for all that lies below it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache

_ANY = "**"


def matches_any(path: str, patterns: Sequence[str]) -> bool:
    """Whether one of *patterns* names *path*, or a folder that it lies in."""
    return any(_compiled(pattern).fullmatch(path) for pattern in patterns)


def may_meet(one: str, other: str) -> bool:
    """Whether some path could be named by both patterns."""
    row, its = _whole(one), _whole(other)
    for name, another in zip(row, its, strict=False):  # a plan of hundreds is full of pairs that part at a plain name
        if _ANY in (name, another):
            break
        if not _names_meet(name, another):
            return False
    return _parts_meet(row, its)


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = _parts(pattern)
    built = "".join("(?:[^/]+/)*" if part == _ANY else _name(part) + "/" for part in parts[:-1])
    last = parts[-1] if parts else ""
    return re.compile(built + (".*" if last == _ANY else _name(last) + "(?:/.*)?"), re.DOTALL)


def _parts(pattern: str) -> list[str]:
    return [part for part in pattern.strip().removeprefix("./").split("/") if part]


def _name(part: str) -> str:
    """One name of a pattern as a regular expression."""
    wild = {"*": "[^/]*", "?": "[^/]"}
    return "".join(wild.get(letter) or re.escape(letter) for letter in part)


@lru_cache(maxsize=4096)
def _whole(pattern: str) -> tuple[str, ...]:
    """The names of a pattern, with what lies below the last one."""
    parts = _parts(pattern)
    return tuple(parts if parts[-1:] == [_ANY] else [*parts, _ANY])


@lru_cache(maxsize=4096)
def _parts_meet(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two patterns, each a row of names, can name the same path: ``**`` stands for any number of names."""
    if not one or not other:
        return all(part == _ANY for part in (*one, *other))
    if one[0] == _ANY:
        return _parts_meet(one[1:], other) or _parts_meet(one, other[1:])
    if other[0] == _ANY:
        return _parts_meet(other, one)
    return _names_meet(one[0], other[0]) and _parts_meet(one[1:], other[1:])


def _names_meet(one: str, other: str) -> bool:
    """The same for two names: ``*`` stands for any number of letters, ``?`` for one."""
    return one == other or (any(letter in one + other for letter in "*?") and _wild_names_meet(one, other))


@lru_cache(maxsize=4096)
def _wild_names_meet(one: str, other: str) -> bool:
    @cache
    def meet(i: int, j: int) -> bool:
        if i == len(one) or j == len(other):
            return not (one[i:] + other[j:]).strip("*")
        if one[i] == "*":
            return meet(i + 1, j) or meet(i, j + 1)
        if other[j] == "*":
            return meet(i, j + 1) or meet(i + 1, j)
        return (one[i] == other[j] or "?" in (one[i], other[j])) and meet(i + 1, j + 1)

    return meet(0, 0)
