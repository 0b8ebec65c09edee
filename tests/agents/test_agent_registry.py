"""Agents by name, their options, and what doctor asks of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aiframe.agents import find_agent, known_agents
from aiframe.agents.probe import cautions, describe
from aiframe.core.errors import UsageError

ADDED = """
from aiframe.agents.command import CommandAgent
class Added(CommandAgent):
    name = "added"
def broken(options):
    raise RuntimeError("out of order")
"""


@pytest.mark.parametrize("name", ["claude", "codex", "command", "human", "opencode", "scripted"])
def test_the_built_in_agents_are_always_there(name: str) -> None:
    assert find_agent(name, {}).name == name
    assert name in known_agents()


def test_an_unknown_name_gets_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        find_agent("codx", {})
    assert "no agent 'codx'" in caught.value.message
    assert "did you mean 'codex'?" in caught.value.hint
    assert "command, human, opencode, scripted" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        pytest.param("codex", {"programm": "x"}, "no option 'programm'", id="misspelt"),
        pytest.param("codex", {"args": "--oss"}, "option 'args': Expected `array`", id="wrong type"),
        pytest.param("codex", {"config": {"a": {1, 2}}}, "the value of 'a'", id="no TOML"),
        pytest.param("claude", {"permissions": "x"}, "no option 'permissions'", id="claude"),
        pytest.param("opencode", {"project_config": "x"}, "option 'project_config'", id="opencode"),
        pytest.param("scripted", {"fil": "x"}, "no option 'fil'", id="scripted"),
        pytest.param("command", {"argv": ["a"], "line": "a"}, "either argv", id="both"),
        pytest.param("command", {"line": "tool 'x"}, "No closing quotation", id="open quotation"),
        pytest.param("command", {"line": "tool {promt}"}, "{promt} is no placeholder", id="placeholder"),
        pytest.param("command", {"line": "tool", "prompt": "file"}, "needs {prompt_file}", id="no prompt file"),
        pytest.param("command", {"line": "tool", "prompt": "mail"}, "option 'prompt'", id="no such way"),
        pytest.param("command", {"line": "tool", "exit_codes": {77: "quotta"}}, "77: quotta", id="no such failure"),
        pytest.param("command", {"line": "tool", "exit_codes": {0: "quota"}}, "0: quota", id="no failure code"),
        pytest.param("command", {"argv": [" "]}, "the command is empty", id="empty"),
        pytest.param("command", {"argv": ["a\0b"]}, "NUL", id="NUL"),
    ],
)
def test_options_that_do_not_fit_are_named_with_a_cure(name: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_agent(name, options)
    assert said in caught.value.message
    assert caught.value.hint


def test_another_package_adds_an_agent_by_its_entry_point(tmp_path: Path) -> None:
    (tmp_path / "added_agent.py").write_text(ADDED)
    meta = tmp_path / "added_agent-1.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: added-agent\nVersion: 1\n")
    entries = (
        "added = added_agent:Added\nbroken = added_agent:broken\ngone = nowhere:at_all\ncodex = added_agent:Added\n"
    )
    (meta / "entry_points.txt").write_text(f"[aiframe.agents]\n{entries}")
    code = """
from aiframe.agents import find_agent, known_agents
from aiframe.core.errors import UsageError
print(known_agents(), find_agent("added", {"line": "x"}).name, find_agent("codex", {}).name)
for name in ("broken", "gone"):
    try:
        find_agent(name, {})
    except UsageError as error:
        print(error.message, "|", error.hint)
"""
    root = str(Path(__file__).resolve().parents[2])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), root))}
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    known = ("added", "broken", "claude", "codex", "command", "gone", "human", "opencode", "scripted")
    assert f"{known} added codex" in said
    assert "agent 'broken' cannot be used: RuntimeError('out of order') |" in said
    assert "the agent 'gone' (nowhere:at_all) cannot be loaded: ModuleNotFoundError" in said


def test_doctor_learns_how_to_ask_codex() -> None:
    probe = describe("codex")
    assert probe.version_argv == ("codex", "--version")
    assert probe.login_argv == ("codex", "login", "status")
    assert "npm install" in probe.how_to_install
    assert "codex login" in probe.how_to_log_in
    assert describe("scripted").program == ""


@pytest.mark.parametrize("name", ["claude", "opencode"])
def test_doctor_learns_how_to_ask_the_others(name: str) -> None:
    probe = describe(name)
    assert probe.version_argv == (name, "--version")
    assert "npm install" in probe.how_to_install
    assert f"{name} auth login" in probe.how_to_log_in
    assert cautions(name, {"HOME": "/t/me", "TMPDIR": "/t"}) == ()


@pytest.mark.parametrize(
    ("environ", "warned"),
    [
        pytest.param({"CODEX_HOME": "/t/home", "TMPDIR": "/t"}, True, id="home below the temporary folder"),
        pytest.param({"CODEX_HOME": "/t/home", "TMPDIR": "/t/tmp"}, False, id="beside it"),
        pytest.param({"HOME": "/t/me", "TMPDIR": "/t"}, True, id="by HOME"),
        pytest.param({"HOME": "/t/me", "TMPDIR": "/tt"}, False, id="a name that only begins alike"),
    ],
)
def test_a_codex_home_that_its_sandbox_cannot_use_is_seen(environ: dict[str, str], warned: bool) -> None:
    assert bool(cautions("codex", environ)) is warned
    assert cautions("scripted", environ) == ()
