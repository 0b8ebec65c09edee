"""A file whose room on the disk is taken in advance, for words that have to be written when there is none left."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from aiframe.durable import write_all

SIZE = 4096
"""How many bytes the words may take: one block of most file systems."""


def reserve(path: Path) -> None:
    """Have room at *path*, and no words in it. Best effort: where there is no room now, older words stay."""
    with suppress(OSError):
        if len(_read(path)) != SIZE or read_words(path):
            _overwrite(path, "")


def write_words(path: Path, text: str) -> None:
    """Let *text* stand at *path*, cut where its room ends. Best effort: it is for people to see."""
    with suppress(OSError):
        _overwrite(path, text)


def read_words(path: Path) -> str:
    """The words at *path*; empty for none."""
    try:
        return _read(path).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(SIZE)
    except FileNotFoundError:
        return b""


def _overwrite(path: Path, text: str) -> None:
    """In place, and without a moment in which the room is given back."""
    content = text.encode("utf-8", "replace")[: SIZE - 1].decode("utf-8", "ignore").encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        write_all(descriptor, content.ljust(SIZE - 1) + b"\n")
    finally:
        os.close(descriptor)
