"""What of the caller's environment reaches an agent, and what a verify command: read from the children themselves."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.projects import Bench, dev, lay_project, task

COMMON = {
    "LC_MESSAGES": "C",
    "TZ": "Europe/Vienna",
    "XDG_CACHE_HOME": "/cache",
    "no_proxy": "localhost",
    "SSL_CERT_FILE": "/certs.pem",
    "HTTP_PROXY": "http://proxy.example:3128",
}
CREDENTIALS = {
    "AWS_SECRET_ACCESS_KEY": "aws-secret-0001",
    "GITHUB_TOKEN": "github-secret-0002",
    "SSH_AUTH_SOCK": "/run/agent.sock",
    "DATABASE_URL": "postgres://shop:pass-0003@db/shop",
    "GIT_DIR": "/elsewhere",
    "HTTPS_PROXY": "http://me:pass-0004@proxy.example:3128",
    "PYTHONSTARTUP": "/evil.py",
}
OF_AGENTS = {
    "CODEX_API_KEY": "codex-secret-0005",
    "OPENAI_BASE_URL": "https://api.example",
    "ANTHROPIC_API_KEY": "anthropic-secret-0006",
    "CLAUDE_CODE_OAUTH_TOKEN": "claude-secret-0009",
    "OPENROUTER_API_KEY": "openrouter-secret-0010",
    "MY_PROVIDER_KEY": "provider-secret-0007",
}
NAMED = {"MY_FLAG": "on", "MY_TOKEN": "named-secret-0008"}
PLANTED = {**COMMON, **CREDENTIALS, **OF_AGENTS, **NAMED}
ALWAYS = {*COMMON, "HTTPS_PROXY"}
SAID = json.dumps({"summary": "worked", "state": "DEV_READY", "question": None, "reason": "", "review_items": []})
ENDS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "codex": [
        {"type": "item.completed", "item": {"type": "agent_message", "text": SAID}},
        {"type": "turn.completed", "usage": {}},
    ],
    "claude": [{"type": "result", "result": SAID}],
    "opencode": [
        {"type": "text", "part": {"text": SAID}},
        {"type": "step_finish", "part": {"reason": "stop"}},
    ],
    "tool": [json.loads(SAID)],
}
"""What a program that stands in for each CLI prints: all is well."""


def planted(text: str) -> set[str]:
    """Which of the planted variables a child got."""
    names = {entry.partition("=")[0] for entry in text.split("\0")}
    assert {"PATH", "HOME"} <= names  # it is an environment
    return names & set(PLANTED)


def lay(folder: Path, agent: Mapping[str, Any], env: list[str]) -> Bench:
    """A project whose agent writes its environment beside it, as its verify command does."""
    shown = f"env -0 > {folder}"
    turn = dev(run=[f"{shown}/agent.env"])
    bench = lay_project(folder, task("T1", f"{shown}/gate.env"), turns=[turn], agent=agent, settings={"env": env})
    programs = folder / "bin"
    programs.mkdir()
    for name, events in ENDS.items():
        said = "".join(f"echo {shlex.quote(json.dumps(event))}\n" for event in events)
        (programs / name).write_text(f"#!/bin/sh\n{shown}/agent.env\n{said}")
        (programs / name).chmod(0o755)
    home = folder / "codex-home"
    home.mkdir()
    (home / "config.toml").write_text('[model_providers.mine]\nenv_key = "MY_PROVIDER_KEY"\n')
    config = folder / "opencode.json"
    config.write_text('{"provider": {"mine": {"options": {"apiKey": "{env:MY_PROVIDER_KEY}"}}}}')
    own = {"CODEX_HOME": str(home), "OPENCODE_CONFIG": str(config), "PATH": f"{programs}:{bench.env['PATH']}"}
    return Bench(bench.root, {**bench.env, **PLANTED, **own})


def agent_named(name: str, folder: Path) -> Mapping[str, Any]:
    """The agent *name* in PROJECT.yaml of a project in *folder*."""
    options: Mapping[str, Mapping[str, Any]] = {
        "command": {"argv": ["tool"]},
        "scripted": {"file": str(folder / "script.json")},
    }
    return {"name": name, **options.get(name, {})}


@pytest.mark.parametrize(
    ("agent", "own"),
    [
        pytest.param("codex", {"CODEX_API_KEY", "OPENAI_BASE_URL", "MY_PROVIDER_KEY"}, id="codex and its provider"),
        pytest.param("claude", {"ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"}, id="claude"),
        pytest.param(
            "opencode",
            {"ANTHROPIC_API_KEY", "OPENAI_BASE_URL", "OPENROUTER_API_KEY", "AWS_SECRET_ACCESS_KEY", "MY_PROVIDER_KEY"},
            id="opencode and the services that it knows",
        ),
        pytest.param("command", set(), id="command"),
        pytest.param("scripted", set(), id="scripted"),
    ],
)
@pytest.mark.parametrize("named", [[], ["MY_FLAG", "MY_TOKEN", "NOT_SET"]], ids=["", "named"])
def test_an_agent_gets_what_is_its_own(tmp_path: Path, agent: str, own: set[str], named: list[str]) -> None:
    bench = lay(tmp_path, agent_named(agent, tmp_path), named)
    assert bench.tick().code == 0, bench.log()
    assert planted((tmp_path / "agent.env").read_text()) == ALWAYS | own | (set(named) & set(NAMED))


@pytest.mark.parametrize("agent", ["codex", "claude", "opencode", "command", "scripted"])
def test_a_gate_gets_nothing_that_opens_anything(tmp_path: Path, agent: str) -> None:
    """Not even the keys of the agent whose work it checks, nor what PROJECT.yaml names."""
    keys = [name for name in OF_AGENTS if name != "OPENAI_BASE_URL"]
    bench = lay(tmp_path, agent_named(agent, tmp_path), [*NAMED, "DATABASE_URL", "GITHUB_TOKEN", *keys])
    assert bench.tick().code == 0, bench.log()
    assert planted((tmp_path / "gate.env").read_text()) == {*COMMON, "MY_FLAG"}


def test_doctor_says_which_are_set(tmp_path: Path) -> None:
    bench = lay(tmp_path, {"name": "codex"}, [*NAMED, "NOT_SET"])
    said = bench.do("doctor").out
    assert "codex gets the common variables, and: CODEX_API_KEY, CODEX_HOME, MY_FLAG, MY_PROVIDER_KEY, MY_TOKEN" in said
    assert "verify commands do not get MY_TOKEN" in said
    assert "not set: NOT_SET" in said
    assert not [value for value in {**CREDENTIALS, **OF_AGENTS, **NAMED}.values() if value in said and len(value) > 9]
