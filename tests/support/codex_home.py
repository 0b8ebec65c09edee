"""A codex CLI of the tests' own: its home and its configuration."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from support.clis import program

CONFIG = """\
model = "gpt-5.5"
model_provider = "stub"
approval_policy = "never"
check_for_update_on_startup = false
web_search = "disabled"
[model_providers.stub]
name = "stub"
base_url = {url}
wire_api = "responses"
env_key = "STUB_API_KEY"
requires_openai_auth = false
supports_websockets = false
request_max_retries = 0
stream_max_retries = 0
[analytics]
enabled = false
[feedback]
enabled = false
[otel]
exporter = "none"
trace_exporter = "none"
metrics_exporter = "none"
[history]
persistence = "none"
[features]
plugins = false
remote_plugin = false
apps = false
plugin_sharing = false
tool_suggest = false
unbounded_connection_retries = false
goals = false
[agents]
enabled = false
"""


def codex_program() -> Path:
    """The codex executable; skips the test where there is none."""
    return program("codex")


def codex_home(folder: Path, url: str) -> Mapping[str, str]:
    """Lay a private codex home in *folder* that talks to *url* alone; the whole environment to run codex with.

    The temporary folder lies beside the home, never above it: else every sandboxed command of codex fails.
    """
    home = folder / "codex-home"
    temporary = folder / "codex-tmp"
    for made in (home, temporary, folder / "home"):
        made.mkdir(parents=True, exist_ok=True)
    (home / "config.toml").write_text(CONFIG.format(url=json.dumps(url)), encoding="utf-8")
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder / "home"),
        "CODEX_HOME": str(home),
        "TMPDIR": str(temporary),
        "STUB_API_KEY": "dummy",
        "LANG": "C.UTF-8",
    }
