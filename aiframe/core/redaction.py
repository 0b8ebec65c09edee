"""Takes secrets out of what is written: known values, and what has the shape of a well-known kind of token.

A `Redactor` is a value; its `text` and `value` take whole texts, its `stream` takes bytes as they come, in pieces that
may part a secret anywhere. A known value is also found as JSON spells it, to any depth of quoting. In its place stands
``[redacted NAME]``; every other byte stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar, cast

from msgspec import Struct
from msgspec.structs import force_setattr, replace

from aiframe.core.secret_shapes import SHAPES, Shape, compiled
from aiframe.core.secret_values import Found, KnownSecret, Secret

MIN_SECRET = 8
"""Characters of the shortest value that is looked for: a shorter one stands in too many innocent places."""

_BEFORE = 8  # bytes of context that a shape may look back at
_TAIL = 64  # bytes of an open match that are kept, so that its own end is seen

T = TypeVar("T")

_QUOTED = re.compile(rb"\\u(?!00[01])")
"""A quoted letter that is no control code."""


class Redactor(Struct, frozen=True):
    """Takes *secrets* and tokens of well-known shapes out of what is written."""

    secrets: tuple[Secret, ...] = ()
    _known: tuple[KnownSecret, ...] = ()

    def __post_init__(self) -> None:
        """Prepare the search; the longest value first, so that it gives its name where one holds another."""
        worth = sorted((each for each in self.secrets if each.value), key=lambda each: -len(each.value))
        force_setattr(self, "_known", tuple(KnownSecret.of(each) for each in worth))

    def text(self, text: str) -> str:
        """*text* without secrets."""
        data = text.encode("utf-8", "surrogatepass")
        said = self.data(data)
        return text if said == data else said.decode("utf-8", "surrogatepass")

    def data(self, data: bytes) -> bytes:
        """All of some output without secrets. Nothing comes after it that it could be the beginning of."""
        return RedactedStream(self, data).end()

    def value(self, value: T) -> T:
        """*value* with each text in it redacted: texts, lists, tuples, mappings and structs of them."""
        return cast(T, self._value(value))

    def _value(self, value: Any) -> Any:
        match value:
            case Enum() | None | bool() | int() | float():
                return value
            case str():
                return self.text(value)
            case list() | tuple():
                return type(value)(self._value(item) for item in value)
            case Mapping():
                return {self._value(key): self._value(item) for key, item in value.items()}
            case Struct():
                return replace(value, **{name: self._value(getattr(value, name)) for name in value.__struct_fields__})
            case _:
                return value

    def stream(self) -> RedactedStream:
        """For output that comes in pieces."""
        return RedactedStream(self)

    def marker(self, name: str) -> bytes:
        """What stands in the place of the secret *name*."""
        said = f"[redacted {name}]"
        return b"[redacted]" if any(each.value in said for each in self.secrets if each.value) else said.encode()

    def found(self, before: bytes, data: bytes) -> list[Found]:
        """What is to be taken out of *data*, in order, overlapping ones made one. *before* is what stood before it."""
        quoted = _QUOTED.search(data) is not None
        spans = [span for known in self._known for span in known.found(data, quoted)]
        whole, offset = before + data, len(before)
        for shape in SHAPES:
            if shape.anchor in data:
                spans += [
                    Found(match.start() - offset, match.end() - offset, shape.name, _open(match, len(whole), shape))
                    for match in compiled(shape.whole).finditer(whole, offset)
                ]
        return _merged(spans)

    def begun(self, before: bytes, data: bytes) -> int:
        """From where on *data* may be the beginning of something that is to be taken out; its length for nowhere."""
        whole, offset = before + data, len(before)
        starts = [known.begun(data) for known in self._known]
        for shape in SHAPES:
            tail = max(offset, len(whole) - shape.longest)
            if shape.may_begin(whole[tail:]) and (match := compiled(shape.part).search(whole, tail)):
                starts.append(match.start() - offset)
        return min(starts, default=len(data))


def _open(match: re.Match[bytes], length: int, shape: Shape) -> int:
    """How many bytes stand for a *match* that may go on; 0 for one that cannot."""
    closed = match.end() < length or match.groupdict().get("end") is not None
    return 0 if closed else shape.kernel


def _merged(spans: list[Found]) -> list[Found]:
    merged: list[Found] = []
    for span in sorted(spans, key=lambda each: (each.start, -each.end)):
        if merged and span.start < merged[-1].end:
            last = merged[-1]
            longer = max(last.end, span.end)
            kernel = span.start - last.start + span.kernel if span.kernel else last.kernel
            merged[-1] = Found(last.start, longer, last.name, kernel)
        else:
            merged.append(span)
    return merged


class RedactedStream(Struct):
    """Bytes that come in pieces. What may be the beginning of a secret is held back until that is known."""

    redactor: Redactor
    _held: bytes = b""
    _before: bytes = b""
    _told: bool = False  # what is held begins with a secret whose marker has been written

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes; returns what may be written."""
        data = self._held + chunk
        found = self.redactor.found(self._before, data)
        hold = self.redactor.begun(self._before, data)
        last = found[-1] if found else None
        growing = last if last and last.kernel and last.end == len(data) and last.start < hold else None
        if growing is None:
            hold = min([hold, *(span.start for span in found if span.start < hold < span.end)])
        kept = growing.start if growing else hold
        said = self._written(data[:kept], [span for span in found if span.end <= kept])
        self._held = data[kept:]
        if growing:
            said += b"" if self._told and growing.start == 0 else self.redactor.marker(growing.name)
            tail = min(hold, len(data) - _TAIL)
            self._told = True
            if tail > growing.start + growing.kernel:
                self._held = data[growing.start : growing.start + growing.kernel] + data[tail:]
        elif kept > 0:
            self._told = False
        self._before = (self._before + data[:kept])[-_BEFORE:]
        return said

    def end(self) -> bytes:
        """Nothing comes any more: what is held, as far as it is no secret."""
        data, self._held = self._held, b""
        said = self._written(data, self.redactor.found(self._before, data))
        self._before, self._told = b"", False
        return said

    def _written(self, data: bytes, found: Sequence[Found]) -> bytes:
        parts, position = [], 0
        for span in found:
            parts.append(data[position : span.start])
            if not (self._told and span.start == 0):
                parts.append(self.redactor.marker(span.name))
            position = span.end
        return b"".join([*parts, data[position:]])
