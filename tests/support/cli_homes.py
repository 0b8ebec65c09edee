"""Private homes for claude and opencode: all that they keep lies in one folder, and they talk to one address alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

XDG = ("CACHE", "CONFIG", "DATA", "STATE")


def claude_home(folder: Path, url: str) -> Mapping[str, str]:
    """The whole environment to run claude with, its home in *folder*, its service at *url*, and no tries again."""
    return {
        **_common(folder),
        "CLAUDE_CONFIG_DIR": str(_made(folder / "claude-home")),
        "ANTHROPIC_BASE_URL": url.removesuffix("/v1"),
        "ANTHROPIC_API_KEY": "dummy",
        "CLAUDE_CODE_MAX_RETRIES": "0",
        "SHELL": "/bin/bash",
    }


def claude_account(folder: Path, url: str) -> Mapping[str, str]:
    """The same with the login of a subscription, which has usage limits."""
    environ = {name: value for name, value in claude_home(folder, url).items() if name != "ANTHROPIC_API_KEY"}
    return {**environ, "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-dummy"}


def opencode_home(folder: Path, url: str, *, snapshots: bool = False) -> Mapping[str, str]:
    """The whole environment to run opencode with, its home in *folder*, its provider at *url*.

    Its configuration permits everything by name, as a person's may. With *snapshots* it keeps copies of the workspace
    in a repository of its own, as it does out of the box. Two things spare half of the work of a run: its list of the
    models of all providers in the world is empty, and its engine compiles nothing twice for a life that is so short.
    """
    homes = {f"XDG_{name}_HOME": str(_made(folder / "opencode" / name.lower())) for name in XDG}
    model = {"name": "stub", "tool_call": True, "limit": {"context": 100_000, "output": 8_000}}
    provider = {
        "npm": "@ai-sdk/openai-compatible", "name": "stub", "options": {"baseURL": url, "apiKey": "dummy"},
        "models": {"stub": model},
    }  # fmt: skip
    config = {
        "provider": {"stub": provider}, "model": "stub/stub", "small_model": "stub/stub",
        "permission": {"*": "allow", "bash": "allow", "edit": "allow", "write": "allow"}, "snapshot": snapshots,
    }  # fmt: skip
    path = _made(Path(homes["XDG_CONFIG_HOME"]) / "opencode") / "opencode.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    (_made(Path(homes["XDG_CACHE_HOME"]) / "opencode") / "models.json").write_text("{}", encoding="utf-8")
    # It would look for plugins there.
    return {**_common(folder), **homes, "npm_config_registry": "http://127.0.0.1:9/", "BUN_JSC_useDFGJIT": "0"}


def _common(folder: Path) -> Mapping[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(_made(folder / "home")),
        "TMPDIR": str(_made(folder / "tmp")),
        "LANG": "C.UTF-8",
    }


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
