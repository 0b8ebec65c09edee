"""Colours, where a person looks at them: on a terminal, and never with NO_COLOR."""

from __future__ import annotations

import os
import sys
from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def has_colour(stream: TextIO | None = None) -> bool:
    """Whether *stream* (default: standard output) shows colours."""
    stream = sys.stdout if stream is None else stream
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return is_terminal(stream)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person sits at *stream*."""
    return stream is not None and stream.isatty()


def paint(text: str, colour: str) -> str:
    """*text* in *colour* (one of bold, dim, red, green, yellow, cyan) where colours are shown, else as it is."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if has_colour() and text else text
