"""Git's configuration files as plain values: those that hold nothing unusual, for all others git has to be asked."""

from __future__ import annotations

import re
from collections.abc import Mapping

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
