"""What a failed result of claude's means. Its fields decide; words only where it has no field.

Measured with claude-code 2.1.329. Only ``result`` events, the ``error`` of claude's own messages, ``rate_limit_event``
and its standard error are read with this, never what a tool printed or the model said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from aiframe.agents.endings import failure_of, first_line
from aiframe.agents.lines import object_of, plain, text_of
from aiframe.agents.statuses import TOO_MANY, kind_of_status
from aiframe.core.model import Failure, FailureKind
from aiframe.core.ports import Exit

LOGIN = "run `claude auth login` (or set ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN), then `aiframe resume`"
INSTALL = "install claude: npm install -g @anthropic-ai/claude-code, then run `claude auth login`"

_HINTS = {
    FailureKind.AUTH: LOGIN,
    FailureKind.BUDGET: "raise the limit in the args of the agent in PROJECT.yaml, then `aiframe resume`",
    FailureKind.QUOTA: "wait, or raise the limit of the claude account; `aiframe resume --now` tries at once",
    FailureKind.SETUP: "correct the model or the agent's options in PROJECT.yaml, then `aiframe resume`",
    FailureKind.NO_PROGRESS: "make the task smaller: the conversation no longer fits the model's context window",
}
_OF_SUBTYPE = {
    "error_max_turns": FailureKind.BUDGET,
    "error_max_budget_usd": FailureKind.BUDGET,
    "error_max_structured_output_retries": FailureKind.INVALID_OUTPUT,
}
_OF_ERROR = {
    "authentication_failed": FailureKind.AUTH,
    "billing_error": FailureKind.QUOTA,
    "model_not_found": FailureKind.SETUP,
}
_NO_SESSION = re.compile(r"no conversation found with session id|--resume requires a valid session", re.IGNORECASE)
_REFUSED = re.compile(r"error: (unknown option|option |missing required|too many arguments)|--json-schema is not valid")
_SETUP = re.compile(
    r"cannot be used with root|input must be provided either through stdin|settings file not found"
    r"|invalid mcp configuration|error: invalid ",
)


class Limit(Struct, frozen=True):
    """What a ``rate_limit_event`` said: whether requests are rejected, and until when (epoch seconds)."""

    rejected: bool = False
    resets_at: float | None = None


def classify(result: Mapping[str, Any], error: str, limit: Limit) -> Failure:
    """The failure that a *result* event with ``is_error`` stands for. *error* is the one of claude's own message."""
    kind = _kind(result, error, limit)
    said = text_of(result.get("result"))[:8192] or _errors(result)[:8192]
    reset = limit.resets_at if kind is FailureKind.QUOTA else None
    return Failure(kind, said or "claude failed without a message", _HINTS.get(kind, ""), reset)


def _kind(result: Mapping[str, Any], error: str, limit: Limit) -> FailureKind:
    if text_of(result.get("subtype")) in _OF_SUBTYPE:
        return _OF_SUBTYPE[text_of(result.get("subtype"))]
    if result.get("terminal_reason") == "prompt_too_long":
        return FailureKind.NO_PROGRESS
    if result.get("stop_reason") == "refusal":
        return FailureKind.INVALID_OUTPUT
    # A rejection without a time is the service asking everybody to slow down; a used-up account has its time.
    status = result.get("api_error_status")
    used_up = status == TOO_MANY and limit.rejected and limit.resets_at is not None
    if used_up or result.get("api_error") == "usage_limit_reached":
        return FailureKind.QUOTA
    return _OF_ERROR.get(error) or kind_of_status(status)


def _errors(result: Mapping[str, Any]) -> str:
    errors = result.get("errors")
    return "; ".join(text_of(error) for error in errors[:10]) if isinstance(errors, list) else ""


def session_unknown(result: Mapping[str, Any]) -> bool:
    """Whether claude says that it does not have the session that was to be resumed."""
    return bool(_NO_SESSION.search(_errors(object_of(result))))


def silent_failure(ended: Exit, program: str) -> Failure:
    """The failure of a claude that ended without a result."""
    said, text = first_line(ended.stderr), plain(ended.stderr, 65536).lower()
    if ended.code > 0 and _REFUSED.search(text):
        hint = "compare `claude --help` with the options of the agent in PROJECT.yaml, or update claude"
        return Failure(FailureKind.SETUP, f"{program} refused its command line: {said}", hint)
    if ended.code > 0 and _SETUP.search(text):
        return Failure(FailureKind.SETUP, f"{program}: {said}", "correct it, then `aiframe resume`")
    return failure_of(ended, program, INSTALL)
