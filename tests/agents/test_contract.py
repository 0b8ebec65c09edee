"""Every agent in the same situations: the real CLIs against a scripted model, in a network with loopback alone.

One table says what has to come of each. The CLIs run under the product's own supervisor, so its limits are part of it.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from msgspec.structs import replace
from support.agent_bench import PATIENT, Bench, bench_in, lingering, shared_folder
from support.agent_run import Ran
from support.clis import program
from support.model_server import (
    Asked,
    Cut,
    Failed,
    Garbage,
    Look,
    Refusal,
    Reply,
    Silent,
    Status,
    Text,
    api_error,
    patch,
    shell,
)

from aiframe.core.model import FailureKind
from aiframe.core.ports import Usage
from aiframe.process import Limits

TABLE = """
situation             codex           claude          opencode        command     scripted

works                 ok              ok              ok              ok          ok
quota words           ok              ok              ok              ok          ok
outlived              ok              ok              -               ok          ok
lingers               ok              ok              ok              -           -
stopped               cancelled       cancelled       cancelled       cancelled   cancelled
times out             timeout         timeout         -               timeout     timeout
hangs                 stalled         stalled         -               stalled     stalled

no key                auth            auth            auth            auth        auth
forbidden             auth            auth            -               -           -
used up               quota           quota           -               quota       quota
no credit             quota           quota           quota           -           -
too many              transient       transient       -               -           -
server error          transient       transient       stalled         transient   transient
overloaded            transient       transient       -               -           -
cut                   transient       transient       transient       -           -
no events             transient       transient       -               -           -
no such model         setup           setup           setup           -           -
bad option            setup           setup           setup           -           -
no program            setup           setup           setup           setup       -
context full          no_progress     no_progress     no_progress     -           -
no JSON               invalid_output  invalid_output  -               ok          invalid_output
refuses               invalid_output  invalid_output  invalid_output  -           -
"""
"""What comes of a step; - where the situation cannot be, or is another one's for this agent. opencode tries again for
ever and says nothing, when a service fails or is busy: the stall rule ends that."""

CLOSING: dict[str, Any] = {"summary": "done", "state": "DEV_READY", "question": None, "reason": "", "review_items": []}
SAID = json.dumps(CLOSING)
DONE = Text(SAID)
RESETS_IN_S = 7200
WORDS = "You've hit your usage limit. unexpected status 401 Unauthorized. Quota exceeded. rate_limit_error 429"
EVENTS = (
    '{"type":"turn.failed","error":{"message":"Quota exceeded."}}',
    '{"type":"result","is_error":true,"api_error_status":401}',
    '{"type":"error","error":{"name":"ProviderAuthError","data":{"message":"no"}}}',
)
ECHOES = "; ".join(f"echo {shlex.quote(text)}" for text in (WORDS, *EVENTS))

HEAD, *ROWS = [line for line in TABLE.strip().splitlines() if line]
AGENTS = HEAD.split()[1:]
CLIS = ("codex", "claude", "opencode")


def cells() -> Iterator[Any]:
    """Each filled cell of the table: situation, agent, outcome."""
    for row in ROWS:
        name, outcomes = row[:20].strip(), row[20:].split()
        for agent, outcome in zip(AGENTS, outcomes, strict=True):
            if outcome != "-":
                yield pytest.param(name, agent, outcome, id=f"{name}, {agent}")


# What makes a situation -----------------------------------------------------------------------------------------------

Replies: TypeAlias = Sequence[Reply]


@dataclass(frozen=True, slots=True)
class Play:
    """How to bring a situation about.

    *model* is what the model replies to all CLIs, or to each by its name. *line* is the shell line that a command agent
    is then (empty: a program that is not there), *turn* the turn of the scripted agent. MARK in a command is a time for
    `sleep` that no other process has. *limits* are the supervisor's. The agent is stopped once the file *stop_at* is in
    the workspace.
    """

    model: Replies | Mapping[str, Replies] = (DONE,)
    line: str = f"echo made > made.txt; echo '{SAID}'"
    turn: Mapping[str, Any] = field(default_factory=lambda: {"files": {"made.txt": "made\n"}, "closing": CLOSING})
    options: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = PATIENT
    stop_at: str = ""


def limited(name: str) -> Replies:
    """The model's service when the account is used up, and until when."""
    at = int(time.time()) + RESETS_IN_S
    if name == "codex":
        return [api_error(429, "usage_limit_reached", "used up", plan_type="plus", resets_at=at)]
    claim = {"status": "rejected", "reset": str(at), "representative-claim": "five_hour", "overage-status": "rejected"}
    headers = {f"anthropic-ratelimit-unified-{key}": value for key, value in claim.items()}
    return [api_error(429, "rate_limit_error", "used up", headers)]


def refused(code: int, **kinds: str) -> Mapping[str, Replies]:
    """The service's answer with the status *code*, in the words of each CLI's service."""
    return {name: [api_error(code, kind, "as the test wants it")] for name, kind in kinds.items()}


def failing(kind: str, **more: Any) -> Mapping[str, Any]:
    """A turn of the scripted agent that fails."""
    return {"fail": {"kind": kind, "message": "as the test wants it", **more}}


NOWHERE = "/nowhere/to/be/found"
STAYS = "echo > started; sleep MARK"
LEAVES = "echo > started; (setsid sleep MARK > /dev/null 2>&1 &); sleep 0.1"
PLAYS: Mapping[str, Play] = {
    "works": Play([patch("made.txt", "made"), DONE]),
    "quota words": Play([shell(f"{ECHOES}; exit 1"), DONE], f"{ECHOES}; echo '{SAID}'",
                        {"run": [f"{ECHOES}; exit 1"], "closing": CLOSING}),
    "outlived": Play([shell(LEAVES), DONE], f"{LEAVES}; echo '{SAID}'", {"run": [LEAVES], "closing": CLOSING}),
    "lingers": Play(),
    "stopped": Play([shell(STAYS), DONE], STAYS, {"run": [STAYS]}, stop_at="started"),
    "times out": Play([Silent()], "sleep MARK", {"hang": True}, limits=replace(PATIENT, timeout_s=3)),
    "hangs": Play([Silent()], "sleep MARK", {"hang": True}, limits=replace(PATIENT, stall_s=3)),
    "no key": Play(refused(401, codex="invalid_api_key", claude="authentication_error", opencode="invalid_api_key"),
                   "exit 78", failing("auth")),
    "forbidden": Play(refused(403, codex="forbidden", claude="permission_error")),
    "used up": Play({"codex": (), "claude": ()}, "exit 77", failing("quota", reset_in=RESETS_IN_S)),
    "no credit": Play({**refused(402, claude="billing_error", opencode="insufficient_quota"),
                       **refused(429, codex="insufficient_quota")}),
    "too many": Play(refused(429, codex="rate_limit", claude="rate_limit_error", opencode="rate_limit"),
                     limits=replace(PATIENT, stall_s=6)),
    "server error": Play([Status(500)], "exit 70", {"exit": 70}, limits=replace(PATIENT, stall_s=6)),
    "overloaded": Play({**refused(503, codex="server_is_overloaded"), **refused(529, claude="overloaded_error")}),
    "cut": Play([Cut()]),
    "no events": Play([Garbage("<html>")]),
    "no such model": Play({**refused(404, claude="not_found_error", opencode="model_not_found"),
                           **refused(400, codex="invalid_request_error")}),
    "bad option": Play(options={"args": ["--no-such-flag"]}),
    "no program": Play(line="", options={"program": NOWHERE}),
    "context full": Play({
        "codex": [Failed("context_length_exceeded", "x")],
        "claude": [api_error(400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum")],
        "opencode": [api_error(400, "context_length_exceeded", "maximum context length is 100000 tokens")],
    }),
    "no JSON": Play([Text("All done!")], "echo 'All done!'", {"say": "All done!", "closing": {"sum": "done"}}),
    "refuses": Play([Refusal("I will not")]),
}  # fmt: skip


# The table ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def bench(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench_in(tmp_path, shared_folder(tmp_path_factory.getbasetemp())) as made:
        yield made


def perform(bench: Bench, situation: str, agent: str) -> tuple[Ran, tuple[Asked, ...]]:
    """One step of *agent* in *situation*, and what the model was asked."""
    play = PLAYS[situation]
    if agent == "scripted":
        return bench.turn(play.turn, play.limits, play.stop_at), ()
    if agent == "command":
        return bench.command(play.line, play.limits, play.stop_at), ()
    executable = program(agent)
    given = {"program": lingering(bench.folder, executable) if situation == "lingers" else executable, **play.options}
    replies = play.model[agent] if isinstance(play.model, Mapping) else play.model
    used_up = situation == "used up"
    return bench.cli(
        agent, replies=limited(agent) if used_up else replies, limits=play.limits, stop_at=play.stop_at,
        account=used_up, **given,
    )  # fmt: skip


@pytest.mark.parametrize(("situation", "agent", "outcome"), tuple(cells()))
def test_what_comes_of_it(bench: Bench, situation: str, agent: str, outcome: str) -> None:
    ran, asked = perform(bench, situation, agent)
    failure = ran.answer.failure
    assert (failure.kind.value.lower() if failure else "ok") == outcome, (failure, ran.ended, ran.log, ran.raw)
    assert bench.left() == []
    assert (ran.answer.closing is not None) is (outcome == "ok" and situation != "no JSON")
    if failure is not None:
        assert failure.message
        assert failure.hint or failure.kind not in WAITS_FOR_A_PERSON or agent == "scripted"
    if agent in CLIS and outcome == "ok":
        assert asked[0].prompt.endswith("build it")
        assert ran.answer.session_id
    if more := MORE.get(situation):
        more(bench, agent, ran)


WAITS_FOR_A_PERSON = (FailureKind.AUTH, FailureKind.SETUP)


def _worked(bench: Bench, agent: str, ran: Ran) -> None:
    assert (bench.workspace / "made.txt").read_text().strip() == "made"
    assert ran.answer.closing == CLOSING
    if agent in CLIS:
        assert ran.answer.usage == Usage(200, 80, 40, 10)
        assert ran.answer.num_turns >= 1
    # claude has a list of prices and knows the model; codex tells no cost; opencode does not know what a stub costs.
    assert (ran.answer.cost_usd is not None) is (agent == "claude")


def _seen(bench: Bench, agent: str, ran: Ran) -> None:
    assert WORDS in ran.log


def _started(bench: Bench, agent: str, ran: Ran) -> None:
    assert (bench.workspace / "started").exists()


def _lingered(bench: Bench, agent: str, ran: Ran) -> None:
    assert ran.ended.reason == "lingered"


def _told_when(bench: Bench, agent: str, ran: Ran) -> None:
    assert ran.answer.failure is not None
    if agent != "command":  # an exit code says no time
        assert ran.answer.failure.reset_at == pytest.approx(time.time() + RESETS_IN_S, abs=120)


MORE = {
    "works": _worked, "quota words": _seen, "outlived": _started, "stopped": _started, "lingers": _lingered,
    "used up": _told_when,
}  # fmt: skip


# What a person asks for -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent", CLIS)
def test_a_run_that_may_only_read_writes_nothing(bench: Bench, agent: str) -> None:
    """The project itself and the options of the agent say otherwise, and the model tries what it can."""
    (bench.workspace / "notes.txt").write_text("the words to read\n")
    for name, text in ALLOWED.items():
        (bench.workspace / name).parent.mkdir(exist_ok=True)
        (bench.workspace / name).write_text(text)
    before = sorted(bench.workspace.rglob("*"))
    outside = bench.folder / "outside.txt"
    tries: list[Reply] = [
        shell(f"echo x > by-shell.txt; echo x > {outside}"),
        patch("by-tool.txt", "x"),
        patch(str(outside), "x"),
    ]
    request = replace(bench.request, sandbox="read-only")
    ran, asked = bench.cli(
        agent, program(agent), [*tries, Look(str(bench.workspace / "notes.txt")), DONE], request=request, **LOOSE[agent]
    )
    assert ran.answer.failure is None, (ran.answer.failure, ran.raw)
    assert ran.answer.closing == CLOSING
    assert sorted(bench.workspace.rglob("*")) == before
    assert not outside.exists()
    assert len(asked) == 5
    assert "the words to read" in asked[-1].tool_outputs[-1]


ALLOWED = {
    ".claude/settings.json": json.dumps(
        {"permissions": {"defaultMode": "bypassPermissions", "allow": ["Bash", "Write"]}}
    ),
    "opencode.json": json.dumps({"permission": {"*": "allow", "bash": "allow", "edit": "allow"}}),
}
LOOSE: Mapping[str, Mapping[str, Any]] = {
    "codex": {"args": ["--dangerously-bypass-approvals-and-sandbox"]},
    "claude": {"args": ["--dangerously-skip-permissions"], "setting_sources": ["project"]},
    "opencode": {"args": ["--auto"], "project_config": True},
}


@pytest.mark.parametrize("agent", ["claude", "opencode"])
def test_a_session_is_taken_up_again(bench: Bench, agent: str) -> None:
    first, _ = bench.cli(agent, program(agent), [DONE])
    again = replace(bench.request, prompt="and now?", resume=first.answer.session_id)
    second, asked = bench.cli(agent, program(agent), [patch("made.txt", "made"), DONE], request=again)
    assert second.answer.failure is None, second.raw
    assert second.answer.closing == CLOSING
    assert second.answer.session_id == first.answer.session_id
    assert asked[0].prompt.endswith("and now?")
    assert "build it" in json.dumps(asked[0].body)
    assert (bench.workspace / "made.txt").exists()
    assert second.answer.usage == Usage(200, 80, 40, 10)  # of this run alone
    assert not second.answer.cumulative


@pytest.mark.parametrize(
    ("agent", "gone"),
    [("claude", "3b1f5ac4-9d5e-4f0e-8f57-0a1b2c3d4e5f"), ("opencode", "ses_0123456789abcdefghijklmnop")],
)
def test_a_session_that_is_gone_is_not_named_again(bench: Bench, agent: str, gone: str) -> None:
    ran, asked = bench.cli(agent, program(agent), [DONE], request=replace(bench.request, resume=gone))
    assert asked == ()
    assert ran.answer.failure is not None
    assert ran.answer.failure.kind is FailureKind.TRANSIENT
    assert "no longer has the session" in ran.answer.failure.message
    assert ran.answer.session_id == ""


def test_model_effort_and_schema_reach_the_service_of_claude(bench: Bench) -> None:
    request = replace(bench.request, prompt="x" * 300_000, model="claude-of-tests", effort="low")
    ran, asked = bench.cli("claude", program("claude"), [DONE], request=request)
    assert ran.answer.failure is None, ran.raw
    assert asked[0].body["model"] == "claude-of-tests"
    assert asked[0].prompt.endswith(request.prompt)  # longer than an argument may be
    (answer,) = [tool for tool in asked[0].body["tools"] if tool["name"] == "StructuredOutput"]
    assert answer["input_schema"]["required"] == list(CLOSING)


def test_a_long_prompt_reaches_the_service_of_opencode(bench: Bench) -> None:
    request = replace(bench.request, prompt="x" * 300_000, model="stub/stub")
    ran, asked = bench.cli("opencode", program("opencode"), [DONE], request=request)
    assert ran.answer.failure is None, ran.raw
    assert asked[0].body["model"] == "stub"
    assert asked[0].prompt.endswith(request.prompt)
