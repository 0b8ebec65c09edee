"""Git's configuration files as plain values: what holds nothing unusual is read here, for all else git is asked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path

from aiframe.process import capture
from aiframe.workspaces.git_errors import survived
from aiframe.workspaces.git_program import TIMEOUT_S, environment, program

_WORD = r'[^\s"\\#;]+'
_SECTION = re.compile(r'\[([A-Za-z0-9-]+)(?: "([A-Za-z0-9 ._/@:+-]+)")?\]')
_SETTING = re.compile(rf"[ \t]*([A-Za-z][A-Za-z0-9-]*)[ \t]*=[ \t]*({_WORD}(?: {_WORD})*)?[ \t]*")


def plain_settings(text: bytes) -> Mapping[str, str] | None:
    """Key (in lower case) to value, the last of several; None for a text that only git can read.

    Quotes, escapes, comments, lines that go on, names without a value: whatever has rules of its own is git's.
    """
    try:
        lines = text.decode("ascii").split("\n")
    except UnicodeDecodeError:
        return None
    found: dict[str, str] = {}
    section = ""
    for line in lines:
        if not line.strip(" \t"):
            continue
        if head := _SECTION.fullmatch(line):
            section = ".".join(filter(None, head.groups())).lower()
        elif section and (setting := _SETTING.fullmatch(line)):
            found[f"{section}.{setting[1].lower()}"] = setting[2] or ""
        else:
            return None
    return found


@cache
def personal_settings() -> Mapping[str, str]:
    """The person's own global git settings, read once; empty where there are none."""
    theirs = {key: text for key, text in os.environ.items() if not key.startswith("GIT_") or key == "GIT_CONFIG_GLOBAL"}
    home = Path(theirs.get("HOME", "/"))
    files = (home / ".gitconfig", Path(theirs.get("XDG_CONFIG_HOME") or home / ".config") / "git" / "config")
    there = [file for file in files if os.path.lexists(file)]
    if "GIT_CONFIG_GLOBAL" not in theirs and len(there) < 2:
        plain = plain_settings(_bytes(there[0])) if there else {}
        if plain is not None:
            return plain
    argv = [program(), "config", "--global", "-z", "--list"]
    done = survived("config", capture(argv, cwd=Path("/"), env=theirs, timeout_s=30))
    return parse_settings(done.out) if done.code == 0 else {}


def _bytes(file: Path) -> bytes:
    """What *file* holds; where it cannot be read, what git alone could say something about."""
    try:
        return file.read_bytes()
    except OSError:
        return b"?"


def read_settings(file: Path) -> dict[str, str]:
    """The plain values of one configuration file; empty where it cannot be read."""
    try:
        return dict(settings_in(file.read_bytes()))
    except OSError:
        return {}


@lru_cache(maxsize=16)
def settings_in(text: bytes) -> Mapping[str, str]:
    """The plain values of a configuration that reads *text*, kept because a step asks for the same ones many times."""
    plain = plain_settings(text)
    if plain is not None:
        return plain
    argv = [program(), "config", "--file", "-", "--no-includes", "-z", "--list"]
    done = survived("config", capture(argv, cwd=Path("/"), env=environment(), stdin=text, timeout_s=TIMEOUT_S))
    return parse_settings(done.out if done.code == 0 else b"")


def parse_settings(raw: bytes) -> dict[str, str]:
    """What ``git config -z --list`` printed: key (lower case) to value; the last of several wins."""
    pairs = (os.fsdecode(item).partition("\n") for item in raw.split(b"\0") if item)
    return {key.lower(): value if newline else "true" for key, newline, value in pairs}
