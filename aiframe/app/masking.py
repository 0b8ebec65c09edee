"""Makes texts fit to be given away: known secrets, what looks like one, and the home folder become placeholders."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

Redact: TypeAlias = Callable[[str], str]
"""Gives a text without what nobody else may see."""

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)
_LEAST = 8
"""Shorter values of variables are no secrets, and would make any text unreadable."""

# No pattern may begin with a repetition that has no limit: on a long line it would be tried from every place.
_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), mask)
    for pattern, mask in (
        (
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
            "[redacted private key]",
        ),
        (r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}", "[redacted token]"),
        (r"\b(?:gh[pousr]_|github_pat_|glpat-)[A-Za-z0-9_-]{16,}", "[redacted token]"),
        (r"\bxox[a-z]-[A-Za-z0-9-]{8,}", "[redacted token]"),
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
    """What masks the values of secret-looking variables of *environ*, all *secrets*, and what has a token's shape."""
    named = {value: f"[redacted {name}]" for name, value in environ.items() if _SECRET_NAME.search(name)}
    named |= dict.fromkeys(secrets, "[redacted]")
    known: dict[str, str] = {}
    for value, mask in named.items():
        if len(value) >= _LEAST:
            known |= {value: mask, json.dumps(value)[1:-1]: mask, json.dumps(value, ensure_ascii=False)[1:-1]: mask}
    longest_first = sorted(known, key=len, reverse=True)
    literal = re.compile("|".join(map(re.escape, longest_first))) if known else None
    home = environ.get("HOME", "").rstrip("/")

    def redact(text: str) -> str:
        if literal is not None:
            text = literal.sub(lambda found: known[found.group()], text)
        for pattern, mask in _SHAPES:
            text = pattern.sub(mask, text)
        return _without_home(text, home)

    return redact


def _without_home(text: str, home: str) -> str:
    return re.sub(re.escape(home) + r"(?![\w.-])", "~", text) if len(home) > 1 else text


def without_addresses(text: str) -> str:
    """*text* with nothing left of its addresses but how they begin: one for notices may be a secret as a whole."""
    return _ADDRESS.sub(r"\1://[redacted]", text)
