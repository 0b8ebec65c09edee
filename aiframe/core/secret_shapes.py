"""What tokens look like that nobody has named: API keys, private keys."""

from __future__ import annotations

import re
from functools import cache

from msgspec import Struct


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
def compiled(pattern: bytes) -> re.Pattern[bytes]:
    """*pattern* of a shape, compiled once."""
    return re.compile(pattern)
