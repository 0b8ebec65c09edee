"""Texts that a person gives on the command line."""

from __future__ import annotations

from aiframe.core.errors import UsageError

MAX_TEXT = 64 * 1024
"""The most characters that a note or an answer may have."""


def checked_text(text: str, what: str) -> str:
    """*text* without blanks around it. Raises UsageError for one that is empty, too long, or no UTF-8."""
    bare = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if not bare:
        raise UsageError(f"{what} is empty", hint="write it in quotes behind the command")
    if len(bare) > MAX_TEXT:
        raise UsageError(f"{what} has {len(bare)} characters; at most {MAX_TEXT} are taken", hint="shorten it")
    if "\0" in bare or any("\ud800" <= character <= "\udfff" for character in bare):
        raise UsageError(f"{what} is no UTF-8 text", hint="write it in UTF-8, the encoding of all files here")
    return bare
