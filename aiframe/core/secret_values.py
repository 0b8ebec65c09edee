"""Secrets that are known, found however they are spelled: plain, or as JSON quotes them, once or several times."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from msgspec import Struct

HELD_BYTES = 64 * 1024
"""The most bytes that a stream holds back, whatever they may yet become."""
_SLASHES = 16  # backslashes by which JSON within JSON within JSON quotes a letter; more are not looked at
_SHORT: Mapping[str, bytes] = {"\n": b"n", "\r": b"r", "\t": b"t", "\b": b"b", "\f": b"f"}


class Found(NamedTuple):
    """A secret in some bytes. *kernel* is how many of its bytes stand for one that may go on; 0: it cannot."""

    start: int
    end: int
    name: str
    kernel: int = 0


class Secret(Struct, frozen=True):
    """A value that must not be written, and the name by which it is told."""

    name: str
    value: str


@lru_cache(maxsize=256)
def _spelled(value: str) -> tuple[re.Pattern[bytes], ...]:
    """Each letter of *value* (a run of backslashes is one), plain and as JSON quotes it."""
    parts = re.findall(r"\\+|[^\\]", value, re.DOTALL)
    return tuple(re.compile(_letter(part, after=parts[at - 1][:1] if at else "")) for at, part in enumerate(parts))


def _letter(letter: str, after: str) -> bytes:
    least = 0 if after == "\\" else 1  # a run of backslashes before has taken those of this letter
    quoted = b"\\\\{%d,%d}" % (least, _SLASHES)
    if letter[0] == "\\":
        once = b"\\\\{1,%d}(?:u005[cC])?" % _SLASHES if len(letter) == 1 else b"\\\\{%d,}" % len(letter)
        return b"(?:%b)" % once
    plain = re.escape(letter.encode("utf-8", "surrogateescape"))
    pair = letter.encode("utf-16-be", "surrogatepass")
    codes = [b"(?i:u%02x%02x)" % (pair[at], pair[at + 1]) for at in range(0, len(pair), 2)]
    forms = [plain, quoted + (b"\\\\{1,%d}" % _SLASHES).join(codes)]
    if letter in '"/':
        forms.append(b"\\\\{0,%d}%b" % (_SLASHES, plain))
    if letter in _SHORT:
        forms.append(quoted + _SHORT[letter])
    return b"(?:%b)" % b"|".join(forms)


@lru_cache(maxsize=256)
def _anywhere(value: str) -> re.Pattern[bytes]:
    return re.compile(b"".join([each.pattern for each in _spelled(value)]))


_CUT_OFF = re.compile(
    rb"(?:\\{1,%d}(?:u[0-9a-fA-F]{0,4}(?:\\{1,%d}(?:u[0-9a-fA-F]{0,3})?)?)?|[\x80-\xff]{1,3})\Z" % (_SLASHES, _SLASHES)
)
"""A letter that ends too early: quoted by JSON, or of several bytes."""


class KnownSecret(Struct, frozen=True):
    """A value to look for. *head* is its beginning up to the first letter that JSON quotes, or may."""

    name: str
    value: str
    head: bytes
    longest: int

    @classmethod
    def of(cls, secret: Secret) -> KnownSecret:
        """What is to be looked for so that *secret* is found."""
        head = re.match(r'[^"\\/\x00-\x1f\x7f-\U0010ffff]*', secret.value)
        longest = min(HELD_BYTES, (_SLASHES + 10) * len(secret.value))
        return cls(secret.name, secret.value, head[0].encode() if head else b"", longest)

    def found(self, data: bytes, quoted: bool) -> list[Found]:
        """Where the value stands in *data*, in which ordinary letters may be *quoted*."""
        if self.head and self.head not in data and not quoted:
            return []
        return [Found(match.start(), match.end(), self.name) for match in _anywhere(self.value).finditer(data)]

    def begun(self, data: bytes) -> int:
        """Where a value begins that the end of *data* cuts off; the length of *data* where none does."""
        window = self.longest if b"\\" in data[-self.longest :] else 4 * len(self.value)
        start = max(0, len(data) - window)
        first = self.value[0].encode("utf-8", "surrogateescape")[:1]
        for candidate in re.finditer(rb"\\|" + re.escape(first), data[start:]):
            if self._is_cut_off(data, start + candidate.start()):
                return start + candidate.start()
        return len(data)

    def _is_cut_off(self, data: bytes, position: int) -> bool:
        for letter in _spelled(self.value):
            match = letter.match(data, position)
            if match is None:
                slash = position - 1 if data[position - 1 : position] == b"\\" else position
                return position == len(data) or any(_CUT_OFF.match(data, at) for at in (position, slash))
            position = match.end()
        return False
