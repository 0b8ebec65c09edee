"""Where the real coding-agent CLIs are: AIFRAME_TEST_CODEX and its like name one, else `make test` has installed it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

INSTALLED = Path(__file__).resolve().parents[2] / ".cache" / "npm" / "node_modules"
PATTERNS = {
    "claude": "@anthropic-ai/claude-code-{system}-{cpu}/claude",
    "codex": "@openai/codex-{system}-{cpu}/vendor/*/bin/codex",
    "opencode": "opencode-{system}-{cpu}/bin/opencode",
}
"""The platform's own binary in each package: the scripts around it only look for it."""


def find(name: str) -> Path | None:
    """The program of the CLI *name*; None where there is none that can be run."""
    named = os.environ.get(f"AIFRAME_TEST_{name.upper()}", "")
    system = "darwin" if sys.platform == "darwin" else "linux"
    cpu = "arm64" if os.uname().machine in ("arm64", "aarch64") else "x64"
    paths = [Path(named)] if named else sorted(INSTALLED.glob(PATTERNS[name].format(system=system, cpu=cpu)))
    return next((path for path in paths if os.access(path, os.X_OK)), None)


def program(name: str) -> Path:
    """The program of the CLI *name*; skips the test where there is none."""
    found = find(name)
    if found is None:
        pytest.skip(f"needs {name}: start the tests with `make test` where npm is (Debian package npm)")
    return found
