"""What ``doctor`` needs to know about an agent's program: how to ask for its version and its login, and the cures."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Probe:
    """Commands that say whether an agent can work, and what to do where it cannot.

    *program* is empty for an agent that needs none. *login_argv* ends with 0 when there is a login, without asking
    the network; None where the program has no such command.
    """

    name: str
    program: str = ""
    version_argv: tuple[str, ...] = ()
    login_argv: tuple[str, ...] | None = None
    how_to_install: str = ""
    how_to_log_in: str = ""


_PROBES = {
    "codex": Probe(
        "codex",
        program="codex",
        version_argv=("codex", "--version"),
        login_argv=("codex", "login", "status"),
        how_to_install="npm install -g @openai/codex (or brew install --cask codex on macOS)",
        how_to_log_in="codex login, or printenv OPENAI_API_KEY | codex login --with-api-key",
    )
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
