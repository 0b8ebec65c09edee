"""The options of an agent in PROJECT.yaml, checked before anything is started."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

import msgspec

from aiframe.core.errors import UsageError

Options = TypeVar("Options", bound=msgspec.Struct)


def read_options(agent: str, given: Mapping[str, Any], shape: type[Options]) -> Options:
    """*given* as a *shape*. Raises UsageError that names the option, what it must be, and the known ones."""
    known = shape.__struct_fields__
    for name in given:
        if name not in known:
            raise UsageError(f"agent {agent!r} has no option {name!r}", hint=_nearest(str(name), known))
    try:
        return msgspec.convert(dict(given), shape)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$.")
        name = place.rstrip("`") or "options"
        raise UsageError(f"agent {agent!r}, option {name!r}: {what}", hint="correct it in PROJECT.yaml") from None


def _nearest(name: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(name, known, 1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return f"{meant}its options are: {', '.join(known)}"
