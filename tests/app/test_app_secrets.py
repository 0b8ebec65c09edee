"""No secret that is known, or looks like one, gets into what aiframe writes about a step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.projects import Bench, dev, lay_project

from aiframe.app.protection.secrets import is_secret, redactor_for

SECRET = 'hunter2"/\\plus'
TOKEN = "ghp_" + "aB3dE6" * 6


def written(bench: Bench) -> dict[str, bytes]:
    """All that aiframe wrote about the steps: logs, results, records."""
    places = [bench.root / "logs", bench.root / ".git" / "aiframe"]
    files = [path for place in places for path in place.rglob("*") if path.is_file() and path.name != "TASKS.yaml"]
    return {str(path.relative_to(bench.root)): path.read_bytes() for path in [*files, bench.root / "STATE.json"]}


def spellings(value: str) -> list[bytes]:
    """*value*, and how JSON quotes it once and twice."""
    once = json.dumps(value)[1:-1]
    return [text.encode() for text in (value, once, json.dumps(once)[1:-1])]


def assert_kept_out(bench: Bench) -> None:
    """Neither secret stands in anything that is written, and something says that they were there."""
    files = written(bench)
    found = [name for name, data in files.items() for form in [*spellings(SECRET), TOKEN.encode()] if form in data]
    assert not found
    assert any(b"[redacted MY_PASSWORD]" in data for data in files.values())
    assert any(b"[redacted GitHub token]" in data for data in files.values())


SLOWLY = "head -c 7 ../leak; sleep 0.4; tail -c +8 ../leak | head -c 20; sleep 0.4; tail -c +28 ../leak"
"""Prints the file in three pieces, the secrets parted."""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "leak").write_text(f"{SECRET} and {TOKEN}\n")
    return Bench(tmp_path / "shop", {**lay_project(tmp_path).env, "MY_PASSWORD": SECRET})


def test_what_a_gate_prints(bench: Bench) -> None:
    bench.write(
        "TASKS.yaml", f"version: 1\ntasks:\n- id: T1\n  title: x\n  verify: ['{SLOWLY}; cat ../leak >&2; exit 3']\n"
    )
    script = {"version": 1, "turns": [dev("T1", files={"one": "1"}, attempt=1), dev("T1", files={"one": "2"})]}
    (bench.root.parent / "script.json").write_text(json.dumps(script))
    bench.tick()
    assert_kept_out(bench)
    assert "[redacted MY_PASSWORD]" in bench.prompts()[1]  # the findings
    assert (
        "[redacted MY_PASSWORD] and [redacted GitHub token]\n" in (bench.runs()[0] / "gates/verify-1.log").read_text()
    )


@pytest.mark.parametrize("how", ["answer", "failure", "no JSON", "question"])
def test_what_an_agent_says(bench: Bench, how: str) -> None:
    leak = f"I found {SECRET} and {TOKEN}"
    turn = {
        "answer": dev(say=leak, closing={"summary": leak, "reason": leak, "state": "ERROR", "review_items": [leak]}),
        "failure": dev(fail={"kind": "setup", "message": leak, "hint": leak}),
        "no JSON": dev(raw=f"{leak}\n", run=["cat ../leak"], closing={"summary": 5}),
        "question": dev(closing={"summary": "x", "question": {"text": leak, "choices": [leak, "no"]}}),
    }[how]
    (bench.root.parent / "script.json").write_text(json.dumps({"version": 1, "turns": [turn]}))
    bench.write("TASKS.yaml", "version: 1\ntasks:\n- {id: T1, title: x, verify: ['true']}\n")
    bench.tick()
    assert_kept_out(bench)


def test_what_a_program_prints_and_leaves(bench: Bench) -> None:
    (bench.root.parent / "tool").write_text(
        f"#!/bin/sh\n{SLOWLY}; ( {SLOWLY} ) >&2\ncat ../leak > $1/left.txt\nexit 4\n"
    )
    (bench.root.parent / "tool").chmod(0o755)
    bench.write("PROJECT.yaml", "agent: {name: command, line: '../tool {run_dir}'}\nsandbox: none\n")
    bench.write("TASKS.yaml", "version: 1\ntasks:\n- {id: T1, title: x, verify: ['true']}\n")
    bench.tick()
    assert_kept_out(bench)
    assert (bench.runs()[0] / "left.txt").read_text() == "[redacted MY_PASSWORD] and [redacted GitHub token]\n"


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("OPENAI_API_KEY", "sk-12345678", True),
        ("my_token", "12345678", True),
        ("DB_PASSWORD", "1234567", False),  # too short to be looked for
        ("SSH_AUTH_SOCK", "/", False),  # a path
        ("GIT_AUTHOR_NAME", "Ada Lovelace", False),
        ("AUTH_HEADER", "abcdefgh", True),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file", True),
        ("DATABASE_URL", "postgres://u:p%40ssw0rd1@host/db", True),
        ("HTTPS_PROXY", "http://proxy:3128", False),
        ("EDITOR", "some-editor", False),
    ],
)
def test_which_variables_are_secret(name: str, value: str, secret: bool) -> None:
    assert is_secret(name, value) is secret


def test_logins_of_the_agents_are_secret(tmp_path: Path) -> None:
    homes = {"CODEX_HOME": tmp_path / "c", "CLAUDE_CONFIG_DIR": tmp_path / "a", "XDG_DATA_HOME": tmp_path / "d"}
    for file, content in {
        "c/auth.json": {
            "auth_mode": "chatgpt",
            "tokens": {"access_token": "codex-access-token-1", "account_id": "acc-public-1234567"},
        },
        "a/.credentials.json": {"claudeAiOauth": {"refreshToken": "claude-refresh-token-2"}},
        "d/opencode/auth.json": {"provider": {"type": "api", "key": "opencode-provider-3"}},
    }.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(json.dumps(content))
    redactor = redactor_for({name: str(path) for name, path in homes.items()})
    said = redactor.text("codex-access-token-1 acc-public-1234567 claude-refresh-token-2 opencode-provider-3 chatgpt")
    assert said == "[redacted codex login] acc-public-1234567 [redacted claude login] [redacted opencode login] chatgpt"
