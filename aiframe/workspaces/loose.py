"""Objects of a repository that lie in files of their own, read and checked without git, which takes a hundred times as
long to start. What is packed, large or in any way unusual is left to git."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import zlib
from pathlib import Path

MAX_BYTES = 1024 * 1024
"""How much of an object is read, and what is made of it: an agent may have put anything there."""

_COMMIT = re.compile(rb"tree ([0-9a-f]{40}|[0-9a-f]{64})\n")


def is_sound(objects: Path, commit: str) -> bool:
    """Whether *commit* and its tree are in the folder *objects*, each in a file of its own that holds what it should.

    False says only that git has to be asked.
    """
    found = _COMMIT.match(_read(objects, "commit", commit) or b"")
    return found is not None and _read(objects, "tree", found[1].decode()) is not None


def _read(objects: Path, kind: str, name: str) -> bytes | None:
    """What the object *name* of that *kind* holds; None where it is not such a file, or is spoiled."""
    raw = plain_bytes(objects / name[:2] / name[2:])
    try:
        reader = zlib.decompressobj()
        data = reader.decompress(raw, MAX_BYTES)
    except zlib.error:
        return None
    digest = hashlib.sha1(data, usedforsecurity=False) if len(name) == 40 else hashlib.sha256(data)
    head, _, content = data.partition(b"\0")
    sound = reader.eof and digest.hexdigest() == name and head == f"{kind} {len(content)}".encode()
    return content if sound else None


def plain_bytes(file: Path, limit: int = MAX_BYTES) -> bytes:
    """The first *limit* bytes of *file*; none where it cannot be read, or is no plain file: nobody is waited for."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    with open(descriptor, "rb", buffering=0) as stream:
        try:
            plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
            return (stream.read(limit) or b"") if plain else b""
        except OSError:
            return b""
