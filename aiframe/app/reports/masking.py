"""Makes texts fit to be given away: no secrets, nothing that looks like one, and no home folder.

What is written as a step runs must stay as it is unless it is a secret for sure; what leaves the machine need not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from msgspec.structs import replace

from aiframe.app.protection.secrets import redactor_for
from aiframe.core.redaction import MIN_SECRET
from aiframe.core.secret_values import Secret

Redact: TypeAlias = Callable[[str], str]
"""Gives a text without what nobody else may see."""

# No pattern may begin with a repetition that has no limit: on a long line it would be tried from every place.
_DOUBTFUL: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), mask)
    for pattern, mask in (
        (r"\b(?:sk|pk|rk|ghp|gho|ghu|ghs|ghr|github_pat|glpat)[-_][A-Za-z0-9_-]{16,}", "[redacted token]"),
        (r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", "[redacted token]"),
        (r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*", "[redacted token]"),
        (r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", r"\1 [redacted]"),
        (r"(?i)\b([a-z][a-z0-9+.-]{0,20}://[^\s/:@]{0,200}):[^\s/@]+@", r"\1:[redacted]@"),
        (
            r"(?i)((?:api_?key|token|secret|passw(?:or)?d|credential)s?[\"']?\s*[:=]\s*[\"']?)(?![0-9.]+\b)[^\s\"',;}\[]{8,}",
            r"\1[redacted]",
        ),
    )
)
_ADDRESS = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]{0,20})://[^\s\"'\]}]+")


def redaction(environ: Mapping[str, str], secrets: Iterable[str] = ()) -> Redact:
    """What masks all that aiframe knows as secret with *environ*, the further *secrets*, and what looks like one."""
    known = redactor_for(environ)
    more = tuple(Secret("secret", value) for value in secrets if len(value) >= MIN_SECRET)
    redactor = replace(known, secrets=(*known.secrets, *more)) if more else known
    home = environ.get("HOME", "").rstrip("/")

    def redact(text: str) -> str:
        text = redactor.text(text)
        for pattern, mask in _DOUBTFUL:
            text = pattern.sub(mask, text)
        return _without_home(text, home)

    return redact


def _without_home(text: str, home: str) -> str:
    return re.sub(re.escape(home) + r"(?![\w.-])", "~", text) if len(home) > 1 else text


def without_addresses(text: str) -> str:
    """*text* with nothing left of its addresses but how they begin: one for notices may be a secret as a whole."""
    return _ADDRESS.sub(r"\1://[redacted]", text)
