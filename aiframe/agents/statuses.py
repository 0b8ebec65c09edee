"""What the HTTP status of a service's answer means, where a CLI tells it as a number."""

from __future__ import annotations

from typing import Any

from aiframe.core.model import FailureKind

TOO_MANY = 429

_KINDS = {401: FailureKind.AUTH, 403: FailureKind.AUTH, 402: FailureKind.QUOTA}
_MAY_PASS = frozenset({408, 409, 425, TOO_MANY})
"""Statuses below 500 that say: not now."""


def kind_of_status(status: Any) -> FailureKind:
    """The kind of failure; transient for what is no status."""
    if not isinstance(status, int):
        return FailureKind.TRANSIENT
    wrong = 400 <= status < 500 and status not in _MAY_PASS
    return _KINDS.get(status, FailureKind.SETUP if wrong else FailureKind.TRANSIENT)
