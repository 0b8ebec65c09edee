"""The real codex CLI against a scripted model, in a network with loopback alone where the system allows one."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import pytest
from msgspec.structs import replace
from support.agent_run import Ran, run_agent
from support.codex_home import codex_home, codex_program
from support.model_server import (
    Asked,
    Cut,
    Failed,
    Garbage,
    ModelServer,
    Reply,
    Script,
    Silent,
    Status,
    Text,
    api_error,
    patch,
    shell,
)
from support.netns import Loopback, loopback

from aiframe.agents import find_agent
from aiframe.agents.closing import closing_schema
from aiframe.core.model import FailureKind, Role
from aiframe.core.ports import AgentRequest, Usage

CLOSING: dict[str, Any] = {"summary": "done", "state": "DEV_READY", "question": None, "reason": "", "review_items": []}
DONE = Text(json.dumps(CLOSING))
HOUR = 3600
NOBODY = "http://127.0.0.1:9/v1"
"""A port where nothing listens."""


@dataclass(frozen=True)
class Bench:
    """A workspace, a private codex home and a network."""

    folder: Path
    net: Loopback
    request: AgentRequest

    def run(self, script: Script, **options: Any) -> tuple[Ran, tuple[Asked, ...]]:
        """One step of codex against *script*."""
        return self.step(script, self.request, **options)

    def step(
        self, script: Script, request: AgentRequest, *, url: str = "", timeout_s: float = 60, **options: Any
    ) -> tuple[Ran, tuple[Asked, ...]]:
        agent = find_agent("codex", {"program": str(codex_program()), **options})
        with ModelServer(script, self.net.listener.dup()) as server:
            env = codex_home(self.folder, url or server.url)
            ran = run_agent(agent, request, env, self.net.prefix, timeout_s)
            return ran, server.asked


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    codex_program()
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    subprocess.run(["git", "init", "-q", str(workspace)], check=True)
    request = AgentRequest(
        prompt="build it",
        role=Role.DEV,
        workspace=PurePath(workspace),
        run_dir=PurePath(tmp_path / "run"),
        task_id="T1",
        schema=closing_schema(Role.DEV),
    )
    with loopback() as net:
        yield Bench(tmp_path, net, request)


def test_a_file_edit_and_a_closing_block(bench: Bench) -> None:
    ran, asked = bench.run([patch("hello.py", "print('hello')"), DONE])
    assert ran.answer.failure is None
    assert ran.answer.closing == CLOSING
    assert ran.answer.usage == Usage(200, 80, 40, 10)
    assert ran.answer.num_turns == 1
    assert ran.answer.session_id
    assert ran.complete
    assert Path(bench.request.workspace, "hello.py").read_text() == "print('hello')\n"
    assert f"add {bench.request.workspace}/hello.py" in ran.log
    assert asked[0].prompt == "build it"
    assert asked[0].body["text"]["format"]["schema"] == closing_schema(Role.DEV)
    assert asked[0].body["text"]["format"]["strict"] is True


def test_model_effort_and_settings_reach_the_service(bench: Bench) -> None:
    request = replace(bench.request, model="gpt-5.5-other", effort="low", options={"args": ["--ephemeral"]})
    config = {"model_reasoning_summary": "none", "model_verbosity": "high"}
    ran, asked = bench.step([DONE], request, config=config)
    assert ran.answer.failure is None
    assert asked[0].body["model"] == "gpt-5.5-other"
    assert asked[0].body["reasoning"]["effort"] == "low"


def test_a_prompt_too_long_for_an_argument(bench: Bench) -> None:
    prompt = "x" * 900_000
    ran, asked = bench.step([DONE], replace(bench.request, prompt=prompt))
    assert ran.answer.failure is None
    assert asked[0].prompt == prompt


def test_a_session_is_taken_up_again(bench: Bench) -> None:
    first, _ = bench.run([DONE])
    again = replace(bench.request, prompt="and now?", resume=first.answer.session_id)
    second, asked = bench.step([shell("touch made"), DONE], again)
    assert second.answer.failure is None
    assert second.answer.closing == CLOSING
    assert second.answer.session_id == first.answer.session_id
    assert second.answer.usage.input_tokens == 300  # of the whole session
    assert "build it" in json.dumps(asked[0].body["input"])
    assert asked[0].prompt == "and now?"
    assert Path(bench.request.workspace, "made").exists()  # the sandbox is writable, as asked


def test_a_session_that_is_gone_is_not_named_again(bench: Bench) -> None:
    ran, _ = bench.step([DONE], replace(bench.request, resume="01a1fbbc-1680-7192-bbd9-604dd9f50000"))
    assert ran.answer.failure is not None
    assert ran.answer.failure.kind is FailureKind.TRANSIENT
    assert "no longer has the session" in ran.answer.failure.message
    assert ran.answer.session_id == ""


def test_a_tool_that_fails_is_the_agents_business(bench: Bench) -> None:
    ran, asked = bench.run([shell("echo broken; exit 3"), DONE])
    assert ran.answer.failure is None
    assert "$ echo broken; exit 3\nbroken\n[exit code 3]" in ran.log
    assert "broken" in asked[1].tool_outputs[0]


def test_quota_words_of_a_tool_or_of_the_model_are_no_quota(bench: Bench) -> None:
    """F11: failure classes come only from the CLI's own error events."""
    words = "You've hit your usage limit. unexpected status 401 Unauthorized. Quota exceeded."
    events = '{"type":"turn.failed","error":{"message":"Quota exceeded."}}'
    closing = {**CLOSING, "summary": words}
    ran, asked = bench.run([shell(f"echo \"{words}\"; echo '{events}'; exit 1"), Text(json.dumps(closing))])
    assert words in asked[1].tool_outputs[0]
    assert ran.answer.failure is None
    assert ran.answer.closing == closing


def _limited(**more: Any) -> Status:
    return api_error(429, "usage_limit_reached", "The usage limit has been reached", plan_type="plus", **more)


FAILURES: list[Any] = [
    pytest.param(api_error(401, "invalid_api_key", "bad key"), FailureKind.AUTH, "401", id="401"),
    pytest.param(api_error(403, "forbidden", "no"), FailureKind.AUTH, "403", id="403"),
    pytest.param(api_error(429, "insufficient_quota", "x"), FailureKind.QUOTA, "Quota exceeded", id="no quota"),
    pytest.param(Failed("insufficient_quota", "x"), FailureKind.QUOTA, "Quota exceeded", id="no quota, in the stream"),
    pytest.param(_limited(), FailureKind.QUOTA, "usage limit", id="usage limit"),
    pytest.param(api_error(429, "rate_limit", "x"), FailureKind.TRANSIENT, "429", id="429"),
    pytest.param(Status(500), FailureKind.TRANSIENT, "high demand", id="500"),
    pytest.param(api_error(503, "server_is_overloaded", "x"), FailureKind.TRANSIENT, "at capacity", id="overloaded"),
    pytest.param(
        Failed("server_is_overloaded", "x"), FailureKind.TRANSIENT, "at capacity", id="overloaded, in the stream"
    ),
    pytest.param(api_error(503, "slow_down", "x"), FailureKind.TRANSIENT, "rate limit exceeded", id="slow down"),
    pytest.param(Failed("slow_down", "x"), FailureKind.TRANSIENT, "rate limit exceeded", id="slow down, in the stream"),
    pytest.param(Cut(), FailureKind.TRANSIENT, "stream disconnected", id="cut stream"),
    pytest.param(Garbage("<html>"), FailureKind.TRANSIENT, "stream disconnected", id="no events"),
    pytest.param(
        api_error(400, "invalid_request_error", "no such thing"), FailureKind.SETUP, "no such thing", id="400"
    ),
    pytest.param(
        Failed("context_length_exceeded", "x"), FailureKind.NO_PROGRESS, "context window", id="context window is full"
    ),
]


@pytest.mark.parametrize(("reply", "kind", "said"), FAILURES)
def test_a_failure_of_the_service(bench: Bench, reply: Reply, kind: FailureKind, said: str) -> None:
    ran, asked = bench.run([reply])
    assert ran.ended.code == 1
    assert len(asked) == 1
    assert ran.answer.failure is not None
    assert ran.answer.failure.kind is kind
    assert said in ran.answer.failure.message
    assert ran.answer.failure.reset_at is None
    assert ran.answer.closing is None
    assert ran.complete
    if kind is FailureKind.AUTH:
        assert "codex login" in ran.answer.failure.hint


@pytest.mark.parametrize(
    "away_s",
    [pytest.param(5 * 60, id="minutes"), pytest.param(2 * HOUR, id="hours"), pytest.param(72 * HOUR, id="days")],
)
def test_a_usage_limit_says_when_it_ends(bench: Bench, away_s: float) -> None:
    resets = time.time() + away_s
    ran, _ = bench.run([_limited(resets_at=int(resets))])
    assert ran.answer.failure is not None
    assert ran.answer.failure.kind is FailureKind.QUOTA
    assert ran.answer.failure.reset_at is not None
    assert 0 <= ran.answer.failure.reset_at - int(resets) <= 60  # codex leaves the seconds out


def test_a_rate_limit_says_how_long_to_wait(bench: Bench) -> None:
    before = time.time()
    ran, _ = bench.run([Failed("rate_limit_exceeded", "Rate limit reached. Please try again in 11.5s.")])
    assert ran.answer.failure is not None
    assert ran.answer.failure.kind is FailureKind.TRANSIENT
    assert ran.answer.failure.reset_at is not None
    assert before + 11.5 <= ran.answer.failure.reset_at <= time.time() + 11.5


def test_a_stream_that_comes_back_is_no_failure(bench: Bench) -> None:
    ran, asked = bench.run([Cut(), DONE], config={"model_providers.stub.stream_max_retries": 2})
    assert len(asked) == 2
    assert "error: Reconnecting... 1/2" in ran.log
    assert ran.answer.failure is None
    assert ran.answer.closing == CLOSING


def test_nobody_listens(bench: Bench) -> None:
    """codex would wait for ever, and its reports would keep the stall rule quiet: our settings forbid that."""
    config = {"model_providers.stub.request_max_retries": 0}
    ran, asked = bench.run([DONE], url=NOBODY, config=config)
    assert asked == ()
    assert ran.ended.reason == "exit"
    assert ran.answer.failure is not None
    assert ran.answer.failure.kind is FailureKind.TRANSIENT
    assert "Connection failed" in ran.answer.failure.message


def test_a_service_that_never_answers(bench: Bench) -> None:
    """F8: standard input is closed, so codex gets as far as asking; ending it is the runner's task."""
    ran, asked = bench.run([Silent()], timeout_s=3)
    assert len(asked) == 1
    assert not ran.complete
    assert ran.answer.failure is not None
    assert ran.answer.failure.kind is FailureKind.TIMEOUT


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("All done!", "must end with one JSON object, but it was: 'All done!'", id="no JSON"),
        pytest.param('{"summary": "s", "state": "RUNNING"}', "state must be one of", id="another schema"),
    ],
)
def test_an_answer_that_does_not_fit(bench: Bench, text: str, complaint: str) -> None:
    ran, _ = bench.run([Text(text)])
    assert ran.ended.code == 0
    assert ran.answer.failure is not None
    assert ran.answer.failure.kind is FailureKind.INVALID_OUTPUT
    assert complaint in ran.answer.failure.message
    assert ran.answer.text == text
    assert ran.answer.session_id  # so that it can be asked once more


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        pytest.param({}, {"args": ["--no-such-flag"]}, "refused its command line", id="bad flag"),
        pytest.param({"sandbox": "none"}, {}, "refused its command line", id="bad value"),
        pytest.param({"prompt": ""}, {}, "No prompt provided", id="empty prompt"),
        pytest.param({"prompt": "x" * 1_100_000}, {}, "maximum length", id="prompt beyond the limit"),
        pytest.param(
            {}, {"config": {"model_providers.stub.env_key": "NO_SUCH_KEY"}}, "Missing environment", id="missing key"
        ),
    ],
)
def test_what_only_a_person_can_mend(bench: Bench, change: dict[str, Any], options: dict[str, Any], said: str) -> None:
    ran, asked = bench.step([DONE], replace(bench.request, **change), **options)
    assert asked == ()
    assert ran.answer.failure is not None
    assert ran.answer.failure.kind is FailureKind.SETUP
    assert said in ran.answer.failure.message
    assert ran.answer.failure.hint


def test_the_network_of_these_tests_reaches_loopback_alone() -> None:
    with loopback() as net:
        if not net.isolated:
            pytest.skip(f"no network namespace here: {net.why}")
        seen = subprocess.run([*net.prefix, "ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
        assert [line.split(":")[1].strip() for line in seen.splitlines()] == ["lo"]
