"""Data in a prompt: between two marker lines that the data cannot imitate, and no longer than there is room for."""

from __future__ import annotations

import re
import unicodedata

_NUMBERED = re.compile(r"data([0-9]{1,6})")


def fenced(name: str, text: str, room: int | None = None, whole: str = "") -> str:
    """*text* between two marker lines whose number does not occur in it, so that nothing inside passes for its end.

    Nor does what only looks like a marker: other letter case, spaces, punctuation or forms of the same letters. Of a
    text longer than *room* characters the middle is left out, and a note names the file *whole* that has all of it.
    """
    body = _shortened(text.rstrip("\n"), room, whole) or "(empty)"
    number = _free_number(body)
    return f"[data {number}: {name}]\n{body}\n[end of data {number}: {name}]"


def _free_number(text: str) -> int:
    """The lowest number from 1 that does not follow the word data in *text*, however that is written."""
    letters = "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))
    taken = {run[:end] for run in _NUMBERED.findall(letters) for end in range(1, len(run) + 1)}
    number = 1
    while str(number) in taken:
        number += 1
    return number


def _shortened(text: str, room: int | None, whole: str) -> str:
    if room is None or len(text) <= room:
        return text
    head = text[: room // 2]
    tail = text[len(text) - (room - len(head)) :]
    left_out = len(text) - len(head) - len(tail)
    return f"{head}\n[... {left_out} characters are left out here; all of it: {whole} ...]\n{tail}"
