"""Writing turns for the scripted agent: as YAML that people can read, and that reads back as what was written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

from aiframe.agents.script_file import VERSION, Turn
from aiframe.core.errors import StepError

_ODD = re.compile("[^\t\n -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""What has to be escaped: control characters, and those that YAML takes for the end of a line.

So are empty lines at the end: behind those the emitter would end the whole document."""


_BASE: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Dumper(_BASE):  # type: ignore[misc]
    """Texts of several lines stand as they are."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    quoted = _ODD.search(text) or text.endswith("\n\n") or text.isspace()
    style = '"' if quoted else "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)

HEADER = f"version: {VERSION}\nturns:\n"


def turn_text(turn: Mapping[str, Any]) -> str:
    """One turn as an item of the list, to be put below `HEADER` or behind another. Raises StepError for no turn."""
    text = yaml.dump([dict(turn)], Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=10_000)
    try:
        back = yaml.load(text, Loader=_LOADER)
        msgspec.convert(back, list[Turn])
    except (yaml.YAMLError, msgspec.ValidationError, ValueError) as error:
        raise StepError(f"the turn cannot be written: {error}", hint="the step itself is not affected") from None
    if back != [dict(turn)]:
        raise StepError("the turn does not read back as it was", hint="the step itself is not affected")
    return text
