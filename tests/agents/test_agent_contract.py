"""What every adapter promises, run against each of them with a real process: add a row for a new one."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.agent_run import run_agent

from aiframe.agents import find_agent
from aiframe.agents.closing import closing_schema
from aiframe.core.model import FailureKind, Role
from aiframe.core.ports import Agent, AgentRequest, Exit

CLOSING: dict[str, Any] = {
    "summary": "written",
    "state": "DEV_READY",
    "question": None,
    "reason": "",
    "review_items": [],
}

# Programs that take any arguments, play a CLI's part of the events, and do what their prompt says.
CODEX = """#!{python}
import json, os, sys, time
prompt = sys.stdin.read()
assert sys.stdin.read() == ""
def say(**event): print(json.dumps(event), flush=True)
say(type="thread.started", thread_id="T-1"); say(type="turn.started")
if "crash" in prompt: sys.exit(70)
if "die" in prompt: os.kill(os.getpid(), 9)
open("made.txt", "w").write("made")
say(type="item.completed", item=dict(type="agent_message", text={closing!r}))
say(type="turn.completed", usage=dict(input_tokens=3, output_tokens=2))
"""
CLAUDE = """#!{python}
import json, os, sys
prompt = sys.stdin.read()
assert sys.stdin.read() == ""
def say(**event): print(json.dumps(dict(event, session_id="S-1")), flush=True)
say(type="system", subtype="init", model="m")
if "crash" in prompt: sys.exit(70)
if "die" in prompt: os.kill(os.getpid(), 9)
open("made.txt", "w").write("made")
said = dict(id="m1", content=[dict(type="text", text={closing!r})], usage=dict(input_tokens=3, output_tokens=2))
say(type="assistant", message=said)
say(type="result", subtype="success", is_error=False, result={closing!r}, num_turns=1, usage=said["usage"])
"""
OPENCODE = """#!{python}
import json, os, sys
prompt = sys.stdin.read()
assert sys.stdin.read() == ""
def say(kind, **part): print(json.dumps(dict(type=kind, sessionID="ses_1", part=part)), flush=True)
say("step_start")
if "crash" in prompt: sys.exit(70)
if "die" in prompt: os.kill(os.getpid(), 9)
open("made.txt", "w").write("made")
say("text", text={closing!r})
say("step_finish", reason="stop", tokens=dict(input=3, output=2), cost=0)
"""
STAND_INS = {"codex": CODEX, "claude": CLAUDE, "opencode": OPENCODE}
TOOL = """
import os, sys
prompt = sys.stdin.read()
if "crash" in prompt: sys.exit(70)
if "die" in prompt: os.kill(os.getpid(), 9)
open("made.txt", "w").write("made")
print("working")
print({closing!r})
"""
SCRIPT = """
version: 1
turns:
  - {role: DEV, task: T1, say: working, files: {made.txt: made}, closing: CLOSING}
  - {role: DEV, task: crash, exit: 70}
  - {role: DEV, task: die, run: ["kill -9 $PPID"]}
"""


@dataclass(frozen=True)
class Adapter:
    """An agent under the contract, with options that make it run here."""

    agent: Agent
    request: AgentRequest


@pytest.fixture(params=["claude", "codex", "command", "opencode", "scripted"])
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Adapter:
    workspace, run_dir = tmp_path / "work space", tmp_path / "run"
    workspace.mkdir()
    step = AgentRequest(
        prompt="do it",
        role=Role.DEV,
        workspace=PurePath(workspace),
        run_dir=PurePath(run_dir),
        task_id="T1",
        schema=closing_schema(Role.DEV),
    )
    return Adapter(find_agent(request.param, _options(request.param, tmp_path)), step)


def _options(name: str, folder: Path) -> dict[str, Any]:
    closing = json.dumps(CLOSING)
    if name == "scripted":
        (folder / "script.yaml").write_text(SCRIPT.replace("CLOSING", closing))
        return {"file": str(folder / "script.yaml")}
    if name == "command":
        return {"argv": [sys.executable, "-c", TOOL.format(closing=closing)]}
    program = folder / f"{name}-stand-in"
    program.write_text(STAND_INS[name].format(python=sys.executable, closing=closing))
    program.chmod(0o755)
    return {"program": str(program)}


def test_describing_does_nothing_and_is_repeatable(adapter: Adapter) -> None:
    command = adapter.agent.command(adapter.request)
    assert command == adapter.agent.command(adapter.request)
    assert command.cwd == adapter.request.workspace
    assert all(isinstance(word, str) and word for word in command.argv)
    assert all(not PurePath(name).is_absolute() and ".." not in name for name in command.files)
    assert not Path(adapter.request.run_dir).exists()
    assert list(Path(adapter.request.workspace).iterdir()) == []


def test_a_step_that_goes_well(adapter: Adapter) -> None:
    ran = run_agent(adapter.agent, adapter.request)
    assert ran.answer.failure is None
    assert ran.answer.closing == CLOSING
    assert Path(adapter.request.workspace, "made.txt").read_text() == "made"
    assert ran.log
    assert ran.answer.cost_usd is None


@pytest.mark.parametrize(
    ("how", "said"),
    [pytest.param("crash", "exit code 70", id="exit 70"), pytest.param("die", "SIGKILL", id="killed")],
)
def test_a_crash_is_transient(adapter: Adapter, how: str, said: str) -> None:
    ran = run_agent(adapter.agent, replace(adapter.request, prompt=how, task_id=how))
    assert ran.answer.failure is not None
    assert ran.answer.failure.kind is FailureKind.TRANSIENT
    assert said in ran.answer.failure.message
    assert ran.answer.closing is None
    assert not ran.complete


@pytest.mark.parametrize(
    ("ended", "kind"),
    [
        pytest.param(Exit(-15, "stopped"), FailureKind.CANCELLED, id="stopped"),
        pytest.param(Exit(-9, "timeout", duration_s=9), FailureKind.TIMEOUT, id="timeout"),
        pytest.param(Exit(-15, "stalled"), FailureKind.STALLED, id="stalled"),
        pytest.param(Exit(127, stderr="not found"), FailureKind.SETUP, id="program missing"),
        pytest.param(Exit(126), FailureKind.SETUP, id="not executable"),
        pytest.param(Exit(1), FailureKind.TRANSIENT, id="crash"),
        pytest.param(Exit(-11), FailureKind.TRANSIENT, id="signal"),
        pytest.param(Exit(-64), FailureKind.TRANSIENT, id="a signal without a name"),
    ],
)
def test_an_end_without_a_word_has_its_failure(adapter: Adapter, ended: Exit, kind: FailureKind) -> None:
    answer = adapter.agent.reader(adapter.request).finish(ended)
    assert answer.failure is not None
    assert answer.failure.kind is kind
    assert answer.failure.message
    if kind is FailureKind.SETUP:
        assert answer.failure.hint


def test_what_the_kernel_kills_may_have_had_too_little_memory(adapter: Adapter) -> None:
    failures = {code: adapter.agent.reader(adapter.request).finish(Exit(code)).failure for code in (-9, -11)}
    assert ["memory" in failure.hint for failure in failures.values() if failure] == [True, False]


TYPES = (
    "thread.started turn.started item.started item.completed turn.completed turn.failed error "
    "start text file command result failure end "
    "system assistant user rate_limit_event result step_start step_finish tool_use reasoning"
)
KEYS = (
    "type item text message error usage thread_id command exit_code aggregated_output changes items "
    "kind closing input_tokens cost_usd reset_in path "
    "session_id message content usage subtype is_error result errors rate_limit_info status resetsAt structured_output "
    "model_usage_since_last_result total_cost_usd name input sessionID part tokens cache cost reason state tool output "
    "api_error_status data statusCode terminal_reason num_turns duration_api_ms metadata exit id"
)
ITEMS = "agent_message reasoning command_execution file_change todo_list web_search mcp_tool_call error"
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from((TYPES + " " + ITEMS).split()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS.split()), inner, max_size=4),
    max_leaves=12,
)
EVENTS = st.builds(
    lambda kind, rest: json.dumps({**rest, "type": kind}),
    st.sampled_from(TYPES.split()),
    st.dictionaries(st.sampled_from(KEYS.split()), VALUES, max_size=5),
)
NASTY = st.sampled_from(
    ["", "\0", "{", "null", '{"type": NaN}', "\ufeff{}", "9" * 5000, '{"a":' * 2000, "\ud800", "\x1b[2J"]
)
REQUEST = AgentRequest("p", Role.DEV, PurePath("/nowhere"), PurePath("/nowhere"), schema=closing_schema(Role.DEV))
OPTIONS: dict[str, dict[str, Any]] = {
    "claude": {},
    "codex": {},
    "command": {"line": "x"},
    "opencode": {},
    "scripted": {"file": "x"},
}


@pytest.mark.parametrize("name", OPTIONS)
@given(lines=st.lists(EVENTS | NASTY | st.text(st.characters()), max_size=8), code=st.integers(-70, 255))
def test_no_line_is_too_odd(name: str, lines: list[str], code: int) -> None:
    reader = find_agent(name, OPTIONS[name]).reader(REQUEST)
    for line in lines:
        reader.feed(line).encode()
    answer = reader.finish(Exit(code, stderr="".join(lines)))
    said = [answer.text, answer.session_id, json.dumps(answer.closing, ensure_ascii=False)]
    if answer.failure is not None:
        said += [answer.failure.message, answer.failure.hint]
        assert answer.failure.message or name == "scripted"
    for text in said:
        text.encode()


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize(
    "line",
    [
        pytest.param("x" * 20_000_000, id="no JSON"),
        pytest.param(
            json.dumps({"type": "item.completed", "item": {"type": "agent_message", "text": "y" * 3_000_000}}),
            id="message",
        ),
        pytest.param(json.dumps({"type": "text", "text": "y" * 3_000_000}), id="text"),
        pytest.param(json.dumps({"type": "error", "message": "y" * 3_000_000}), id="error"),
        pytest.param(json.dumps({"type": "error", "error": {"data": {"message": "y" * 3_000_000}}}), id="data"),
        pytest.param(json.dumps({"type": "result", "is_error": True, "result": "y" * 3_000_000}), id="result"),
        pytest.param(json.dumps({"type": "text", "part": {"text": "y" * 3_000_000}}), id="part"),
    ],
)
def test_long_lines_leave_little_behind(name: str, line: str) -> None:
    reader = find_agent(name, OPTIONS[name]).reader(REQUEST)
    for _ in range(3):
        assert len(reader.feed(line)) < 1_100_000
    answer = reader.finish(Exit(1))
    assert len(answer.text) < 1_100_000
    assert answer.failure is not None
    assert len(answer.failure.message) < 10_000
