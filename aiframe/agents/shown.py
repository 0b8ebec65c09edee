"""How the log shows what a command of an agent's printed."""

from __future__ import annotations

from aiframe.agents.lines import plain

OUTPUT_LINES = 40
OUTPUT_CHARACTERS = 4000


def shortened(output: str) -> str:
    """The last part of a command's output, and how much of it is not shown."""
    tail = plain(output[-OUTPUT_CHARACTERS:]).strip("\n")
    lines = tail.splitlines()[-OUTPUT_LINES:]
    hidden = len(output) > OUTPUT_CHARACTERS or len(lines) < len(tail.splitlines())
    return "\n".join((["[the beginning is left out]"] if hidden else []) + lines)
