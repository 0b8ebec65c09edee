"""From words to a command and its arguments; a mistyped word gets the one that was meant."""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Sequence
from typing import NoReturn

from aiframe.cli.table import COMMANDS, FIRST, NAMES, Command
from aiframe.core.errors import UsageError

_BEFORE_COMMAND = ("--frame", "--project")
"""Options with a value that may stand before the command, too."""

_NAMES_SOMETHING = ("FILE", "PATH", "DIR", "NAME", "IMAGE")
"""Values that are never empty on purpose. What is no project's name, P, is told with those that there are."""


def split(argv: Sequence[str]) -> tuple[str, list[str]]:
    """The command's name ("" where there is none) and all other words."""
    skip = False
    for index, word in enumerate(argv):
        if skip:
            skip = False
        elif word in _BEFORE_COMMAND:
            skip = True
        elif not word.startswith("-"):
            return word, [*argv[:index], *argv[index + 1 :]]
    return "", list(argv)


def find(name: str) -> Command:
    """The command of that name. Raises UsageError with the one that was meant."""
    for command in COMMANDS:
        if command.name == name:
            return command
    raise UsageError(f"there is no command {name!r}", hint=_meant(name, NAMES) or "`aiframe --help` lists them")


def parse(command: Command, words: Sequence[str]) -> argparse.Namespace:
    """The arguments of *command*. Raises UsageError; exits after printing the help that was asked for."""
    parser = parser_of(command)
    # Intermixed: `answer --project P Q1 "the text"` has its words on both sides of an option.
    args, strange = parser.parse_known_intermixed_args(list(words))
    if strange:
        raise _unknown(command, parser, strange[0])
    _refuse_empty(command, parser, args)
    return args


def _refuse_empty(command: Command, parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Raise UsageError for a file, folder or name that is empty, as an unset variable of a script leaves it."""
    for action in parser._actions:
        if action.metavar in _NAMES_SOMETHING and getattr(args, action.dest, None) == "":
            name = action.option_strings[0] if action.option_strings else action.metavar
            raise UsageError(f"aiframe {command.name}: {name} is empty", hint=f"name one, or leave {name} out")


def parser_of(command: Command) -> argparse.ArgumentParser:
    """The parser of *command*, with its help."""
    examples = "\n".join(f"  {example}" for example in command.examples)
    parser = _Parser(
        prog=f"aiframe {command.name}",
        description=f"{command.summary[0].upper()}{command.summary[1:]}.",
        epilog=f"{'example' if len(command.examples) == 1 else 'examples'}:\n{examples}"
        + (f"\n\n{command.more}" if command.more else ""),
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    command.options(parser)
    return parser


def overview() -> str:
    """What `aiframe --help` prints: the five commands to start with, then all others by group."""
    first = [find(name) for name in FIRST]
    parts = [
        "aiframe: a folder of plain files that works like a small software team.\n",
        "usage: aiframe COMMAND [OPTIONS]\n",
        _listed("Start with these", first),
    ]
    for group in dict.fromkeys(command.group for command in COMMANDS):
        members = [command for command in COMMANDS if command.group == group and command.name not in FIRST]
        parts += [_listed(group, members)] if members else []
    parts.append(
        "`aiframe COMMAND --help` shows its options and an example. Most commands take --project P, a path or a\n"
        "name, which may be left out inside a project. Nothing set up yet? `aiframe demo` plays everything once."
    )
    return "\n".join(parts)


def _listed(title: str, commands: Sequence[Command]) -> str:
    return "\n".join([f"{title}:", *(f"  {command.name:<10} {command.summary}" for command in commands), ""])


def _formatter(prog: str) -> argparse.HelpFormatter:
    width = min(shutil.get_terminal_size().columns, 120) - 2
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=width)


class _Parser(argparse.ArgumentParser):
    """Tells a wrong argument the way all errors are told."""

    def error(self, message: str) -> NoReturn:
        cure = f"`{self.prog} --help` shows what it takes"
        found = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if found:
            cure = _meant(found[1], re.findall(r"\w+", found[2])) or cure
        empty = re.search(r"argument (?:-\w/)?(--[\w-]+): expected one argument", message)
        if empty:
            cure += f"; a value that begins with - is written {empty[1]}=-VALUE"
        raise UsageError(f"{self.prog}: {message}", hint=cure)


def _unknown(command: Command, parser: argparse.ArgumentParser, word: str) -> UsageError:
    name = word.partition("=")[0]
    if not name.startswith("-"):
        cure = f"name a project with --project {name}" if _takes_project(parser) else _how(command)
        return UsageError(f"aiframe {command.name}: {word!r} is one word too many", hint=cure)
    known = [option for action in parser._actions for option in action.option_strings]
    return UsageError(f"aiframe {command.name}: there is no option {name}", hint=_meant(name, known) or _how(command))


def _takes_project(parser: argparse.ArgumentParser) -> bool:
    return "--project" in parser._option_string_actions


def _how(command: Command) -> str:
    return f"`aiframe {command.name} --help` shows what it takes"


def _meant(word: str, known: Sequence[str]) -> str:
    import difflib

    close = difflib.get_close_matches(word, known, 3, 0.55)
    return f"did you mean {' or '.join(close)}?" if close else ""
