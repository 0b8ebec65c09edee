"""What ``doctor`` needs to know about an agent's program: how to ask for its version and its login, and the cures."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct


class Probe(Struct, frozen=True):
    """Commands that say whether an agent can work, and what to do where it cannot.

    *program* is empty for an agent that needs none. *login_argv* ends with 0 when there is a login, without asking
    the network; None where the program has no such command. *keys* are variables that stand in for a login.
    *patience_s* is how long the program may take to tell its version.
    """

    name: str
    program: str = ""
    version_argv: tuple[str, ...] = ()
    login_argv: tuple[str, ...] | None = None
    how_to_install: str = ""
    how_to_log_in: str = ""
    keys: tuple[str, ...] = ()
    patience_s: float = 1.5


_PROBES = {
    "codex": Probe(
        "codex",
        program="codex",
        version_argv=("codex", "--version"),
        login_argv=("codex", "login", "status"),
        how_to_install="npm install -g @openai/codex (or brew install --cask codex on macOS)",
        how_to_log_in="codex login, or printenv OPENAI_API_KEY | codex login --with-api-key",
        keys=("CODEX_API_KEY", "CODEX_ACCESS_TOKEN"),
    ),
    "claude": Probe(
        "claude",
        program="claude",
        version_argv=("claude", "--version"),
        login_argv=("claude", "auth", "status"),
        how_to_install="npm install -g @anthropic-ai/claude-code",
        how_to_log_in="claude auth login, or set ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN",
    ),
    "opencode": Probe(
        "opencode",
        program="opencode",
        version_argv=("opencode", "--version"),
        how_to_install="npm install -g opencode-ai",
        how_to_log_in="opencode auth login, or set the API key that its provider wants",
        keys=("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENROUTER_API_KEY", "GEMINI_API_KEY"),
        patience_s=3,  # its first start makes a database
    ),
}


def describe(name: str) -> Probe:
    """How to look at the agent *name*; an empty probe for one that is no program of its own."""
    return _PROBES.get(name, Probe(name))


def cautions(name: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """What in *environ* will keep the agent *name* from working, though its program is there and logged in."""
    if name != "codex":
        return ()
    home = Path(environ.get("CODEX_HOME") or Path(environ.get("HOME", "/"), ".codex")).absolute()
    temporary = Path(environ.get("TMPDIR") or tempfile.gettempdir()).absolute()
    if not home.resolve().is_relative_to(temporary.resolve()):
        return ()
    wrong = f"CODEX_HOME ({home}) lies under the temporary folder ({temporary}), where codex's sandbox cannot work"
    return (f"{wrong}: every command of the agent fails; set TMPDIR or CODEX_HOME to another place",)


def kept_logins(name: str, environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """The providers that the agent *name* keeps a login for, where only its file tells; None for every other agent."""
    if name != "opencode":
        return None
    data = Path(environ.get("XDG_DATA_HOME") or Path(environ.get("HOME", "/"), ".local", "share"))
    try:
        kept = json.loads((data / "opencode" / "auth.json").read_text())
    except (OSError, ValueError):
        return ()
    return tuple(sorted(kept)) if isinstance(kept, dict) else ()
