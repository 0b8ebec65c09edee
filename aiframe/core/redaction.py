"""Takes secrets out of what is written: known values, and what has the shape of a well-known kind of token.

A `Redactor` is a value; its `text` and `value` take whole texts, its `stream` takes bytes as they come, in pieces that
may part a secret anywhere. A known value is also found as JSON spells it, to any depth of quoting. In its place stands
``[redacted NAME]``; every other byte stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache, lru_cache
from typing import Any, NamedTuple, TypeVar, cast

from msgspec import Struct
from msgspec.structs import force_setattr, replace

MIN_SECRET = 8
"""Characters of the shortest value that is looked for: a shorter one stands in too many innocent places."""

HELD_BYTES = 64 * 1024
"""The most bytes that a stream holds back, whatever they may yet become."""

_BEFORE = 8  # bytes of context that a shape may look back at
_TAIL = 64  # bytes of an open match that are kept, so that its own end is seen
_SLASHES = 16  # backslashes by which JSON within JSON within JSON quotes a letter; more are not looked at
_SHORT: Mapping[str, bytes] = {"\n": b"n", "\r": b"r", "\t": b"t", "\b": b"b", "\f": b"f"}

T = TypeVar("T")


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


class Shape(Struct, frozen=True):
    """A kind of token: it holds *anchor*, and *whole* matches it. *kernel* bytes of a match are enough to match.

    *beginnings* are those of *anchor*, without itself. *part* matches what may yet become a token, up to the end of the
    bytes; it is at most *longest* bytes long. A group ``end`` in *whole* says that a match cannot grow. A pattern is
    compiled when its anchor is met: most never are, and to compile them all takes longer than to load this module.
    """

    name: str
    anchor: bytes
    whole: bytes
    part: bytes
    kernel: int
    longest: int
    beginnings: tuple[bytes, ...]

    def may_begin(self, tail: bytes) -> bool:
        """Whether the end of *tail* could be a beginning: cheaper than to look for it, and true whenever it is one."""
        return self.anchor in tail or tail.endswith(self.beginnings)


def _beginnings(anchor: bytes) -> tuple[bytes, ...]:
    return tuple(anchor[:end] for end in range(len(anchor) - 1, 0, -1))


def _token(name: str, prefix: bytes, following: bytes, least: int, before: bytes = b"") -> Shape:
    """A *prefix* with *least* or more bytes of the class *following* after it."""
    start = re.escape(prefix)
    beginnings = _beginnings(prefix)
    begun = b"|".join(map(re.escape, beginnings))
    return Shape(
        name=name,
        anchor=prefix,
        whole=before + start + b"[%b]{%d,}" % (following, least),
        part=before + b"(?:%b[%b]{0,%d}|%b)\\Z" % (start, following, least - 1, begun),
        kernel=len(prefix) + least,
        longest=len(prefix) + least,
        beginnings=beginnings,
    )


_WORD = rb"A-Za-z0-9_"
_NO_WORD_BEFORE = rb"(?:(?<![A-Za-z0-9])|(?<=\\[nrtbf])|(?<=[0-9;\[]m))"
"""No ``task-`` for a ``sk-``; but it may follow a line's end that JSON has quoted, or the code of a colour."""

_BEGIN, _END = rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----", rb"-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----"
_PRIVATE_KEY = Shape(
    name="private key",
    anchor=b"-----BEGIN ",
    whole=_BEGIN
    + rb"(?:(?!-----END )[A-Za-z0-9+/=\s:,\\-])*(?:(?P<end>"
    + _END
    + rb")|-----END [A-Z0-9 ]{0,53}-{0,5}\Z)?",
    part=rb"-{1,5}\Z|-----(?:B|BE|BEG|BEGI|BEGIN|BEGIN [A-Z0-9 ]{0,51}-{0,4})\Z",
    kernel=68,
    longest=72,
    beginnings=_beginnings(b"-----BEGIN "),
)

SHAPES = (
    _token("API key", b"sk-", _WORD + rb"\-", 20, _NO_WORD_BEFORE),
    *(_token("GitHub token", b"gh%c_" % kind, rb"A-Za-z0-9", 30) for kind in b"pousr"),
    _token("GitHub token", b"github_pat_", _WORD, 30),
    _token("GitLab token", b"glpat-", _WORD + rb"\-", 20),
    _token("AWS key id", b"AKIA", rb"A-Z0-9", 16, rb"(?:(?<![A-Za-z0-9+/])|(?<=\\[nrtbf])|(?<=[0-9;\[]m))"),
    *(_token("Slack token", b"xox%c-" % kind, rb"A-Za-z0-9\-", 10) for kind in b"abeoprs"),
    *(_token("bearer token", word + b" ", rb"A-Za-z0-9._~+/=\-", 16) for word in (b"Bearer", b"bearer", b"BEARER")),
    _PRIVATE_KEY,
)  # fmt: skip


@cache
def _compiled(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern)


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

_QUOTED = re.compile(rb"\\u(?!00[01])")
"""A quoted letter that is no control code."""


class _Known(Struct, frozen=True):
    """A value to look for. *head* is its beginning up to the first letter that JSON quotes, or may."""

    name: str
    value: str
    head: bytes
    longest: int

    @classmethod
    def of(cls, secret: Secret) -> _Known:
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


class Redactor(Struct, frozen=True):
    """Takes *secrets* and tokens of well-known shapes out of what is written."""

    secrets: tuple[Secret, ...] = ()
    _known: tuple[_Known, ...] = ()

    def __post_init__(self) -> None:
        """Prepare the search; the longest value first, so that it gives its name where one holds another."""
        worth = sorted((each for each in self.secrets if each.value), key=lambda each: -len(each.value))
        force_setattr(self, "_known", tuple(_Known.of(each) for each in worth))

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
                    for match in _compiled(shape.whole).finditer(whole, offset)
                ]
        return _merged(spans)

    def begun(self, before: bytes, data: bytes) -> int:
        """From where on *data* may be the beginning of something that is to be taken out; its length for nowhere."""
        whole, offset = before + data, len(before)
        starts = [known.begun(data) for known in self._known]
        for shape in SHAPES:
            tail = max(offset, len(whole) - shape.longest)
            if shape.may_begin(whole[tail:]) and (match := _compiled(shape.part).search(whole, tail)):
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
