"""What is wrong in a file. A module of its own: `aiframe --help` needs the errors, and not what a structure loads."""

from __future__ import annotations

from pathlib import PurePath

from msgspec import Struct


class Problem(Struct, frozen=True):
    """One thing wrong in one file. *line* and *column* count from 1; 0 means the whole file."""

    path: PurePath
    message: str
    line: int = 0
    column: int = 0
    hint: str = ""

    def __str__(self) -> str:
        place = str(self.path)
        if self.line:
            place += f":{self.line}"
            if self.column:
                place += f":{self.column}"
        return f"{place}: {self.message}"
