"""The command agent: any CLI from a template line, run for real."""

from __future__ import annotations

import json
import sys
from pathlib import Path, PurePath
from typing import Any

import pytest
from msgspec.structs import replace
from support.agent_run import run_agent

from aiframe.agents import find_agent
from aiframe.agents.command import KEPT
from aiframe.core.errors import UsageError
from aiframe.core.model import FailureKind, Role
from aiframe.core.ports import AgentRequest, Exit

SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], sys.stdin.read(), os.getcwd()]))"
BLOCK = '{"summary": "s"}'


@pytest.fixture
def request_(tmp_path: Path) -> AgentRequest:
    (tmp_path / "a b").mkdir()
    return AgentRequest(
        prompt="say 'hi' {role} $HOME",
        role=Role.DEV,
        workspace=PurePath(tmp_path / "a b"),
        run_dir=PurePath(tmp_path / "run"),
        task_id="T1",
        attempt=2,
        model="m",
        effort="high",
    )


@pytest.mark.parametrize(
    ("words", "arguments", "stdin"),
    [
        pytest.param([], [], "say 'hi' {role} $HOME", id="prompt on standard input"),
        pytest.param(["-p", "{prompt}"], ["-p", "say 'hi' {role} $HOME"], "", id="as an argument, as it is"),
        pytest.param(["--dir={workspace}"], ["--dir=WORKSPACE"], "say 'hi' {role} $HOME", id="one word stays one"),
        pytest.param(
            ["{role}", "{task}", "{attempt}", "{model}", "{effort}", "{run_dir}"],
            ["DEV", "T1", "2", "m", "high", "RUN"],
            "say 'hi' {role} $HOME",
            id="all the others",
        ),
        pytest.param(["{{role}} {A} {}"], ["{role} {A} {}"], "say 'hi' {role} $HOME", id="braces themselves"),
    ],
)
def test_the_line_is_filled(request_: AgentRequest, words: list[str], arguments: list[str], stdin: str) -> None:
    ran = run_agent(find_agent("command", {"argv": [sys.executable, "-c", SHOW, *words]}), request_)
    places = {"WORKSPACE": str(request_.workspace), "RUN": str(request_.run_dir)}
    for name, place in places.items():
        arguments = [argument.replace(name, place) for argument in arguments]
    assert json.loads(ran.answer.text) == [arguments, stdin, str(request_.workspace)]


def test_the_prompt_as_a_file(request_: AgentRequest) -> None:
    read = "import sys; print(open(sys.argv[1]).read(), sys.stdin.read())"
    line = f"'{sys.executable}' -c '{read}' {{prompt_file}}"
    ran = run_agent(find_agent("command", {"line": line}), request_)
    assert ran.answer.text == "say 'hi' {role} $HOME"


def test_a_line_is_split_without_a_shell(request_: AgentRequest) -> None:
    ran = run_agent(find_agent("command", {"line": "echo '$HOME' a; echo \"b c\" > {task}"}), request_)
    assert ran.answer.text == "$HOME a; echo b c > T1"
    assert list(Path(request_.workspace).iterdir()) == []


def test_a_prompt_too_long_for_an_argument_names_the_other_ways(request_: AgentRequest) -> None:
    agent = find_agent("command", {"line": "tool {prompt}"})
    with pytest.raises(UsageError) as caught:
        agent.command(replace(request_, prompt="é" * 70_000))
    assert "140000 bytes" in caught.value.message
    assert "prompt_file" in caught.value.hint


@pytest.mark.parametrize(
    ("code", "options", "kind"),
    [
        pytest.param(0, {}, None, id="well"),
        pytest.param(1, {}, FailureKind.TRANSIENT, id="crash"),
        pytest.param(77, {"exit_codes": {77: "quota", 78: "auth"}}, FailureKind.QUOTA, id="quota"),
        pytest.param(78, {"exit_codes": {"77": "quota", "78": "auth"}}, FailureKind.AUTH, id="auth"),
        pytest.param(79, {"exit_codes": {77: "quota"}}, FailureKind.TRANSIENT, id="another code"),
        pytest.param(127, {"exit_codes": {127: "quota"}}, FailureKind.SETUP, id="not there"),
    ],
)
def test_the_exit_code_decides(
    request_: AgentRequest, code: int, options: dict[str, Any], kind: FailureKind | None
) -> None:
    """F11: quota words in the output decide nothing."""
    script = f"echo 401 Unauthorized: usage limit; echo '{BLOCK}'; echo reason >&2; exit {code}"
    ran = run_agent(find_agent("command", {"argv": ["sh", "-c", script], **options}), request_)
    failure = ran.answer.failure
    assert (failure.kind if failure else None) is kind
    assert (ran.answer.closing is None) == (kind is not None)
    if kind in (FailureKind.TRANSIENT, FailureKind.QUOTA, FailureKind.AUTH):
        assert failure is not None
        assert f"exit code {code}: reason" in failure.message


@pytest.mark.parametrize(
    ("output", "closing", "invalid"),
    [
        pytest.param("done", False, False, id="none"),
        pytest.param('{"a": 1}', False, False, id="some other object"),
        pytest.param(f"x\n```json\n{BLOCK}\n```\n", True, False, id="fenced"),
        pytest.param(f"x\n{BLOCK}\nbye", True, False, id="a line"),
        pytest.param('{"summary": "s", "state": "RUNNING"}', False, True, id="does not fit"),
    ],
)
def test_a_closing_block_may_be_there(request_: AgentRequest, output: str, closing: bool, invalid: bool) -> None:
    reader = find_agent("command", {"line": "x"}).reader(request_)
    for line in output.splitlines():
        reader.feed(line)
    answer = reader.finish(Exit(0))
    assert (answer.closing is not None) is closing
    assert (answer.failure is not None and answer.failure.kind is FailureKind.INVALID_OUTPUT) is invalid


def test_the_end_of_a_long_output_is_kept(request_: AgentRequest) -> None:
    reader = find_agent("command", {"line": "x"}).reader(request_)
    for number in range(50_000):
        reader.feed(f"line {number} \x1b[31mred\x1b[0m")
    reader.feed(BLOCK)
    answer = reader.finish(Exit(0))
    assert len(answer.text) <= KEPT
    assert "line 49999 red\n" in answer.text
    assert "line 0 " not in answer.text
    assert answer.closing is not None
