"""What opencode's error events mean. Measured with opencode 1.18.33."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aiframe.agents.endings import failure_of, first_line
from aiframe.agents.lines import object_of, plain, text_of
from aiframe.agents.statuses import kind_of_status
from aiframe.core.model import Failure, FailureKind
from aiframe.core.ports import Exit

LOGIN = "run `opencode auth login` (or set the API key that its provider wants), then `aiframe resume`"
INSTALL = "install opencode: npm install -g opencode-ai, then run `opencode auth login`"

_HINTS = {
    FailureKind.AUTH: LOGIN,
    FailureKind.QUOTA: "wait, or raise the limit of the provider's account; `aiframe resume --now` tries at once",
    FailureKind.SETUP: "correct the model in PROJECT.yaml (provider/model; `opencode models` lists them)",
    FailureKind.NO_PROGRESS: "make the task smaller: the conversation no longer fits the model's context window",
}
_UNSAID = "its log has the cause: a model that does not exist, for example (`opencode models` lists them)"
_OF_NAME = {
    "ProviderAuthError": FailureKind.AUTH,
    "ConfigRemoteAuthError": FailureKind.AUTH,
    "ConfigInvalidError": FailureKind.SETUP,
    "ConfigJsonError": FailureKind.SETUP,
    "ContextOverflowError": FailureKind.NO_PROGRESS,
    "ContentFilterError": FailureKind.INVALID_OUTPUT,
    "MessageOutputLengthError": FailureKind.INVALID_OUTPUT,
    "StructuredOutputError": FailureKind.INVALID_OUTPUT,
}
_NO_SESSION = re.compile(r"error: session not found", re.IGNORECASE)
_REFUSED = re.compile(r"^\s*opencode run \[message|--format +format: default", re.MULTILINE)
_SETUP = re.compile(r"you must provide a message|configuration is invalid|failed to change directory", re.IGNORECASE)


def classify(error: Mapping[str, Any]) -> Failure:
    """The failure that the *error* of an error event stands for."""
    name, data = text_of(error.get("name"))[:200], object_of(error.get("data"))
    kind = _OF_NAME.get(name) or kind_of_status(data.get("statusCode"))
    status = f" (status {data['statusCode']})" if isinstance(data.get("statusCode"), int) else ""
    said = (text_of(data.get("message")) or name or "opencode failed without a message")[:8192]
    hint = _UNSAID if name == "UnknownError" else _HINTS.get(kind, "")
    return Failure(kind, f"{said}{status}", hint)


def session_unknown(ended: Exit) -> bool:
    """Whether opencode says that it does not have the session that was to be resumed."""
    return ended.code > 0 and bool(_NO_SESSION.search(plain(ended.stderr, 65536)))


def silent_failure(ended: Exit, program: str) -> Failure:
    """The failure of an opencode that ended without an error event."""
    said, text = first_line(ended.stderr), plain(ended.stderr, 65536)
    if ended.code > 0 and _REFUSED.search(text):
        hint = "compare `opencode run --help` with the options of the agent in PROJECT.yaml, or update opencode"
        return Failure(FailureKind.SETUP, f"{program} refused its command line and showed its help", hint)
    if session_unknown(ended):
        return Failure(
            FailureKind.TRANSIENT, f"{program} no longer has the session: {said}", "the next try starts anew"
        )
    if ended.code > 0 and _SETUP.search(text):
        return Failure(FailureKind.SETUP, f"{program}: {said}", "correct it, then `aiframe resume`")
    return failure_of(ended, program, INSTALL)
