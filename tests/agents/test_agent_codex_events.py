"""codex's events without codex: ends and orders that a real run shows too rarely to wait for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

import pytest
from msgspec.structs import replace

from aiframe.agents import find_agent
from aiframe.agents.closing import closing_schema
from aiframe.agents.codex import LAST_MESSAGE, QUIET
from aiframe.core.model import FailureKind, Role
from aiframe.core.ports import AgentRequest, Answer, Exit

STARTED = {"type": "thread.started", "thread_id": "T-1"}
RETRY = {"type": "error", "message": "Reconnecting... 1/5 (unexpected status 401 Unauthorized: x)"}
SAID = {"type": "item.completed", "item": {"type": "agent_message", "text": '{"summary": "s"}'}}
COMPLETED = {"type": "turn.completed", "usage": {"input_tokens": 1}}
FAILED = {"type": "turn.failed", "error": {"message": "Quota exceeded."}}


@pytest.fixture
def request_(tmp_path: Path) -> AgentRequest:
    return AgentRequest("p", Role.PO, PurePath("/w"), PurePath(tmp_path), schema=closing_schema(Role.PO))


def read(request: AgentRequest, events: list[dict[str, Any]], ended: Exit) -> Answer:
    reader = find_agent("codex", {}).reader(request)
    for event in events:
        reader.feed(json.dumps(event))
    return reader.finish(ended)


@pytest.mark.parametrize(
    ("events", "ended", "kind"),
    [
        pytest.param([STARTED, RETRY], Exit(-15, "timeout"), FailureKind.TIMEOUT, id="ended while it tried again"),
        pytest.param([STARTED, RETRY], Exit(-15, "stopped"), FailureKind.CANCELLED, id="stopped while it tried again"),
        pytest.param([STARTED, RETRY], Exit(1), FailureKind.AUTH, id="gave up without turn.failed"),
        pytest.param([STARTED, RETRY, SAID, COMPLETED], Exit(0), None, id="went on after an error"),
        pytest.param([STARTED, SAID, COMPLETED], Exit(-15, "lingered"), None, id="stayed after its result"),
        pytest.param([STARTED, SAID, COMPLETED], Exit(-9), None, id="killed after its result"),
        pytest.param([STARTED, FAILED], Exit(-15, "lingered"), FailureKind.QUOTA, id="stayed after its failure"),
        pytest.param([STARTED, FAILED], Exit(-15, "stopped"), FailureKind.QUOTA, id="stopped after its failure"),
        pytest.param([STARTED, SAID], Exit(0), FailureKind.TRANSIENT, id="exit 0 without a final event"),
        pytest.param([STARTED, SAID], Exit(-9), FailureKind.TRANSIENT, id="killed before its final event"),
        pytest.param([STARTED, COMPLETED], Exit(0), FailureKind.INVALID_OUTPUT, id="no message at all"),
    ],
)
def test_the_end_of_a_run(
    request_: AgentRequest, events: list[dict[str, Any]], ended: Exit, kind: FailureKind | None
) -> None:
    answer = read(request_, events, ended)
    assert (answer.failure.kind if answer.failure else None) is kind
    assert (answer.closing is None) == (kind is not None)
    assert answer.session_id == "T-1"


def test_a_message_whose_line_was_cut_is_read_from_the_file(request_: AgentRequest) -> None:
    Path(request_.run_dir, LAST_MESSAGE).write_text('{"summary": "from the file"}')
    reader = find_agent("codex", {}).reader(request_)
    reader.feed(json.dumps(SAID)[:40])
    reader.feed(json.dumps(COMPLETED))
    answer = reader.finish(Exit(0))
    assert answer.closing is not None
    assert answer.closing["summary"] == "from the file"


def link_out(path: Path) -> None:
    path.with_name("private.txt").write_text('{"summary": "private"}')
    path.symlink_to(path.with_name("private.txt"))


@pytest.mark.parametrize("plant", [link_out, os.mkfifo, Path.mkdir], ids=["link", "pipe", "folder"])
def test_what_an_agent_puts_in_the_place_of_the_message_file_is_not_followed(
    request_: AgentRequest, plant: Callable[[Path], None]
) -> None:
    plant(Path(request_.run_dir, LAST_MESSAGE))
    answer = read(request_, [STARTED, COMPLETED], Exit(0))
    assert answer.failure is not None
    assert answer.failure.kind is FailureKind.INVALID_OUTPUT
    assert "private" not in repr(answer)


def test_without_a_schema_any_answer_will_do(request_: AgentRequest) -> None:
    answer = read(replace(request_, schema=None), [STARTED, COMPLETED], Exit(0))
    assert answer.failure is None
    assert answer.closing is None


def test_the_command_line(request_: AgentRequest) -> None:
    options = {"config": {"a.b": {"c": [1, "x", True]}, "analytics.enabled": True}, "args": ["--ephemeral"]}
    request = replace(request_, model="m", effort="high", resume="T-1", sandbox="read-only", options=options)
    command = find_agent("codex", {}).command(request)
    words = list(command.argv)
    settings = [words[place + 1] for place, word in enumerate(words) if word == "-c"]
    assert words[:7] == ["codex", "exec", "--json", "-s", "read-only", "-C", "/w"]
    assert words[-4:] == ["--ephemeral", "resume", "T-1", "-"]
    assert 'a.b={"c" = [1, "x", true]}' in settings
    assert 'model_reasoning_effort="high"' in settings
    assert "analytics.enabled=true" in settings  # a person's own setting wins
    assert "features.unbounded_connection_retries=false" in settings
    assert len(settings) == len(QUIET) + 2
    assert command.stdin == "p"
    assert [json.loads(text) for text in command.files.values()] == [closing_schema(Role.PO)]
    assert str(request.run_dir / next(iter(command.files))) in words
