"""What codex's own error messages mean. They carry no code, so the words decide, and only at their known places.

Measured with codex 0.169.0. Only ``error`` and ``turn.failed`` events and codex's standard error are read with this,
never what a tool printed or the model said.
"""

from __future__ import annotations

import re

from aiframe.agents.lines import plain
from aiframe.agents.resets import reset_time
from aiframe.core.model import Failure, FailureKind

LOGIN = "run `codex login` (or set the API key that its config.toml names), then `aiframe resume`"
INSTALL = "install codex: npm install -g @openai/codex, then run `codex login`"

_KIND_OF_STATUS = {401: FailureKind.AUTH, 403: FailureKind.AUTH, 402: FailureKind.QUOTA}
_HINTS = {
    FailureKind.AUTH: LOGIN,
    FailureKind.QUOTA: "wait, or raise the limit of the codex account; `aiframe resume --now` tries at once",
    FailureKind.SETUP: "correct what codex names in its config.toml or in PROJECT.yaml, then `aiframe resume`",
    FailureKind.NO_PROGRESS: "make the task smaller: the conversation no longer fits the model's context window",
}

_STATUS = re.compile(r"(?:unexpected status|exceeded retry limit, last status:) (\d{3})\b")
_RETRYING = re.compile(r"reconnecting\.\.\. .*?\((.*)\)\s*$", re.DOTALL)
_RULES: tuple[tuple[FailureKind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        (
            FailureKind.TRANSIENT,
            r"stream disconnected|rate limit exceeded:|connection failed|selected model is at capacity",
        ),
        (
            FailureKind.AUTH,
            r"your (access token|authentication session) could not be refreshed|failed to refresh token",
        ),
        (FailureKind.AUTH, r"not logged in\b"),
        (FailureKind.QUOTA, r"you've (hit|reached) your (usage|workspace credit) limit|usage limit reached"),
        (
            FailureKind.QUOTA,
            r"quota exceeded|you're out of credits|your workspace is out of credits|you hit your spend cap",
        ),
        (FailureKind.SETUP, r"missing environment variable|the model \S+ does not exist"),
        (FailureKind.SETUP, r'\{\s*"error":\s*\{.*"invalid_request_error"'),
        (FailureKind.NO_PROGRESS, r"codex ran out of room in the model's context window"),
    )
)
_STDERR_SETUP = re.compile(
    r"error loading config|no prompt provided|input exceeds the maximum length|failed to read output schema"
    r"|error: unexpected argument|error: invalid value|not inside a trusted directory|codex_home points to",
)
_STDERR_NO_SESSION = re.compile(r"no rollout found|thread/resume failed")


def classify(message: str, now: float) -> Failure:
    """The failure that an error message of codex's stands for, seen at *now* (epoch seconds).

    A message that is not known is transient, with its own words.
    """
    said = plain(message, 8192).strip()
    text = said.replace("\u2019", "'").lower()
    retrying = _RETRYING.match(text)
    kind = _kind(retrying[1] if retrying else text)
    return Failure(kind, said or "codex failed without a message", _HINTS.get(kind, ""), reset_time(said, now))


def _kind(text: str) -> FailureKind:
    status = _STATUS.match(text)
    if status:
        return _KIND_OF_STATUS.get(int(status[1]), FailureKind.TRANSIENT)
    return next((kind for kind, pattern in _RULES if pattern.match(text)), FailureKind.TRANSIENT)


def setup_problem(stderr: str) -> bool:
    """Whether codex's standard error names something that only a person can correct."""
    return bool(_STDERR_SETUP.search(plain(stderr, 65536).lower()))


def session_unknown(stderr: str) -> bool:
    """Whether codex says that it does not have the session that was to be resumed."""
    return bool(_STDERR_NO_SESSION.search(plain(stderr, 65536).lower()))
