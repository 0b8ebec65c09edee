"""The way in: find the command, run it, tell its errors."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence
from functools import partial

from aiframe.cli.reporting import reported


def run(argv: Sequence[str]) -> int:
    """Run the command in *argv* (without the program's name); its exit code."""
    return reported(partial(_run, argv))


def _run(argv: Sequence[str]) -> int:
    from aiframe.cli import parser

    name, words = parser.split(argv)
    if name == "help":
        name, words = (words[0], ["--help"]) if words else ("", ["--help"])
    if not name:
        return _without_command(words)
    command = parser.find(name)
    try:
        args = parser.parse(command, words)
    except SystemExit as end:  # argparse has printed the help
        return int(end.code or 0)
    module, _, function = command.code.partition(":")
    act: Callable[[argparse.Namespace], int] = getattr(importlib.import_module(f"aiframe.cli.{module}"), function)
    return act(args)


def _without_command(words: Sequence[str]) -> int:
    from aiframe.cli import parser
    from aiframe.core.errors import UsageError

    if "--version" in words:
        return _run(["version"])
    strange = [word for word in words if word not in ("-h", "--help")]
    if strange:
        raise UsageError(f"which command? {strange[0]} alone says nothing", hint="`aiframe --help` lists the commands")
    print(parser.overview())
    return 0
