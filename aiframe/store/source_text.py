"""The text of a file that a person may have written, and places in it."""

from __future__ import annotations

from pathlib import Path

from aiframe.core.errors import UnreadableFile
from aiframe.core.problem import Problem

BOM = "\ufeff"


def decode_text(path: Path, data: bytes) -> str:
    """*data* as text, a byte order mark and the line ends kept. Raises UnreadableFile."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line, column = place(data[: error.start].decode("utf-8"), error.start)
        message = f"byte {error.start} (0x{data[error.start]:02x}) is no UTF-8 text"
        cure = "save the file as UTF-8 (your editor's `save with encoding`)"
        raise UnreadableFile([Problem(path, message, line, column, cure)]) from error
    nul = text.find("\0")
    if nul >= 0:
        line, column = place(text, nul)
        cure = "remove it; a file full of them was cut by a crash of the machine"
        raise UnreadableFile([Problem(path, "holds a NUL character", line, column, cure)])
    return text


def place(text: str, offset: int) -> tuple[int, int]:
    """Line and column, both from 1, of the character at *offset*."""
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1
