"""A terminal of the tests' own: what a person sees of the bytes that a program prints. It knows what ours prints."""

from __future__ import annotations

import re
import unicodedata

_TOKEN = re.compile(r"\x1b\[(\??[0-9;]*)([A-Za-z])|\x1b|[\s\S]")


class Terminal:
    """A screen of *columns*, as long as it gets. *strange* collects control codes that ours has no business with."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.lines = [""]
        self.row = self.column = 0
        self.strange: list[str] = []
        self.colours = 0
        self.pictures = 0

    def feed(self, text: str) -> None:
        """Show what was printed."""
        for token in _TOKEN.finditer(text):
            if token[2]:
                self._obey(token[1], token[2])
            elif token[0] == "\r":
                self.column = 0
            elif token[0] == "\n":
                self._down()
            elif token[0] < " " or "\x7f" <= token[0] < "\xa0":
                self.strange.append(token[0])
            else:
                self._put(token[0])

    @property
    def screen(self) -> str:
        """All that can be seen."""
        return "\n".join(line.rstrip() for line in self.lines).rstrip("\n")

    def _obey(self, given: str, code: str) -> None:
        match code, given:
            case "m", _:
                self.colours += given not in ("", "0")
            case "A", _:
                self.row = max(0, self.row - int(given or 1))
            case "J", "" | "0":
                del self.lines[self.row + 1 :]
                self.lines[self.row] = self.lines[self.row][: self.column]
            case "l", "?25":
                self.pictures += 1
            case "h", "?25":
                pass
            case _:
                self.strange.append(given + code)

    def _put(self, letter: str) -> None:
        if unicodedata.combining(letter):
            return
        wide = 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if self.column + wide > self.columns:
            self._down()
            self.column = 0
        line = self.lines[self.row].ljust(self.column, "\0")
        self.lines[self.row] = line[: self.column] + letter + "\0" * (wide - 1) + line[self.column + wide :]
        self.column += wide

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append("")

    @property
    def text(self) -> str:
        """All that can be seen, without the second halves of wide letters."""
        return self.screen.replace("\0", "")
