"""Record `aiframe demo` in a pseudo-terminal: docs/demo.cast (asciicast v2, all of it) and docs/demo.svg (its end).

Run it by `make record` when what the demo prints has changed.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import time
from pathlib import Path

import pexpect
from rich.console import Console
from rich.text import Text

WIDTH, HEIGHT = 110, 40
DOCS = Path(__file__).resolve().parent.parent / "docs"
# Rich's own frame names fonts of a web address; a picture in a repository must not load anything.
WEB_FONTS = re.compile(r"@font-face\s*\{.*?\}|<!--.*?-->", re.DOTALL)
SHOWN_FROM = "--- Where it stands"


def record(command: list[str]) -> list[tuple[float, str]]:
    """What *command* prints in a terminal, each piece with its time in seconds."""
    began = time.monotonic()
    pieces: list[tuple[float, str]] = []
    env = {**os.environ, "TERM": "xterm-256color"}
    env.pop("NO_COLOR", None)
    child = pexpect.spawn(command[0], command[1:], dimensions=(HEIGHT, WIDTH), env=env, encoding="utf-8", timeout=120)
    while True:
        try:
            pieces.append((time.monotonic() - began, child.read_nonblocking(4096)))
        except pexpect.EOF:
            break
    child.close()
    if child.exitstatus != 0:
        sys.exit(f"error: the demo ended with {child.exitstatus}\n" + "".join(text for _, text in pieces))
    return pieces


def write_cast(pieces: list[tuple[float, str]], path: Path) -> None:
    """Write the pieces as asciicast v2."""
    head = {"version": 2, "width": WIDTH, "height": HEIGHT, "title": "aiframe demo"}
    lines = [json.dumps(head), *(json.dumps([round(at, 3), "o", text]) for at, text in pieces)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_svg(pieces: list[tuple[float, str]], path: Path) -> None:
    """Write the end of the output, from the status panel on, as one picture."""
    printed = "".join(text for _, text in pieces).replace("\r\n", "\n")
    shown = printed[max(0, printed.find(SHOWN_FROM)) :]
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(shown))
    picture = WEB_FONTS.sub("", console.export_svg(title="aiframe demo"))
    path.write_text(picture.replace("<text ", '<text xml:space="preserve" '), encoding="utf-8")


def main() -> None:
    """Record the demo of the aiframe given as the first argument."""
    pieces = record([sys.argv[1], "demo"])
    write_cast(pieces, DOCS / "demo.cast")
    write_svg(pieces, DOCS / "demo.svg")


if __name__ == "__main__":
    main()
